import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { sha256, sha256Hex } from "./sha256.ts";

const utf8 = new TextEncoder();

test("the examples of FIPS 180-4 come out", () => {
  expect(sha256Hex()).toBe("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  expect(sha256Hex(utf8.encode("abc"))).toBe(
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

test("it agrees with the runtime's at every length around a block, and in however many parts", () => {
  for (let length = 0; length < 200; length++) {
    const bytes = new Uint8Array(length).map((_, index) => index * 7 + length);
    expect(sha256Hex(bytes)).toBe(createHash("sha256").update(bytes).digest("hex"));
  }
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }), (parts) => {
      const expected = createHash("sha256").update(Buffer.concat(parts)).digest();
      expect(sha256(...parts)).toEqual(new Uint8Array(expected));
    }),
  );
});
