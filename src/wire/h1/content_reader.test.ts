import { describe, expect, test } from "bun:test";
import { h1Limits } from "../../base/limits/h1.ts";
import { ContentReader } from "./content_reader.ts";

/** What is read of content in chunks. */
function read(text: string): {
  readonly content: string;
  readonly fault: string | null;
  readonly ends: number;
} {
  let content = "";
  let fault: string | null = null;
  let ends = 0;
  const reader = new ContentReader({
    onContent: (bytes) => {
      content += new TextDecoder().decode(bytes);
    },
    onContentEnd: () => void ends++,
    onContentFault: (found) => {
      fault = found.reason;
    },
  });
  reader.begin({ kind: "chunked" });
  reader.receive(new TextEncoder().encode(text), 0);
  return { content, fault, ends };
}

describe("the size of a chunk", () => {
  test("has so many digits and no more, zeros in front among them", () => {
    const { chunkSizeDigits } = h1Limits;
    const size = (digits: number): string => "5".padStart(digits, "0");
    expect(read(`${size(chunkSizeDigits)}\r\nhello\r\n0\r\n\r\n`)).toEqual({
      content: "hello",
      fault: null,
      ends: 1,
    });
    expect(read(`${size(chunkSizeDigits + 1)}\r\nhello\r\n0\r\n\r\n`)).toEqual({
      content: "",
      fault: "a malformed chunk size",
      ends: 0,
    });
  });

  test("ends its line with CR LF, and the chunk is as long as it says", () => {
    expect(read("5\nhello\r\n0\r\n\r\n").fault).toBe("a bare line feed");
    expect(read("4\r\nhello\r\n").fault).not.toBeNull();
    expect(read("5;x=y\r\nhello\r\n0\r\n\r\n")).toEqual({ content: "hello", fault: null, ends: 1 });
    for (const bad of ["", "-5", "0x5", "5 ", " 5", "g"])
      expect([bad, read(`${bad}\r\nhello\r\n`).fault]).toEqual([bad, "a malformed chunk size"]);
  });
});
