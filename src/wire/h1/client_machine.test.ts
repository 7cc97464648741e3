import { describe, expect, test } from "bun:test";
import { h1Limits } from "../../base/limits/h1.ts";
import { H1ClientMachine } from "./client_machine.ts";
import { encodeAnswer, encodeChunk, encodeLastChunk, encodeRequest } from "./message_writer.ts";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const text = (piece: Uint8Array | null) => (piece === null ? null : String.fromCharCode(...piece));

/** @param method of the request that is answered; null for none. */
function read(
  input: string,
  method: string | null = "GET",
  size = input.length,
  mayUpgrade = false,
): readonly string[] {
  const said: string[] = [];
  let content = "";
  const machine = new H1ClientMachine({
    onInterim: (head) => said.push(`interim ${head.status}`),
    onAnswer: (head, framing) => said.push(`${head.status} ${framing.kind}`),
    onContent: (piece) => {
      content += text(piece);
    },
    onAnswerEnd: (trailers) => {
      said.push(`${content}${trailers === null ? "" : ` +${trailers.join("|")}`}.`);
      content = "";
    },
    onFault: (fault) => said.push(`fault ${fault.reason}`),
  });
  if (method !== null) machine.request(method, mayUpgrade);
  for (let at = 0; at < input.length; at += size) machine.receive(bytes(input.slice(at, at + size)));
  said.push(machine.receiveEnd() ? `cut ${content}` : content);
  return said.filter((line) => line !== "");
}

describe("an answer", () => {
  for (const [what, input, method, said] of [
    ["counted", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "GET", ["200 counted", "hi."]],
    [
      "chunked, with trailers",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nt: 1\r\n\r\n",
      "GET",
      ["200 chunked", "hi +t|1."],
    ],
    ["until the end", "HTTP/1.1 200 OK\r\n\r\nhi", "GET", ["200 until_end", "hi."]],
    ["to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "HEAD", ["200 none", "."]],
    ["304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n", "GET", ["304 none", "."]],
    [
      "after interim ones",
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
      "GET",
      ["interim 100", "interim 103", "204 none", "."],
    ],
    ["cut short", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "GET", ["200 counted", "cut hi"]],
    ["that does not come", "", "GET", ["cut "]],
  ] as const)
    test(what, () => {
      for (const size of [input.length, 1, 3])
        expect(read(input, method, Math.max(1, size))).toEqual([...said]);
    });

  for (const [what, input, method] of [
    ["to nothing", "HTTP/1.1 200 OK\r\n\r\n", null],
    ["with more than its length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", "GET"],
    ["with content to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HEAD"],
    ["with two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", "GET"],
    [
      "with a length and chunks",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
      "GET",
    ],
    ["of 101 that was not asked for", "HTTP/1.1 101 Switching Protocols\r\n\r\n", "GET"],
    ["of another protocol", "SSH-2.0\r\n", "GET"],
    ["with a bare line feed", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "GET"],
    [
      "with interim answers without end",
      "HTTP/1.1 100 Continue\r\n\r\n".repeat(h1Limits.maxInterim + 1),
      "GET",
    ],
  ] as const)
    test(`${what} is a fault`, () =>
      expect(read(input, method).some((line) => line.startsWith("fault"))).toBe(true));

  test("101 makes the rest the new protocol's", () => {
    expect(read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nraw", "GET", 4, true)).toEqual(
      ["101 until_end", "raw"],
    );
  });
});

describe("what is written", () => {
  test("a request, an answer, chunks", () => {
    expect(text(encodeRequest("GET", "/a?b", "h:1", ["x", "\xe4"], ["content-length", "0"]))).toBe(
      "GET /a?b HTTP/1.1\r\nhost: h:1\r\nx: \xe4\r\ncontent-length: 0\r\n\r\n",
    );
    expect(text(encodeAnswer(299, ["x", "1"], []))).toBe("HTTP/1.1 299 \r\nx: 1\r\n\r\n");
    expect(text(encodeChunk(bytes("hello, world, hello")))).toBe("13\r\nhello, world, hello\r\n");
    expect(text(encodeLastChunk(["t", "1"]))).toBe("0\r\nt: 1\r\n\r\n");
  });

  test("what would be read as another line is not written", () => {
    for (const value of ["a\r\nb: c", "a\nb", "a\0", "a\x7f", "\u0100"]) {
      expect(encodeRequest("GET", "/", "a", ["x", value], [])).toBeNull();
      expect(encodeAnswer(200, ["x", value], [])).toBeNull();
      expect(encodeLastChunk(["x", value])).toBeNull();
      expect(encodeRequest("GET", "/", value, [], [])).toBeNull();
    }
    for (const path of ["/ x", "/\r\n", ""]) expect(encodeRequest("GET", path, "a", [], [])).toBeNull();
    expect(encodeRequest("G T", "/", "a", [], [])).toBeNull();
    expect(encodeRequest("GET", "/", "a", ["a b", "c"], [])).toBeNull();
  });
});
