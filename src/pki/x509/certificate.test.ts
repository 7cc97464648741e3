/** The outside of a certificate, written by hand: each field as it must not be. */
import { expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import { contextTag, derTag } from "../der/der.ts";
import { encodeDer, encodeTime, fromHex } from "../der/encode.ts";
import { parseCertificate, readSerialNumber } from "./certificate.ts";

const algorithm = fromHex("300a06082a8648ce3d040302");
const name = fromHex("300c310a300806035504030c0178");
const empty = fromHex("3000");

interface Fields {
  /** Null for none. */
  readonly version?: number | null;
  readonly issuer?: Uint8Array;
  readonly subject?: Uint8Array;
  readonly inner?: Uint8Array;
  readonly tail?: readonly Uint8Array[];
}

function der({
  version = 2,
  issuer = name,
  subject = name,
  inner = algorithm,
  tail = [],
}: Fields): Uint8Array {
  const fields = [
    version === null
      ? new Uint8Array()
      : encodeDer(contextTag(0, true), encodeDer(derTag.integer, Uint8Array.of(version))),
    encodeDer(derTag.integer, Uint8Array.of(0x17)),
    inner,
    issuer,
    encodeDer(derTag.sequence, encodeTime(1_000), encodeTime(2_000)),
    subject,
    empty,
    ...tail,
  ];
  const bits = encodeDer(derTag.bitString, Uint8Array.of(0, 1));
  return encodeDer(derTag.sequence, encodeDer(derTag.sequence, ...fields), algorithm, bits);
}

function read(fields: Fields): unknown {
  try {
    const { serialNumber, hasSubject, extensions } = parseCertificate(der(fields));
    return [serialNumber, hasSubject, extensions.keyUsage];
  } catch (error) {
    const { code, message } = asMeshError(error, "io", "local");
    return `${code}: ${message}`;
  }
}

test("a certificate is of version 1 or 3, with extensions in the latter alone, and may have none", () => {
  const keyUsage = fromHex("a30f300d300b0603551d0f040403020780");
  expect(read({})).toEqual(["17", true, null]);
  expect(read({ version: null })).toEqual(["17", true, null]);
  expect(read({ tail: [keyUsage] })).toEqual(["17", true, 1]);
  expect(read({ version: null, tail: [keyUsage] })).toContain("certificate_malformed");
  for (const version of [0, 1, 3])
    expect(read({ version })).toBe(`certificate_malformed: certificate version ${version + 1}`);
});

test("the unique numbers of issuer and subject are passed over, and not there in version 1", () => {
  const [ofIssuer, ofSubject] = ["81020055", "82020066"].map(fromHex);
  const keyUsage = fromHex("a30f300d300b0603551d0f040403020780");
  for (const numbers of [[ofIssuer], [ofSubject], [ofIssuer, ofSubject]]) {
    const tail = numbers.filter((one) => one !== undefined);
    expect(read({ tail })).toEqual(["17", true, null]);
    expect(read({ tail: [...tail, keyUsage] })).toEqual(["17", true, 1]);
    expect(read({ version: null, tail })).toContain("certificate_malformed");
  }
});

test("it has an issuer's name, and a subject or none; the algorithm is the same inside and outside", () => {
  expect(read({ subject: empty })).toEqual(["17", false, null]);
  expect(read({ issuer: empty })).toBe("certificate_malformed: certificate without an issuer name");
  expect(read({ inner: fromHex("300a06082a8648ce3d040303") })).toContain("signature algorithms");
});

test("a serial number has 20 octets at the most and is not negative", () => {
  const octets = (length: number, ...first: readonly number[]) =>
    Uint8Array.from([...first, ...new Array<number>(length - first.length).fill(0x55)]);
  const serial = (bytes: Uint8Array): string => {
    try {
      return readSerialNumber(bytes);
    } catch (error) {
      return asMeshError(error, "io", "local").message;
    }
  };
  expect(serial(octets(20, 0x7f))).toBe(`7f${"55".repeat(19)}`);
  expect(serial(octets(21, 0, 0x80))).toBe(`80${"55".repeat(19)}`);
  expect(serial(octets(21, 1))).toBe("serial number is too long");
  expect(serial(octets(22, 0, 0x80))).toBe("serial number is too long");
  expect(serial(octets(3, 0x80))).toBe("serial number is negative");
  expect(serial(octets(3, 0x80, 0))).toBe("serial number is negative");
  expect(serial(Uint8Array.of(0))).toBe("00");
  expect(serial(Uint8Array.of(0, 0x80))).toBe("80");
});
