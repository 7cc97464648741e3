import { describe, expect, test } from "bun:test";
import { helloServerName } from "./tls_hello.ts";

const vector = (bytes: readonly number[], lengthBytes: number): number[] => [
  ...Array.from(
    { length: lengthBytes },
    (_, index) => (bytes.length >> (8 * (lengthBytes - 1 - index))) & 0xff,
  ),
  ...bytes,
];
const ascii = (text: string) => [...text].map((character) => character.charCodeAt(0));

/** @param records into which the handshake is cut. */
function hello(name: string | null, recordBytes = 65_535): Uint8Array {
  const extensions = [
    ...[0, 23, ...vector([], 2)],
    ...(name === null ? [] : [0, 0, ...vector(vector([0, ...vector(ascii(name), 2)], 2), 2)]),
  ];
  const body = [
    3,
    3,
    ...new Array<number>(32).fill(7),
    ...vector([1, 2, 3], 1),
    ...vector([0x13, 0x01], 2),
    ...vector([0], 1),
    ...vector(extensions, 2),
  ];
  const handshake = [1, ...vector(body, 3)];
  const records: number[] = [];
  for (let at = 0; at < handshake.length; at += recordBytes)
    records.push(22, 3, 1, ...vector(handshake.slice(at, at + recordBytes), 2));
  return Uint8Array.from(records);
}

describe("the server name of a ClientHello", () => {
  test("is read, in lower case, also out of several records", () => {
    for (const size of [65_535, 40, 1])
      expect(helloServerName(hello("Db.Shop", size))).toEqual({ kind: "name", name: "db.shop" });
  });

  test("is waited for while the hello is not whole", () => {
    const whole = hello("db.shop");
    for (let length = 1; length < whole.length; length++)
      expect(helloServerName(whole.subarray(0, length)).kind).toBe("more");
  });

  test("is none where there is none, or what is no name, or no hello", () => {
    expect(helloServerName(hello(null)).kind).toBe("none");
    for (const name of ["a b", "a\0b", "", "a..b", "x".repeat(254)])
      expect(helloServerName(hello(name)).kind).toBe("none");
    expect(helloServerName(Uint8Array.from(ascii("GET / HTTP/1.1\r\n"))).kind).toBe("none");
    expect(helloServerName(Uint8Array.from([22, 3, 1, 0, 4, 2, 0, 0, 0])).kind).toBe("none");
  });

  test("whatever the bytes are, something is said", () => {
    let seed = 5;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed / 2_147_483_648;
    };
    for (let round = 0; round < 5_000; round++) {
      const bytes = hello("db.shop");
      for (let turn = 0; turn < 3; turn++)
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      expect(["name", "more", "none"]).toContain(helloServerName(bytes).kind);
    }
  });
});
