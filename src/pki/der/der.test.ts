import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { X509Certificate } from "../x509/peculiar.ts";
import { type DerElement, DerReader, derTag } from "./der.ts";
import { printable } from "./distinguished_name.ts";
import { encodeDer, encodeTime, encodeUnsigned } from "./encode.ts";
import {
  bytesEqual,
  latin1,
  readBitString,
  readBoolean,
  readGeneralizedTime,
  readInteger,
  readOctetAlignedBits,
  readOid,
  readSmallInteger,
  readUtcTime,
} from "./values.ts";

const bytes = (...values: readonly number[]): Uint8Array => Uint8Array.from(values);
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function isRefused(read: () => unknown): boolean {
  try {
    read();
    return false;
  } catch (error) {
    if (error instanceof MeshError && error.code === "certificate_malformed" && error.blame === "peer")
      return true;
    throw error;
  }
}

test("lengths: minimal and definite only, and never past the end", () => {
  const element = (...values: readonly number[]): DerElement => new DerReader(bytes(...values)).element();
  const { tag, content, whole } = element(0x04, 0x01, 0xaa, 0x05);
  expect([tag, content, whole]).toEqual([4, bytes(0xaa), bytes(0x04, 0x01, 0xaa)]);
  expect(element(0x04, 0x81, 0x80, ...new Array(128).fill(7)).content).toHaveLength(128);
  for (const bad of [
    [0x04],
    [0x04, 0x02, 0xaa],
    [0x04, 0x80, 0x00, 0x00],
    [0x04, 0x81, 0x7f, ...new Array(127).fill(7)],
    [0x04, 0x82, 0x00, 0x80, ...new Array(128).fill(7)],
    [0x04, 0x84, 0xff, 0xff, 0xff, 0xff],
    [0x04, 0x85, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00],
    [0x1f, 0x81, 0x01, 0x00],
  ]) {
    expect(isRefused(() => element(...bad))).toBe(true);
  }
  // Each for its own reason, and not because what is misread happens to run past the end.
  for (const [bad, why] of [
    [[0x1f, 0x01, 0x00], "tag of more than one byte"],
    [[0x04, 0x80, ...new Array(128).fill(0)], "indefinite or too long"],
    [[0x04, 0x84, 0x01, 0x00, 0x00, 0x00], "runs past the end"],
    [[0x04, 0x85, 0x01, 0x00, 0x00, 0x00, 0x00], "indefinite or too long"],
    [[0x04, 0x81], "ends inside an element"],
    [[0x04, 0x82, 0x01], "ends inside an element"],
  ] as const)
    expect(() => element(...bad)).toThrow(why);
});

test("what is written has the shortest length, and is read again", () => {
  for (const length of [0, 127, 128, 255, 256, 65_536]) {
    const content = new Uint8Array(length).fill(7);
    const written = encodeDer(derTag.octetString, content);
    expect(written.length - length).toBe(length < 128 ? 2 : length < 256 ? 3 : length < 65_536 ? 4 : 5);
    expect(new DerReader(written).content(derTag.octetString)).toEqual(content);
  }
  expect([encodeUnsigned(127n), encodeUnsigned(128n)]).toEqual([bytes(2, 1, 127), bytes(2, 2, 0, 128)]);
});

test("trailing bytes and wrong tags are errors, an optional element is not", () => {
  const reader = new DerReader(bytes(0x30, 0x00, 0x02, 0x01, 0x05));
  expect(reader.optional(derTag.integer)).toBeNull();
  expect(isRefused(() => reader.content(derTag.integer))).toBe(true);
  reader.enter(derTag.sequence).end();
  expect(isRefused(() => reader.end())).toBe(true);
  expect(reader.optional(derTag.integer)).toEqual(bytes(5));
  reader.end();
  expect(isRefused(() => reader.element())).toBe(true);
});

test("values that DER writes in one way only", () => {
  expect([readBoolean(bytes(0xff)), readBoolean(bytes(0))]).toEqual([true, false]);
  for (const bad of [bytes(1), bytes(), bytes(0xff, 0xff)])
    expect(isRefused(() => readBoolean(bad))).toBe(true);
  for (const bad of [bytes(), bytes(0, 1), bytes(0xff, 0x80)])
    expect(isRefused(() => readInteger(bad))).toBe(true);
  expect(readInteger(bytes(0, 0x80))).toEqual(bytes(0, 0x80));
  expect(readSmallInteger(bytes(0x7f, 0xff, 0xff, 0xff))).toBe(2 ** 31 - 1);
  for (const bad of [bytes(0xff), bytes(1, 0, 0, 0, 0)])
    expect(isRefused(() => readSmallInteger(bad))).toBe(true);
  for (const bad of [bytes(), bytes(8, 0), bytes(1), bytes(1, 0x81), bytes(7, 0x40)])
    expect(isRefused(() => readBitString(bad))).toBe(true);
  expect(readBitString(bytes(7, 0x80))).toEqual({ bytes: bytes(0x80), unusedBits: 7 });
  expect(readOctetAlignedBits(bytes(0, 0x80))).toEqual(bytes(0x80));
  expect(isRefused(() => readOctetAlignedBits(bytes(7, 0x80)))).toBe(true);
});

