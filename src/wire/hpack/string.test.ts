import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HpackDecoder } from "./decoder.ts";
import { KnownStrings } from "./string.ts";

const latin1 = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

/** A literal without indexing, name and value as they stand. */
function literal(name: string, value: string): Uint8Array {
  const string = (text: string) => [text.length, ...latin1(text)];
  return Uint8Array.from([0, ...string(name), ...string(value)]);
}

describe("strings that came before", () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "\x80", "\xff", "0"), maxLength: 45 });

  test("whatever is kept, what is found is what the bytes say", () => {
    fc.assert(
      fc.property(fc.array(text, { maxLength: 200 }), fc.nat(5), (texts, offset) => {
        const known = new KnownStrings();
        for (const one of texts) {
          const bytes = new Uint8Array([...new Uint8Array(offset).fill(0x61), ...latin1(one), 0x61]);
          const found = known.find(bytes, offset, offset + one.length);
          expect(found === null || found === one).toBe(true);
          known.keep(one, bytes, offset, offset + one.length);
          if (one.length > 0 && one.length <= 40)
            expect(known.find(bytes, offset, offset + one.length)).toBe(one);
        }
      }),
    );
  });

  test("the empty one and one past the longest are made each time", () => {
    const known = new KnownStrings();
    for (const [length, isKept] of [
      [0, false],
      [1, true],
      [40, true],
      [41, false],
    ] as const) {
      const bytes = latin1("x".repeat(length));
      known.keep("x".repeat(length), bytes, 0, length);
      expect(known.find(bytes, 0, length) !== null).toBe(isKept);
    }
  });

  test("a field that is malformed is so each time, and a good name is no good value (RFC 9113 §8.2.1)", () => {
    const decoder = new HpackDecoder();
    const isMalformed = (name: string, value: string): boolean => {
      const block = literal(name, value);
      expect(decoder.decode(block, 0, block.length, 1_000)).toEqual([name, value]);
      return decoder.malformed;
    };
    for (let turn = 0; turn < 3; turn++) {
      expect(isMalformed("good", "Upper")).toBe(false);
      // Known as a value, and as a name malformed.
      expect(isMalformed("Upper", "good")).toBe(true);
      expect(isMalformed("name", "line\nbreak")).toBe(true);
      expect(isMalformed("name", " blank")).toBe(true);
    }
  });
});
