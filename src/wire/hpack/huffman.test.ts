import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { huffmanDecode, huffmanEncode, huffmanLength } from "./huffman.ts";
import { latin1String } from "./string.ts";

function encode(text: string): Uint8Array {
  const target = new Uint8Array(huffmanLength(text));
  expect(huffmanEncode(text, target, 0)).toBe(target.length);
  return target;
}

function decode(bytes: Uint8Array): string | null {
  const target = new Uint8Array(Math.ceil((bytes.length * 8) / 5));
  const length = huffmanDecode(bytes, 0, bytes.length, target);
  return length < 0 ? null : latin1String(target, 0, length);
}

const hex = (text: string) => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

describe("RFC 7541 §5.2 Huffman code", () => {
  test.each([
    // Appendix C.4 and C.6.
    ["www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"],
    ["no-cache", "a8eb10649cbf"],
    ["custom-key", "25a849e95ba97d7f"],
    ["custom-value", "25a849e95bb8e8b4bf"],
    ["302", "6402"],
    ["private", "aec3771a4b"],
    ["Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"],
    ["https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"],
    ["307", "640eff"],
    ["gzip", "9bd9ab"],
    [
      "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
      "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ],
  ])("%s", (text, code) => {
    expect(encode(text)).toEqual(hex(code));
    expect(decode(hex(code))).toBe(text);
  });

  test("every byte value, alone and between others", () => {
    for (let byte = 0; byte < 256; byte++) {
      const character = String.fromCharCode(byte);
      for (const text of [character, `a${character}z`, character.repeat(9)])
        expect(decode(encode(text))).toBe(text);
    }
  });

  test("any bytes survive", () => {
    const text = fc.uint8Array({ maxLength: 200 }).map((bytes) => latin1String(bytes, 0, bytes.length));
    fc.assert(fc.property(text, (value) => expect(decode(encode(value))).toBe(value)));
  });

  test("what decodes is the one encoding of its text: nothing is accepted twice", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const text = decode(bytes);
        if (text !== null) expect(encode(text)).toEqual(bytes);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ["padding of zeros", "1800"],
    ["eight bits of padding", "1fff"],
    ["a whole byte of ones", "ff"],
    ["EOS", "ffffffff"],
    ["EOS after a symbol", "1fffffffff"],
    ["a long code cut off", "fffe"],
  ])("refuses %s", (_name, code) => {
    expect(decode(hex(code))).toBeNull();
  });
});
