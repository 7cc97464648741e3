/** The primitive values that certificates are made of, out of their DER content bytes. Errors as in `der.ts`. */
import { malformed } from "./der.ts";

export interface BitString {
  readonly bytes: Uint8Array;
  /** 0 to 7 bits at the end of the last byte that do not count; they are zero. */
  readonly unusedBits: number;
}

export function readBoolean(content: Uint8Array): boolean {
  const value = content[0];
  if (content.length !== 1 || (value !== 0x00 && value !== 0xff))
    throw malformed("DER boolean is neither 00 nor ff");
  return value === 0xff;
}

/** An integer of any size, two's complement and minimal (X.690 §8.3.2), as its bytes. */
export function readInteger(content: Uint8Array): Uint8Array {
  const first = content[0];
  const second = content[1];
  if (first === undefined) throw malformed("DER integer without bytes");
  if (second !== undefined && ((first === 0x00 && second < 0x80) || (first === 0xff && second >= 0x80))) {
    throw malformed("DER integer is not minimal");
  }
  return content;
}

/** An integer that is not negative and fits 31 bits: versions, path lengths. */
export function readSmallInteger(content: Uint8Array): number {
  const bytes = readInteger(content);
  if (bytes.length > 4 || (bytes[0] ?? 0) >= 0x80) throw malformed("DER integer is negative or too large");
  let value = 0;
  for (const byte of bytes) value = value * 256 + byte;
  return value;
}

/** An object identifier as dotted text, `1.2.840.10045.4.3.2`. */
export function readOid(content: Uint8Array): string {
  const arcs: number[] = [];
  let arc = 0;
  let started = false;
  for (const byte of content) {
    if (!started && byte === 0x80) throw malformed("DER object identifier is not minimal");
    started = true;
    arc = arc * 128 + (byte & 0x7f);
    if (arc > Number.MAX_SAFE_INTEGER / 128) throw malformed("DER object identifier has a huge arc");
    if (byte >= 0x80) continue;
    if (arcs.length === 0) {
      const root = Math.min(2, Math.floor(arc / 40));
      arcs.push(root, arc - root * 40);
    } else arcs.push(arc);
    arc = 0;
    started = false;
  }
  if (started || arcs.length === 0) throw malformed("DER object identifier is cut short");
  return arcs.join(".");
}

export function readBitString(content: Uint8Array): BitString {
  const unusedBits = content[0];
  if (unusedBits === undefined || unusedBits > 7) throw malformed("DER bit string has a bad head");
  const bytes = content.subarray(1);
  const last = bytes[bytes.length - 1] ?? 0;
  if (bytes.length === 0 ? unusedBits !== 0 : (last & ((1 << unusedBits) - 1)) !== 0) {
    throw malformed("DER bit string has unused bits that are set");
  }
  return { bytes, unusedBits };
}

/** A bit string of whole bytes: signatures and public keys. */
export function readOctetAlignedBits(content: Uint8Array): Uint8Array {
  const { bytes, unusedBits } = readBitString(content);
  if (unusedBits !== 0) throw malformed("DER bit string is not a whole number of bytes");
  return bytes;
}

const utcTime = /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;
const generalizedTime = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/;

/** RFC 5280 §4.1.2.5.1: two-digit years, 50 to 99 are 19xx. @returns milliseconds since the Unix epoch. */
export function readUtcTime(content: Uint8Array): number {
  const match = utcTime.exec(latin1(content));
  if (match === null) throw malformed("UTCTime is not YYMMDDHHMMSSZ");
  const year = Number(match[1]);
  return timeOf(year < 50 ? 2000 + year : 1900 + year, match);
}

/** RFC 5280 §4.1.2.5.2: without fractions, in Zulu time. @returns milliseconds since the Unix epoch. */
export function readGeneralizedTime(content: Uint8Array): number {
  const match = generalizedTime.exec(latin1(content));
  if (match === null) throw malformed("GeneralizedTime is not YYYYMMDDHHMMSSZ");
  return timeOf(Number(match[1]), match);
}

function timeOf(year: number, match: RegExpExecArray): number {
  const [month, day, hour, minute, second] = match.slice(2).map(Number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const time = Date.UTC(year, month - 1, day, hour, minute, second);
  // Date.UTC carries the 31st of February over into March, and the 60th second into the next minute: a time that does
  // not come back as written is none.
  const back = new Date(time);
  const same = back.getUTCMonth() === month - 1 && back.getUTCDate() === day && back.getUTCHours() === hour;
  if (!same || back.getUTCMinutes() !== minute) throw malformed("time does not exist");
  // Date.UTC takes the years 0 to 99 for 19xx.
  if (back.getUTCFullYear() !== year) throw malformed("time does not exist");
  return time;
}

const hexDigits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Lower case hexadecimal, two digits a byte. */
export function hex(bytes: Uint8Array): string {
  let text = "";
  // By index: iterating a typed array costs several times as much, and lists of revoked serial numbers are long.
  for (let index = 0; index < bytes.length; index++) text += hexDigits[bytes[index] ?? 0];
  return text;
}

/** One character a byte. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let index = 0; index < bytes.length; index++) text += String.fromCharCode(bytes[index] ?? 0);
  return text;
}

export function bytesEqual(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
  return true;
}
