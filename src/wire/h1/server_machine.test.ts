/** Requests as bytes: whole, in pieces of any size, one after the other, and wrong. */
import { describe, expect, test } from "bun:test";
import { h1Limits } from "../../base/limits/h1.ts";
import { readRequest } from "./request_rules.ts";
import { H1ServerMachine } from "./server_machine.ts";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const text = (piece: Uint8Array) => String.fromCharCode(...piece);

/** What the machine says of a connection's bytes; content of one request put together. @param sizes of the pieces, in turn. */
function read(input: string, sizes: readonly number[] = [input.length]): readonly string[] {
  const said: string[] = [];
  let content = "";
  const machine = new H1ServerMachine({
    onRequest: (head) => said.push(`${head.method} ${head.target} ${head.fields.join("|")}`),
    onContent: (piece) => {
      content += text(piece);
    },
    onRequestEnd: (trailers) => {
      said.push(`${content}${trailers === null ? "" : ` +${trailers.join("|")}`}.`);
      content = "";
    },
    onFault: (fault) => said.push(`${fault.isLimit ? "limit" : "fault"}`),
  });
  let at = 0;
  for (let turn = 0; at < input.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1;
    let piece = bytes(input.slice(at, at + size));
    at += size;
    for (;;) {
      const taken = machine.receive(piece);
      piece = piece.subarray(taken);
      if (piece.length === 0) break;
      machine.next();
    }
    machine.next();
  }
  return said;
}

const host = "Host: a\r\n";

describe("requests one after the other", () => {
  const input =
    `GET / HTTP/1.1\r\n${host}\r\n` +
    `POST /x HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello` +
    `POST /y HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n3;n="v"\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n` +
    `\r\nHEAD /z HTTP/1.0\r\n\r\n`;
  const said = [
    "GET / host|a",
    ".",
    "POST /x host|a|content-length|5",
    "hello.",
    "POST /y host|a|transfer-encoding|chunked",
    "hello +t|1.",
    "HEAD /z ",
    ".",
  ];
  test("are told in order, with their content and trailers", () => expect(read(input)).toEqual(said));

  test("are told the same however they are cut", () => {
    for (const size of [1, 2, 3, 5, 7, 11, 64]) expect(read(input, [size])).toEqual(said);
    let seed = 9;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed / 2_147_483_648;
    };
    for (let round = 0; round < 200; round++) {
      const sizes = Array.from({ length: 20 }, () => 1 + Math.floor(random() * 40));
      expect(read(input, sizes)).toEqual(said);
    }
  });

  test("an empty line before a request is passed over, and what follows it is not judged by it", () => {
    const request = `GET / HTTP/1.1\r\n${host}\r\n`;
    for (const sizes of [[100], [1], [2, 100], [1, 2, 1]]) {
      expect(read(`\r\n${request}`, sizes)).toEqual(["GET / host|a", "."]);
      // Two are no request; which they are is known by what follows, however they are cut.
      expect(read("\r\n\r\n", sizes)).toEqual([]);
      expect(read(`\r\n\r\n${request}`, sizes)).toEqual(["fault"]);
    }
  });

  test("the next one is not looked at before it is asked for", () => {
    let requests = 0;
    const machine = new H1ServerMachine({
      onRequest: () => requests++,
      onContent: () => {},
      onRequestEnd: () => {},
      onFault: () => {},
    });
    const one = `GET / HTTP/1.1\r\n${host}\r\n`;
    expect(machine.receive(bytes(one + one))).toBe(one.length);
    expect(machine.receive(bytes(one))).toBe(0);
    machine.next();
    expect([machine.receive(bytes(one)), requests]).toEqual([one.length, 2]);
  });
});

