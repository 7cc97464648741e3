/** One request over a connection of its own, and what came of it. */
import { connect } from "node:net";
import { hangMs } from "../peer/lab/eventually.ts";
import type { AskedRequest } from "./route_cases.ts";

export interface Seen {
  readonly status: number;
  /** Of the application: its version, the request line and the headers that it saw. Null: it was not asked. */
  readonly version: string | null;
  readonly line: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** Of the answer, those that a route may give. */
  readonly answered: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What an application may see of a request that its proxy did not add by itself. */
const compared = /^(?:host|origin|x-(?:set|add|gone|a|b))$/;
const answers = /^(?:location|x-(?:version|more|secret)|access-control-.*)$/;

export async function ask(
  address: string,
  port: number,
  { line, headers = {} }: AskedRequest,
): Promise<Seen> {
  const fields = { Host: "web.example", ...headers, Connection: "close" };
  const head = Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join("");
  const text = await exchange(address, port, `${line} HTTP/1.1\r\n${head}\r\n`);
  const end = text.indexOf("\r\n\r\n");
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const all = lines.map((one): readonly [string, string] => {
    const colon = one.indexOf(":");
    return [one.slice(0, colon).toLowerCase(), one.slice(colon + 1).trim()];
  });
  const answered = joined(all.filter(([name]) => answers.test(name)));
  const chunked = all.some(([name, value]) => name === "transfer-encoding" && value === "chunked");
  const raw = text.slice(end + 4);
  const body = chunked ? unchunked(raw) : raw;
  const status = Number(first.slice(9, 12));
  const echo = body.startsWith("{") ? JSON.parse(body) : null;
  if (echo === null) return { status, version: null, line: null, headers: {}, answered, body };
  const seen: [string, string][] = echo.headers;
  return {
    status,
    version: echo.version,
    line: echo.line,
    headers: joined(seen.filter(([name]) => compared.test(name))),
    answered,
    body: "",
  };
}

function joined(pairs: readonly (readonly [string, string])[]): Readonly<Record<string, string>> {
  const sorted: Record<string, string> = {};
  for (const [name, value] of [...pairs].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
    sorted[name] = name in sorted ? `${sorted[name]},${value}` : value;
  return sorted;
}

function unchunked(text: string): string {
  let rest = text;
  let body = "";
  for (;;) {
    const end = rest.indexOf("\r\n");
    const size = Number.parseInt(rest.slice(0, end), 16);
    if (end === -1 || !(size > 0)) return body;
    body += rest.slice(end + 2, end + 2 + size);
    rest = rest.slice(end + 4 + size);
  }
}

function exchange(host: string, port: number, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect({ host, port }, () => socket.write(bytes, "latin1"));
    socket.setTimeout(hangMs, () => socket.destroy(new Error("no answer")));
    socket.on("data", (piece) => {
      text += piece.toString("latin1");
    });
    socket.on("end", () => socket.end());
    socket.on("error", reject);
    socket.on("close", () => resolve(text));
  });
}
