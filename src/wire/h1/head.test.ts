/** Heads of HTTP/1.1 as bytes: whole, in pieces, at their bounds, and what two parsers could read differently. */
import { describe, expect, test } from "bun:test";
import { h1Limits } from "../../base/limits/h1.ts";
import {
  HeadReader,
  newLineMemory,
  parseRequestHead,
  parseStatusHead,
  parseTrailers,
  requestFraming,
  responseFraming,
} from "./head.ts";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

describe("a head in pieces", () => {
  const text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n";
  for (const step of [1, 2, 3, 5, text.length])
    test(`of ${step} bytes: the head, and what is behind it`, () => {
      const reader = new HeadReader(100);
      for (let at = 0; at < text.length; at += step) {
        const piece = bytes(text.slice(at, at + step));
        const found = reader.receive(piece);
        if (found.kind === "more") continue;
        if (found.kind !== "head") throw new Error(found.kind);
        expect(found.head).toBe("GET / HTTP/1.1\r\nHost: a");
        const behind = text.indexOf("body");
        expect(String.fromCharCode(...found.rest)).toBe(text.slice(behind, at + piece.length));
        return;
      }
      throw new Error("no head");
    });

  test("the bound is the head with its end: exactly that fits, one byte more does not", () => {
    const head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    expect(new HeadReader(head.length).receive(bytes(head)).kind).toBe("head");
    expect(new HeadReader(head.length - 1).receive(bytes(head)).kind).toBe("too_long");
    const reader = new HeadReader(10);
    expect(reader.receive(bytes("x".repeat(10))).kind).toBe("more");
    expect(reader.receive(bytes("x")).kind).toBe("too_long");
    expect(new HeadReader(10).receive(new Uint8Array(10_000_000)).kind).toBe("too_long");
  });

  test("bytes above 0x7f stay what they are", () => {
    const found = new HeadReader(100).receive(bytes("GET / HTTP/1.1\r\nA: \x80\xff\r\n\r\n"));
    const head = found.kind === "head" ? parseRequestHead(found.head) : found;
    expect(head).toMatchObject({ fields: ["a", "\x80\xff"] });
  });
});

test("a request: method, target, version, fields in order with names in lower case", () => {
  expect(
    parseRequestHead("PATCH /a?b=c HTTP/1.0\r\nHost:a\r\nX-Y: \t b c \t\r\nx-y:\r\n__proto__: z"),
  ).toEqual({
    kind: "request",
    method: "PATCH",
    target: "/a?b=c",
    minorVersion: 0,
    fields: ["host", "a", "x-y", "b c", "x-y", "", "__proto__", "z"],
  });
});

test("a status line, with and without a reason", () => {
  for (const line of ["HTTP/1.1 503 Service Unavailable", "HTTP/1.1 503 ", "HTTP/1.1 503"])
    expect(parseStatusHead(`${line}\r\na: b`)).toEqual({
      kind: "status",
      status: 503,
      minorVersion: 1,
      fields: ["a", "b"],
    });
});

describe("what two parsers could read differently is a fault (RFC 9112)", () => {
  const line = "GET / HTTP/1.1";
  for (const [what, head] of [
    ["two spaces in the request line (§3)", "GET  / HTTP/1.1"],
    ["a tab in the request line (§3)", "GET\t/ HTTP/1.1"],
    ["a space at the end of the request line (§3)", "GET / HTTP/1.1 "],
    ["a target with a space (§3.2)", "GET /a b HTTP/1.1"],
    ["a target with a byte above 0x7e (§3.2)", "GET /\xe4 HTTP/1.1"],
    ["HTTP/1.2", "GET / HTTP/1.2"],
    ["http/1.1 in lower case (§2.3)", "GET / http/1.1"],
    ["HTTP/2", "GET / HTTP/2.0"],
    ["no version", "GET /"],
    ["a method that is no token", "G(T / HTTP/1.1"],
    ["an empty line first", "\r\nGET / HTTP/1.1"],
    ["a folded line (§5.2)", `${line}\r\na: b\r\n c`],
    ["white space before the colon (§5.1)", `${line}\r\na : b`],
    ["white space before the first field (§2.2)", `${line}\r\n a: b`],
    ["a field without a colon", `${line}\r\nabc`],
    ["an empty name", `${line}\r\n: b`],
    ["a bare line feed (§2.2)", `${line}\r\na: b\nc: d`],
    ["a bare carriage return (§2.2)", `${line}\r\na: b\rc: d`],
    ["a bare line feed behind the request line", `${line}\na: b`],
    ["a zero in a value (RFC 9110 §5.5)", `${line}\r\na: \0`],
    ["a delete character in a value", `${line}\r\na: \x7f`],
    ["a name with a byte above 0x7f", `${line}\r\n\xe4: b`],
  ] as const)
    test(what, () => expect(parseRequestHead(head)).toMatchObject({ kind: "fault", isLimit: false }));

  test("as many fields as are allowed, and one more", () => {
    const fields = (count: number) => `${line}${"\r\na: b".repeat(count)}`;
    expect(parseRequestHead(fields(h1Limits.maxFields)).kind).toBe("request");
    expect(parseRequestHead(fields(h1Limits.maxFields + 1))).toMatchObject({ kind: "fault", isLimit: true });
  });
});