describe("what two parsers could read differently is a fault", () => {
  const head = (lines: string) => `POST / HTTP/1.1\r\n${host}${lines}\r\n`;
  const chunked = head("Transfer-Encoding: chunked\r\n");
  for (const [what, input] of [
    ["two lengths", head("Content-Length: 1\r\nContent-Length: 2\r\n")],
    ["the same length twice", head("Content-Length: 1\r\nContent-Length: 1\r\n")],
    ["a list of lengths", head("Content-Length: 1, 1\r\n")],
    ["a length and chunks", head("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")],
    ["a length with a sign", head("Content-Length: +1\r\n")],
    ["a negative length", head("Content-Length: -1\r\n")],
    ["a hexadecimal length", head("Content-Length: 0x1\r\n")],
    ["an empty length", head("Content-Length: \r\n")],
    ["a length beyond numbers", head("Content-Length: 99999999999999999999\r\n")],
    ["another coding", head("Transfer-Encoding: gzip\r\n")],
    ["chunked twice", head("Transfer-Encoding: chunked, chunked\r\n")],
    ["two codings in two lines", head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")],
    ["chunked with a vertical tab", head("Transfer-Encoding: \x0bchunked\r\n")],
    ["chunked with a quote", head('Transfer-Encoding: "chunked"\r\n')],
    ["chunked with a comma", head("Transfer-Encoding: chunked,\r\n")],
    ["chunked in HTTP/1.0", `POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ["white space before the colon", head("Transfer-Encoding : chunked\r\n")],
    ["a folded line", head("X: a\r\n b\r\n")],
    ["a line that begins with white space", `POST / HTTP/1.1\r\n Host: a\r\n\r\n`],
    ["a bare line feed", `GET / HTTP/1.1\nHost: a\r\n\r\n`],
    ["a bare carriage return", head("X: a\rb\r\n")],
    ["a zero in a value", head("X: \0\r\n")],
    ["a zero in a name", head("X\0: a\r\n")],
    ["an empty name", head(": a\r\n")],
    ["a line without a colon", head("X\r\n")],
    ["two spaces in the request line", `GET  / HTTP/1.1\r\n${host}\r\n`],
    ["a tab in the request line", `GET\t/ HTTP/1.1\r\n${host}\r\n`],
    ["a space at the request line's end", `GET / HTTP/1.1 \r\n${host}\r\n`],
    ["HTTP/1.2", `GET / HTTP/1.2\r\n${host}\r\n`],
    ["HTTP/01.1", `GET / HTTP/01.1\r\n${host}\r\n`],
    ["http/1.1", `GET / http/1.1\r\n${host}\r\n`],
    ["HTTP/0.9", `GET /\r\n\r\n`],
    ["bytes above ASCII in the target", `GET /\xe4 HTTP/1.1\r\n${host}\r\n`],
    ["a chunk size with 0x", `${chunked}0x1\r\na\r\n`],
    ["a chunk size with a sign", `${chunked}+1\r\na\r\n`],
    ["a chunk size with a space", `${chunked}1 \r\na\r\n`],
    ["a chunk size with an underscore", `${chunked}1_0\r\n`],
    ["a chunk size beyond numbers", `${chunked}fffffffffffffffff\r\n`],
    ["an empty chunk size", `${chunked}\r\n`],
    ["a bare line feed after a size", `${chunked}1\na\r\n`],
    ["a bare carriage return in an extension", `${chunked}1;a\rb\r\na\r\n`],
    ["a chunk longer than it says", `${chunked}1\r\nab\r\n`],
    ["a bare line feed after a chunk", `${chunked}1\r\na\n0\r\n\r\n`],
    ["a length among the trailers", `${chunked}0\r\nContent-Length: 1\r\n\r\n`],
    ["Host among the trailers", `${chunked}0\r\nHost: b\r\n\r\n`],
    ["a folded trailer", `${chunked}0\r\nT: a\r\n b\r\n\r\n`],
  ] as const)
    test(what, () => {
      for (const size of [input.length, 1]) expect(read(input, [size]).at(-1)).toBe("fault");
    });

  const rules = (lines: string, target = "/", method = "GET") => {
    let refusal = "fine";
    const machine = new H1ServerMachine({
      onRequest: (parsed) => {
        const request = readRequest(parsed);
        if ("status" in request) refusal = `${request.status} ${request.reason}`;
      },
      onContent: () => {},
      onRequestEnd: () => {},
      onFault: (fault) => {
        refusal = `fault ${fault.reason}`;
      },
    });
    machine.receive(bytes(`${method} ${target} HTTP/1.1\r\n${lines}\r\n`));
    return refusal;
  };
  for (const [what, lines, target, method, refusal] of [
    ["no Host", "", "/", "GET", "400 Host is missing"],
    ["two Hosts", "Host: a\r\nHost: a\r\n", "/", "GET", "400 more than one Host"],
    ["an empty Host", "Host: \r\n", "/", "GET", "400 a malformed Host"],
    ["a list in Host", "Host: a, b\r\n", "/", "GET", "400 a malformed Host"],
    ["a user in Host", "Host: a@b\r\n", "/", "GET", "400 a malformed Host"],
    ["a path in Host", "Host: a/b\r\n", "/", "GET", "400 a malformed Host"],
    [
      "an absolute target of another host",
      "Host: a\r\n",
      "http://b/",
      "GET",
      "400 the target's authority is not Host",
    ],
    [
      "an absolute target of https",
      "Host: a\r\n",
      "https://a/",
      "GET",
      "400 the target is a URI of another scheme",
    ],
    ["a target that is no path", "Host: a\r\n", "a", "GET", "400 the target is neither a path nor a URI"],
    ["* of GET", "Host: a\r\n", "*", "GET", "400 * is for OPTIONS alone"],
    ["a fragment", "Host: a\r\n", "/a#b", "GET", "400 a fragment in the target"],
    ["CONNECT", "Host: a\r\n", "a:1", "CONNECT", "405 CONNECT is not served"],
    [
      "an upgrade to h2c",
      "Host: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n",
      "/",
      "GET",
      "400 an upgrade to h2c",
    ],
    ["HTTP2-Settings", "Host: a\r\nHTTP2-Settings: AAA\r\n", "/", "GET", "400 an upgrade to h2c"],
    [
      "a Connection that names Host",
      "Host: a\r\nConnection: Host\r\n",
      "/",
      "GET",
      "400 Connection names host",
    ],
    [
      "a Connection that is no list of names",
      "Host: a\r\nConnection: a b\r\n",
      "/",
      "GET",
      "400 a malformed Connection",
    ],
    [
      "another expectation",
      "Host: a\r\nExpect: x\r\n",
      "/",
      "GET",
      "417 an expectation other than 100-continue",
    ],
    [
      "Content_Length",
      "Host: a\r\nContent_Length: 3\r\n",
      "/",
      "GET",
      "400 an underscore in a name that frames the message",
    ],
  ] as const)
    test(what, () => expect(rules(lines, target, method)).toBe(refusal));

  test("an absolute target that agrees with Host becomes a path", () => {
    const request = readRequest({
      kind: "request",
      method: "GET",
      target: "http://A:80?q",
      minorVersion: 1,
      fields: ["host", "a:80"],
    });
    expect(request).toMatchObject({ path: "/?q", authority: "a:80" });
  });

  test("what concerns the connection does not go on; te: trailers does", () => {
    const fields = [
      "host",
      "a",
      "connection",
      "X-Hop, keep-alive",
      "x-hop",
      "1",
      "keep-alive",
      "5",
      "te",
      "gzip, trailers",
      "x",
      "2",
      "upgrade",
      "foo",
    ];
    const request = readRequest({ kind: "request", method: "GET", target: "/", minorVersion: 1, fields });
    expect(request).toMatchObject({ fields: ["x", "2", "te", "trailers"], keepAlive: true, upgrade: null });
  });
});

describe("bounds", () => {
  test("a head of 10 MB is given up at its bound", () => {
    const machineSaid = read(`GET / HTTP/1.1\r\n${host}X: ${"y".repeat(10_000_000)}`, [65_536]);
    expect(machineSaid).toEqual(["limit"]);
  });

  test("the head, the byte before and the byte after", () => {
    const head = (length: number) => {
      const start = `GET / HTTP/1.1\r\n${host}X: `;
      return `${start}${"y".repeat(length - start.length - 4)}\r\n\r\n`;
    };
    expect(read(head(h1Limits.messageHeadBytes)).at(-1)).toBe(".");
    expect(read(head(h1Limits.messageHeadBytes + 1))).toEqual(["limit"]);
  });

  test("a header a thousand times", () => {
    expect(read(`GET / HTTP/1.1\r\n${host}${"a: b\r\n".repeat(1000)}\r\n`)).toEqual(["limit"]);
  });

  test("a chunk's extensions, and trailers", () => {
    const chunked = `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n`;
    expect(read(`${chunked}1;${"x".repeat(h1Limits.chunkLineBytes)}\r\n`).at(-1)).toBe("limit");
    expect(read(`${chunked}0\r\n${"T: 1\r\n".repeat(h1Limits.trailerBytes / 6 + 1)}`, [100]).at(-1)).toBe(
      "limit",
    );
  });
});
