/** Answers as bytes: whole, in pieces, and wrong. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { type AnswerParts, HttpAnswer } from "./answer.ts";

const maxBodyBytes = 64;

/** @param step bytes at a time. */
function read(text: string, step = text.length, ends = true): AnswerParts | "unfinished" {
  const answer = new HttpAnswer(maxBodyBytes);
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length && !answer.done; at += step)
    answer.receive(bytes.subarray(at, at + step));
  if (answer.done) return answer.response;
  return ends ? answer.receiveEnd() : "unfinished";
}

function bodyOf(text: string, step?: number): string {
  const response = read(text, step);
  return response === "unfinished" ? response : new TextDecoder().decode(response.body);
}

function codeOf(text: string): string {
  try {
    read(text);
    return "fine";
  } catch (thrown) {
    return thrown instanceof MeshError ? `${thrown.code} ${thrown.blame}` : String(thrown);
  }
}

describe("a body's end (RFC 9112 §6.3)", () => {
  const head = "HTTP/1.1 200 OK\r\n";
  for (const [what, text, body] of [
    ["by length", `${head}Content-Length: 5\r\n\r\nhello`, "hello"],
    ["by length, what follows is not it", `${head}Content-Length: 5\r\n\r\nhello, world`, "hello"],
    ["by length zero", `${head}Content-Length: 0\r\n\r\n`, ""],
    [
      "by chunks",
      `${head}Transfer-Encoding: Chunked\r\n\r\n3\r\nhel\r\n2;x="y"\r\nlo\r\n0\r\nT: 1\r\n\r\n`,
      "hello",
    ],
    ["by the connection's end", `${head}\r\nhello`, "hello"],
    [
      "after interim answers",
      `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${head}Content-Length: 5\r\n\r\nhello`,
      "hello",
    ],
    ["none with 204", "HTTP/1.1 204 No Content\r\n\r\n", ""],
    ["none with 304, whatever the length says", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", ""],
    ["of HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello", "hello"],
  ] as const)
    test(what, () => {
      expect(bodyOf(text)).toBe(body);
      for (const step of [1, 2, 3, 7]) expect(bodyOf(text, step)).toBe(body);
    });
});

test("status and headers, several of one name joined", () => {
  const answer = read("HTTP/1.1 503 \r\nRetry-After:  7 \r\nVia: a\r\nvia: b\r\nContent-Length: 0\r\n\r\n");
  expect(answer).toMatchObject({ status: 503, headers: { "retry-after": "7", via: "a, b" } });
});

test("a header named __proto__ is a header", () => {
  const answer = read("HTTP/1.1 200 OK\r\n__proto__: x\r\nContent-Length: 0\r\n\r\n");
  expect(answer === "unfinished" ? [] : Object.keys(answer.headers)).toEqual(["__proto__", "content-length"]);
});

describe("what is wrong is http_protocol or connection_closed, blame upstream", () => {
  const head = "HTTP/1.1 200 OK\r\n";
  for (const [what, text, code] of [
    [
      "a bare line feed in the head (RFC 9112 §2.2)",
      "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 5\r\n\r\nhello",
      "http_protocol",
    ],
    [
      "a bare line feed after a chunk's size",
      `${head}Transfer-Encoding: chunked\r\n\r\n1\na`,
      "http_protocol",
    ],
    ["another protocol", "SSH-2.0-x\r\n", "http_protocol"],
    ["HTTP/2", "HTTP/2 200\r\n\r\n", "http_protocol"],
    ["a status of two digits", "HTTP/1.1 20\r\n\r\n", "http_protocol"],
    ["101", "HTTP/1.1 101 Switching\r\n\r\n", "http_protocol"],
    ["a space before the colon (RFC 9112 §5.1)", `${head}A : b\r\n\r\n`, "http_protocol"],
    ["a folded line (RFC 9112 §5.2)", `${head}A: b\r\n c\r\n\r\n`, "http_protocol"],
    ["a zero in a value", `${head}A: \0\r\n\r\n`, "http_protocol"],
    ["a carriage return in a value", `${head}A: x\ry\r\n\r\n`, "http_protocol"],
    ["two lengths", `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, "http_protocol"],
    ["a negative length", `${head}Content-Length: -1\r\n\r\n`, "http_protocol"],
    ["a length in hexadecimal", `${head}Content-Length: 0x5\r\n\r\nhello`, "http_protocol"],
    [
      "a length and chunks",
      `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
      "http_protocol",
    ],
    ["gzip that was not asked for", `${head}Content-Encoding: gzip\r\n\r\n`, "http_protocol"],
    ["a foreign transfer coding", `${head}Transfer-Encoding: gzip, chunked\r\n\r\n`, "http_protocol"],
    ["a chunk without size", `${head}Transfer-Encoding: chunked\r\n\r\n\r\n`, "http_protocol"],
    ["a chunk longer than it says", `${head}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n`, "http_protocol"],
    ["a body cut short", `${head}Content-Length: 5\r\n\r\nhell`, "connection_closed"],
    ["chunks cut short", `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n`, "connection_closed"],
    ["a head cut short", head, "connection_closed"],
    ["nothing", "", "connection_closed"],
  ] as const)
    test(what, () => expect(codeOf(text)).toBe(`${code} upstream`));
});

describe("bounds", () => {
  const head = "HTTP/1.1 200 OK\r\n";
  const limit = "limit_reached upstream";
  test("the body, by length, in chunks and to the end: the bound, and one byte more", () => {
    const fits = "x".repeat(maxBodyBytes);
    for (const body of [
      (text: string) => `${head}Content-Length: ${text.length}\r\n\r\n${text}`,
      (text: string) =>
        `${head}Transfer-Encoding: chunked\r\n\r\n${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`,
      (text: string) => `${head}\r\n${text}`,
    ]) {
      expect(bodyOf(body(fits))).toBe(fits);
      expect(codeOf(body(`${fits}x`))).toBe(limit);
    }
  });

  test("a length or chunk is refused before its first byte has come", () => {
    for (const text of [
      `${head}Content-Length: 65\r\n\r\n`,
      `${head}Transfer-Encoding: chunked\r\n\r\nffffffff\r\n`,
    ])
      expect(codeOf(text)).toBe(limit);
  });

  test("the head, by lines, by one line without end, and by interim answers", () => {
    const line = `X: ${"y".repeat(1_000)}\r\n`;
    const enough = Math.ceil(hostLimits.httpAnswerHeadBytes / line.length);
    expect(codeOf(`${head}${line.repeat(enough)}`)).toBe(limit);
    expect(codeOf(`${head}${"x".repeat(hostLimits.httpAnswerHeadBytes)}`)).toBe(limit);
    expect(codeOf("HTTP/1.1 100 Continue\r\n\r\n".repeat(hostLimits.httpAnswerHeadBytes / 25 + 1))).toBe(
      limit,
    );
  });

  test("headers", () => {
    const lines = (count: number) => Array.from({ length: count }, (_, index) => `h${index}: 1\r\n`).join("");
    expect(codeOf(`${head}${lines(hostLimits.httpAnswerHeaders)}\r\n`)).toBe("fine");
    expect(codeOf(`${head}${lines(hostLimits.httpAnswerHeaders + 1)}\r\n`)).toBe(limit);
  });

  test("trailers", () => {
    const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n0\r\n`;
    expect(codeOf(`${chunked}${"T: 1\r\n".repeat(hostLimits.httpAnswerHeadBytes / 6 + 1)}`)).toBe(limit);
  });
});