describe("how a body ends (RFC 9112 §6.3)", () => {
  const request = (fields: string, version = "1.1") => {
    const head = parseRequestHead(`POST / HTTP/${version}${fields}`);
    return head.kind === "request" ? requestFraming(head) : head;
  };
  const response = (status: number, fields: string) => {
    const head = parseStatusHead(`HTTP/1.1 ${status}${fields}`);
    return head.kind === "status" ? responseFraming(head) : head;
  };
  const length = (value: string) => `\r\nContent-Length: ${value}`;
  const coding = (value: string) => `\r\nTransfer-Encoding: ${value}`;

  test("a request without a length has none; an answer goes on to the end", () => {
    expect(request("")).toEqual({ kind: "none" });
    expect(response(200, "")).toEqual({ kind: "until_end" });
  });

  test("by length and by chunks", () => {
    expect(request(length("12"))).toEqual({ kind: "counted", bytes: 12 });
    expect(request(coding("Chunked"))).toEqual({ kind: "chunked" });
    expect(response(200, length("0"))).toEqual({ kind: "counted", bytes: 0 });
  });

  test("204, 304 and interim answers have none, whatever they say", () => {
    for (const status of [100, 103, 204, 304])
      expect(response(status, length("9"))).toEqual({ kind: "none" });
  });

  for (const [what, fields] of [
    ["a length and a coding", `${length("3")}${coding("chunked")}`],
    ["two lengths that differ", `${length("3")}${length("4")}`],
    ["two lengths that agree", `${length("3")}${length("3")}`],
    ["a list of lengths", length("3, 3")],
    ["a length with a sign", length("+3")],
    ["a negative length", length("-3")],
    ["a length in hexadecimal", length("0x3")],
    ["an empty length", length("")],
    ["a length with a space in it", length("1 0")],
    ["a length that no number holds", length("1".repeat(h1Limits.lengthDigits + 1))],
    ["gzip before chunked", coding("gzip, chunked")],
    ["chunked twice", coding("chunked, chunked")],
    ["chunked in two fields", `${coding("chunked")}${coding("chunked")}`],
    ["a look-alike: xchunked", coding("xchunked")],
    ["a look-alike: chunked with a parameter", coding("chunked;q=1")],
    ["a look-alike: chunked with a vertical tab", coding("\x0bchunked")],
    ["identity", coding("identity")],
    ["an empty coding", coding("")],
  ] as const)
    test(`${what}: a fault both ways`, () => {
      expect(request(fields).kind).toBe("fault");
      expect(response(200, fields).kind).toBe("fault");
    });

  test("a coding in a request of HTTP/1.0 is a fault (§6.1)", () => {
    expect(request(coding("chunked"), "1.0").kind).toBe("fault");
    expect(request(length("3"), "1.0")).toEqual({ kind: "counted", bytes: 3 });
  });
});

test("what frames or routes a message, or says who sent it, is none of its trailers (RFC 9110 §6.5.1)", () => {
  const names = ["transfer-encoding", "content-length", "host", "trailer", "te", "connection", "upgrade"];
  for (const name of [...names, "authorization", "cookie", "set-cookie", "Authorization"])
    expect([name, parseTrailers(["x-a: 1", `${name}: 1`])]).toEqual([
      name,
      { kind: "fault", reason: `${name.toLowerCase()} among the trailers`, isLimit: false },
    ]);
  expect(parseTrailers(["Grpc-Status: 0", "x-cookie: 1"])).toEqual(["grpc-status", "0", "x-cookie", "1"]);
});

test("what a connection remembers of its lines changes nothing that is read, of good heads and of bad ones", () => {
  const memory = newLineMemory();
  const lines = [
    "Host: a",
    "host: a",
    "Accept: */*",
    "X: 1",
    "X: 2",
    "x: 1 ",
    "bad line",
    " folded",
    "X : 1",
    "",
    "Y:\u00e9",
  ];
  let state = 7;
  const chance = (below: number) => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return Math.floor((state / 2147483648) * below);
  };
  let good = 0;
  let repeated = 0;
  let before: unknown = null;
  for (let round = 0; round < 5000; round++) {
    const chosen = Array.from({ length: chance(5) }, () => lines[chance(chance(4) === 0 ? lines.length : 6)]);
    const head = ["GET / HTTP/1.1", ...chosen].join("\r\n");
    const fresh = parseRequestHead(head);
    const read = parseRequestHead(head, memory);
    expect(read).toEqual(fresh);
    if (read.kind !== "request") continue;
    good++;
    if (read.fields === before) repeated++;
    before = read.fields;
  }
  expect(good).toBeGreaterThan(1000);
  expect(repeated).toBeGreaterThan(10);
});
