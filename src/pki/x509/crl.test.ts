/** Lists written element by element: what is read of each, and what is refused in words. */
import { describe, expect, test } from "bun:test";
import { pkiLimits } from "../../base/limits/pki.ts";
import { contextTag, derTag } from "../der/der.ts";
import { encodeDer, encodeTime, encodeUnsigned, fromHex } from "../der/encode.ts";
import { encodePem } from "../der/pem.ts";
import { parseRevocationList, splitRevocationLists } from "./crl.ts";
import { encodeExtension } from "./signed_der.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;
const algorithm = fromHex("300a06082a8648ce3d040302");
const otherAlgorithm = fromHex("300a06082a8648ce3d040303");
const sequence = (...parts: readonly Uint8Array[]): Uint8Array => encodeDer(derTag.sequence, ...parts);
const integer = (hexadecimal: string): Uint8Array => encodeDer(derTag.integer, fromHex(hexadecimal));
/** `CN=r` */
const name = sequence(
  encodeDer(derTag.set, sequence(encodeDer(derTag.oid, fromHex("550403")), fromHex("0c0172"))),
);

interface Parts {
  readonly version?: Uint8Array | null;
  readonly inside?: Uint8Array;
  readonly nextUpdate?: Uint8Array | null;
  readonly entries?: readonly Uint8Array[];
  readonly extensions?: readonly Uint8Array[];
  readonly more?: Uint8Array;
}

function list(parts: Parts = {}): Uint8Array {
  const { version = encodeUnsigned(1n), inside = algorithm, nextUpdate = encodeTime(nowMs + hour) } = parts;
  const { entries = [], extensions = [], more = new Uint8Array() } = parts;
  const none = new Uint8Array();
  return sequence(
    sequence(
      version ?? none,
      inside,
      name,
      encodeTime(nowMs),
      nextUpdate ?? none,
      entries.length === 0 ? none : sequence(...entries),
      extensions.length === 0 ? none : encodeDer(contextTag(0, true), sequence(...extensions)),
      more,
    ),
    algorithm,
    encodeDer(derTag.bitString, Uint8Array.of(0, 7, 9)),
  );
}

const entry = (serial: string, ...extensions: readonly Uint8Array[]): Uint8Array =>
  sequence(
    integer(serial),
    encodeTime(nowMs - hour),
    ...(extensions.length === 0 ? [] : [sequence(...extensions)]),
  );
const number = (hexadecimal: string): Uint8Array =>
  encodeExtension("551d14", integer(hexadecimal), "optional");