test("object identifiers", () => {
  expect(readOid(bytes(0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2))).toBe("1.2.840.10045.4.3.2");
  expect(readOid(bytes(0x55, 0x1d, 0x11))).toBe("2.5.29.17");
  expect(readOid(bytes(0x88, 0x37, 3))).toBe("2.999.3");
  expect(readOid(bytes(0x2a, 0x81, 0x80, 0x00))).toBe("1.2.16384");
  const huge = bytes(0x2a, ...new Array(12).fill(0xff), 0x7f);
  for (const bad of [bytes(), bytes(0x2a, 0x86), bytes(0x2a, 0x80, 1), huge])
    expect(isRefused(() => readOid(bad))).toBe(true);
});

test("times exist, and have no other form than RFC 5280's", () => {
  expect(readUtcTime(text("500101000000Z"))).toBe(Date.UTC(1950, 0, 1));
  expect(readUtcTime(text("491231235959Z"))).toBe(Date.UTC(2049, 11, 31, 23, 59, 59));
  expect(readGeneralizedTime(text("99991231235959Z"))).toBe(Date.UTC(9999, 11, 31, 23, 59, 59));
  expect(readUtcTime(text("240229000000Z"))).toBe(Date.UTC(2024, 1, 29));
  for (const bad of [
    "250229000000Z",
    "251301000000Z",
    "251200000000Z",
    "250101240000Z",
    "250101006000Z",
    "250101000060Z",
    "2501010000Z",
    "250101000000+0000",
    "",
  ]) {
    expect(isRefused(() => readUtcTime(text(bad)))).toBe(true);
  }
  for (const bad of ["20250101000000.5Z", "20250101000000", "00500101000000Z", "20250101006000Z"]) {
    expect(isRefused(() => readGeneralizedTime(text(bad)))).toBe(true);
  }
});

test("times are written in the form that RFC 5280 wants of their year", () => {
  for (const [iso, form] of [
    ["1949-12-31T23:59:59Z", "19491231235959Z"],
    ["1950-01-01T00:00:00Z", "500101000000Z"],
    ["2049-12-31T23:59:59Z", "491231235959Z"],
    ["2050-01-01T00:00:00Z", "20500101000000Z"],
  ] as const) {
    const { tag, content } = new DerReader(encodeTime(Date.parse(iso))).element();
    expect(latin1(content)).toBe(form);
    expect(tag === derTag.utcTime ? readUtcTime(content) : readGeneralizedTime(content)).toBe(
      Date.parse(iso),
    );
  }
});

test("what a stranger wrote is cut past 120 characters, and says so", () => {
  expect(printable("a".repeat(120))).toBe("a".repeat(120));
  expect(printable("b".repeat(121))).toBe(`${"b".repeat(120)}…`);
});

test("no bytes make the certificate parser do anything but refuse", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
      expect(isRefused(() => parseCertificate(noise))).toBe(true);
    }),
    { numRuns: 2000 },
  );
});

async function makeLeaf(): Promise<Forged> {
  const forge = new Forge(runtimeProvider(), Date.parse("2026-11-22T12:00:00Z"));
  return await forge.leaf(await forge.ca({ subject: "O=mesh, CN=μ-root\n" }), { serialNumber: "00ff01" });
}

test("a good certificate with parts cut, doubled or changed is read or refused, nothing else", async () => {
  const { der } = await makeLeaf();
  const edit = fc.tuple(fc.nat(der.length), fc.nat(der.length), fc.uint8Array({ maxLength: 6 }));
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
      let changed = [...der];
      for (const [from, length, put] of edits)
        changed = [...changed.slice(0, from), ...put, ...changed.slice(from + (length % 8))];
      try {
        parseCertificate(Uint8Array.from(changed));
      } catch (error) {
        if (!(error instanceof MeshError)) throw error;
      }
    }),
    { numRuns: 5000 },
  );
});

test("reads the same out of a certificate as the library does", async () => {
  const leaf = await makeLeaf();
  const library = new X509Certificate(Uint8Array.from(leaf.der));
  expect(leaf.parsed.notBeforeMs).toBe(library.notBefore.getTime());
  expect(leaf.parsed.notAfterMs).toBe(library.notAfter.getTime());
  expect(leaf.parsed.publicKeyInfo).toEqual(new Uint8Array(library.publicKey.rawData));
  expect(leaf.parsed.serialNumber).toBe("ff01");
  expect(leaf.parsed.issuerText).toBe("O=mesh, CN=\\u{3bc}-root\\u{a}");
});

test("a certificate larger than the limit is refused, one of that size is read up to its fault", () => {
  const make = (total: number): Uint8Array => {
    const all = new Uint8Array(total);
    all.set([0x30, 0x82, (total - 4) >> 8, (total - 4) & 0xff]);
    return all;
  };
  expect(() => parseCertificate(make(pkiLimits.maxCertificateBytes + 1))).toThrow("larger than the limit");
  expect(() => parseCertificate(make(pkiLimits.maxCertificateBytes))).toThrow("DER tag");
});

test("a small integer with its highest bit set is negative, and equal bytes are of one length", () => {
  expect(isRefused(() => readSmallInteger(bytes(0x80)))).toBe(true);
  expect(bytesEqual(bytes(1, 2), bytes(1, 2))).toBe(true);
  expect(bytesEqual(bytes(1, 2), bytes(1, 2, 3))).toBe(false);
  expect(bytesEqual(bytes(1, 2, 3), bytes(1, 2))).toBe(false);
});
