/** Requests of HTTP/1.1 on a connection, and an HTTP proxy's CONNECT. */

import { HttpConnectServer } from "../../../src/wire/h1/connect.ts";
import { encodeChunk, encodeLastChunk, encodeRequest } from "../../../src/wire/h1/message_writer.ts";
import { readRequest } from "../../../src/wire/h1/request_rules.ts";
import { H1ServerMachine } from "../../../src/wire/h1/server_machine.ts";
import { attacks } from "../../http/attacks.ts";
import { bytesOf, holds, type Look, latin1, readCut, same, type Target } from "../target.ts";

interface Heard {
  readonly requests: {
    line: string;
    fields: readonly string[];
    framing: string;
    content: string;
    trailers: readonly string[] | null;
    isWhole: boolean;
  }[];
  fault: string | null;
}

function hear(parts: readonly Uint8Array[]): Heard {
  const heard: Heard = { requests: [], fault: null };
  const last = () => heard.requests.at(-1);
  const machine = new H1ServerMachine({
    onRequest: ({ method, target, minorVersion, fields }, framing) =>
      heard.requests.push({
        line: `${method} ${target} ${minorVersion}`,
        fields,
        framing: JSON.stringify(framing),
        content: "",
        trailers: null,
        isWhole: false,
      }),
    onContent: (bytes) => {
      const request = last();
      holds(request !== undefined && !request.isWhole, "content is of a request");
      request.content += latin1(bytes);
    },
    onRequestEnd: (trailers) => {
      const request = last();
      holds(request !== undefined && !request.isWhole, "a request ends once");
      request.trailers = trailers;
      request.isWhole = true;
    },
    onFault: ({ reason }) => {
      holds(heard.fault === null, "there is one fault");
      heard.fault = reason;
    },
  });
  for (const part of parts) {
    for (let left = part; ; ) {
      const taken = machine.receive(left);
      holds(taken >= 0 && taken <= left.length, "what is taken was given");
      left = left.subarray(taken);
      if (left.length === 0) break;
      machine.next();
    }
    machine.next();
  }
  return heard;
}

/** What we would send on is read as what we have read. */
function checkForwarded(heard: Heard): void {
  for (const { line, fields, content, trailers, isWhole, framing } of heard.requests) {
    const [method = "", target = "", minor] = line.split(" ");
    const request = readRequest({
      kind: "request",
      method,
      target,
      minorVersion: minor === "0" ? 0 : 1,
      fields,
    });
    // Without Host (HTTP/1.0) there is nothing to forward it to by name.
    if ("status" in request || !isWhole || request.authority === "") continue;
    const length = framing.includes("chunked") ? ["transfer-encoding", "chunked"] : [];
    const head = encodeRequest(request.method, request.path, request.authority, request.fields, length);
    holds(head !== null, "a request that was read can be written");
    const body =
      length.length === 0
        ? bytesOf(content)
        : Buffer.concat([
            content === "" ? new Uint8Array(0) : encodeChunk(bytesOf(content)),
            encodeLastChunk(trailers) ?? new Uint8Array(0),
          ]);
    const again = hear([Buffer.concat([head, body])]);
    same(again.fault, null, "written and read again: the fault");
    const [first] = again.requests;
    same(again.requests.length, 1, "written and read again: requests");
    same(
      [first?.content, first?.trailers ?? null],
      [content, trailers],
      "written and read again: content and trailers",
    );
    const reread = readRequest({
      kind: "request",
      method: request.method,
      target: first?.line.split(" ")[1] ?? "",
      minorVersion: 1,
      fields: first?.fields ?? [],
    });
    holds(!("status" in reread), "a request that was written is not refused");
    same(reread.path, request.path, "its path");
    same(reread.authority.toLowerCase(), request.authority.toLowerCase(), "its authority");
  }
}

function run(input: Uint8Array, look: Look): void {
  const heard = readCut(input, look, hear);
  checkForwarded(heard);
  readCut(input, look, (parts) => {
    const server = new HttpConnectServer();
    for (const [index, part] of parts.entries()) {
      const step = server.receive(part);
      if (step.kind === "more") continue;
      if (step.kind === "refuse") return step;
      const rest = Buffer.concat([step.rest, ...parts.slice(index + 1)]);
      return { ...step, rest: latin1(rest) };
    }
    return "more";
  });
}

export const target: Target = {
  maxBytes: 4096,
  seeds: () => [
    ...attacks.map(({ bytes }) => bytesOf(bytes)).filter(({ length }) => length <= 4096),
    bytesOf("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: a\r\n\r\nabc"),
    bytesOf("GET http://a/b HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\nX: 1\r\nTE: trailers\r\n\r\n"),
    bytesOf("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
  ],
  dictionary: [
    "\r\n",
    "\r\n\r\n",
    "HTTP/1.1",
    "HTTP/1.0",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "0\r\n\r\n",
    ": ",
    "\n",
    "\t",
    ";",
  ],
  run,
};