describe("a revocation list", () => {
  test("is read field by field", () => {
    const reason = encodeExtension("551d15", fromHex("0a0101"), "critical");
    const keyId = encodeExtension(
      "551d23",
      sequence(encodeDer(contextTag(0, false), fromHex("abcd"))),
      "optional",
    );
    const der = list({
      entries: [
        entry("05"),
        entry("00f1", reason),
        sequence(
          integer("07"),
          encodeDer(derTag.generalizedTime, new TextEncoder().encode("20510101000000Z")),
        ),
      ],
      extensions: [number("0203"), keyId],
    });
    const read = parseRevocationList(der);
    expect(read).toMatchObject({
      issuerText: "CN=r",
      thisUpdateMs: nowMs,
      nextUpdateMs: nowMs + hour,
      number: 0x203n,
      authorityKeyId: "abcd",
      signature: Uint8Array.of(7, 9),
      signatureAlgorithm: algorithm,
    });
    expect([...read.serialNumbers]).toEqual(["05", "f1", "07"]);
    expect([read.der, read.signed]).toEqual([
      der,
      der.subarray(2 + (der[1] === 0x81 ? 1 : 0), der.length - algorithm.length - 5),
    ]);
  });

  test("of version 1, without a next one, without extensions", () => {
    const read = parseRevocationList(list({ version: null, nextUpdate: null }));
    expect(read).toMatchObject({ nextUpdateMs: null, number: 0n, authorityKeyId: null });
    expect(read.serialNumbers.size).toBe(0);
    // The next one may be told in the other form of time.
    const later = encodeDer(derTag.generalizedTime, new TextEncoder().encode("20510101000000Z"));
    expect(parseRevocationList(list({ nextUpdate: later })).nextUpdateMs).toBe(Date.UTC(2051, 0, 1));
  });

  test("has a number of 20 octets at the most, which is not negative", () => {
    const octets = (length: number, first: string): string => first + "11".repeat(length - first.length / 2);
    expect(parseRevocationList(list({ extensions: [number(octets(20, "7f"))] })).number).toBe(
      BigInt(`0x${octets(20, "7f")}`),
    );
    expect(parseRevocationList(list({ extensions: [number(octets(21, "00ff"))] })).number).toBe(
      BigInt(`0x${octets(21, "00ff")}`),
    );
    for (const bad of [octets(22, "00ff"), octets(22, "7f"), "80", "ff01"])
      expect(() => parseRevocationList(list({ extensions: [number(bad)] }))).toThrow("has a bad number");
  });

  test.each([
    ["of another version", { version: encodeUnsigned(0n) }, "of an unknown version"],
    ["of version 3", { version: encodeUnsigned(2n) }, "of an unknown version"],
    ["signed otherwise than it says", { inside: otherAlgorithm }, "two signature algorithms"],
    ["with more behind it", { more: fromHex("0500") }, "trailing bytes"],
    [
      "for a part of the certificates",
      { extensions: [encodeExtension("551d1c", fromHex("3000"), "critical")] },
      "critical extension 2.5.29.28",
    ],
    [
      "with an entry of another issuer",
      { entries: [entry("05", encodeExtension("551d1d", fromHex("3000"), "critical"))] },
      "an entry with the critical extension 2.5.29.29",
    ],
    ["with a negative serial number", { entries: [entry("85")] }, "serial number is negative"],
    [
      "with a serial number that is too long",
      { entries: [entry("01".repeat(21))] },
      "serial number is too long",
    ],
    ["with extensions twice", { extensions: [number("01"), number("02")] }, "comes twice"],
  ] as const)("%s is refused", (_, parts, why) => {
    expect(() => parseRevocationList(list(parts))).toThrow(why);
  });

  test("what is not critical is passed over, of the list and of an entry", () => {
    const unknown = encodeExtension("551d1c", fromHex("3000"), "optional");
    const read = parseRevocationList(
      list({ entries: [entry("05", unknown)], extensions: [unknown, number("04")] }),
    );
    expect([[...read.serialNumbers], read.number]).toEqual([["05"], 4n]);
    // As @peculiar/x509 writes an entry without extensions.
    const empty = sequence(integer("06"), encodeTime(nowMs), sequence());
    expect(parseRevocationList(list({ entries: [empty] })).serialNumbers.has("06")).toBe(true);
  });

  test("is as large as its bound, and no larger", () => {
    const { maxCrlBytes } = pkiLimits;
    const filled = (bytes: number): Uint8Array => {
      const filler = (length: number) => encodeExtension("551d1c", new Uint8Array(length), "optional");
      const around = list({ extensions: [filler(70_000)] }).length - 70_000;
      // The lengths of what is around take the same bytes for these two.
      return list({ extensions: [filler(bytes - around)] });
    };
    const more = filled(maxCrlBytes).length - maxCrlBytes;
    expect(filled(maxCrlBytes - more).length).toBe(maxCrlBytes);
    expect(parseRevocationList(filled(maxCrlBytes - more)).number).toBe(0n);
    expect(() => parseRevocationList(filled(maxCrlBytes - more + 1))).toThrow("larger than the limit");
  });
});

describe("what a file of lists holds", () => {
  test("is one list in DER, or several in PEM, and nothing else", () => {
    const der = list();
    expect(splitRevocationLists(der)).toEqual([der]);
    const pem = encodePem("X509 CRL", der) + encodePem("X509 CRL", list({ nextUpdate: null }));
    expect(splitRevocationLists(new TextEncoder().encode(pem))).toEqual([der, list({ nextUpdate: null })]);
    const mixed = encodePem("X509 CRL", der) + encodePem("CERTIFICATE", der);
    expect(() => splitRevocationLists(new TextEncoder().encode(mixed))).toThrow("a block of CERTIFICATE");
    expect(() => splitRevocationLists(new TextEncoder().encode("words"))).toThrow("neither PEM nor DER");
  });
});
