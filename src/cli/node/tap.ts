/** `fairlead tap`: the connections and requests of a running node as they come, until it is stopped. */
import { MeshError } from "../../base/errors.ts";
import { type Json, member, text } from "../admin_json.ts";
import type { AdminTarget, CliBindings, ExitCode } from "../bindings.ts";
import type { Style } from "../style.ts";
import { cut, formatBytes } from "./screen_text.ts";

export interface TapFlags {
  readonly from?: string;
  readonly to?: string;
  readonly failed?: true;
  readonly json?: true;
}

export async function tap(
  bindings: CliBindings,
  style: Style,
  flags: TapFlags,
  admin: AdminTarget,
): Promise<ExitCode> {
  const { live, terminal } = bindings;
  let rest = "";
  await live.follow(admin, `/tap${query(flags)}`, (piece) => {
    const lines = (rest + piece).split("\n");
    rest = lines.pop() ?? "";
    const width = live.size()?.columns ?? null;
    const shown = lines.map((line) => (flags.json === true ? line : tapLine(readRecord(line), style, width)));
    return shown.length === 0 || live.write(`${shown.join("\n")}\n`);
  });
  if (terminal.isTerminal) terminal.error("\n");
  return 0;
}

function query({ from, to, failed }: TapFlags): string {
  const parts = Object.entries({ from, to, failed: failed === true ? "1" : undefined }).flatMap(
    ([name, value]) => (value === undefined ? [] : [`${name}=${encodeURIComponent(value)}`]),
  );
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}

function readRecord(line: string): Json {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new MeshError("io", "upstream", "the node did not answer with records, one JSON object a line", {
      cause,
    });
  }
}

/** @param width of the screen, in characters; null shows the whole line. */
export function tapLine(record: Json, style: Style, width: number | null): string {
  const dropped = member(record, "dropped");
  if (typeof dropped === "number")
    return style.yellow(`${dropped} records are left out: this reader is slow`);
  const time = text(record, "time").slice(11, 19);
  const [what, paint] = outcome(record, style);
  const parties = `${party(record, "src")} → ${party(record, "dst")}`;
  const line = `${time} ${direction(record)} ${parties}  ${what}`;
  const fitting = width === null ? line : cut(line, width);
  return paint(fitting);
}

function direction(record: Json): string {
  const { [text(record, "direction")]: word = "   " } = { inbound: "in ", outbound: "out" };
  return word;
}

/** What became of it, and its colour. */
function outcome(record: Json, style: Style): [string, (text: string) => string] {
  const message = text(record, "message");
  const error = text(record, "error");
  const plain = (line: string): string => line;
  if (error !== "-") return [`${error.startsWith("policy_") ? "DENIED" : "FAILED"} ${error}`, style.red];
  if (message === "connection opened") return ["opened", style.dim];
  const duration = text(record, "duration");
  if (message === "connection complete") return [`${duration} ${bytesOf(record)}`, plain];
  if (message !== "request complete") return [message, plain];
  const status = text(record, "status");
  const detail = text(record, "detail");
  const said = `${text(record, "method")} ${text(record, "path")} ${status} ${duration}`;
  const isRefused = /^[45]/.test(status);
  return [isRefused && detail !== "-" ? `${said} ${detail}` : said, isRefused ? style.red : plain];
}

function bytesOf(record: Json): string {
  const bytes = (name: string): string => formatBytes(Number(member(record, name) ?? 0));
  return `sent ${bytes("bytes_sent")} received ${bytes("bytes_recv")}`;
}

/** `shop/frontend`; of what has no name here, its identity or its address. */
function party(record: Json, side: "src" | "dst"): string {
  const workload = text(record, `${side}.workload`);
  if (workload !== "-") return `${text(record, `${side}.namespace`)}/${workload}`;
  for (const name of ["service", "identity", "addr"]) {
    const found = text(record, `${side}.${name}`);
    if (found !== "-") return found.replace(/^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\//, "$1/");
  }
  return "unknown";
}
