import { expect, test } from "bun:test";
import { murmur3 } from "./murmur3.ts";

test("the published vectors of MurmurHash3_x86_32", () => {
  expect(murmur3("")).toBe(0);
  expect(murmur3("", 1)).toBe(0x514e28b7);
  expect(murmur3("", 0xffffffff)).toBe(0x81f16f39);
  expect(murmur3("test")).toBe(0xba6bd213);
  expect(murmur3("Hello, world!")).toBe(0xc0363e43);
  expect(murmur3("The quick brown fox jumps over the lazy dog")).toBe(0x2e4ff723);
  expect(murmur3("The quick brown fox jumps over the lazy dog", 0x9747b28c)).toBe(0x2fa826cd);
  expect(murmur3("aaa", 0x9747b28c)).toBe(0x283e0130);
  expect(murmur3("a", 0x9747b28c)).toBe(0x7fa09ea6);
});
