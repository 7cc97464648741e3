/** Writing DER (X.690 §10): the few values that are written here rather than by the library. */
import { derTag } from "./der.ts";

/** One element. */
export function encodeDer(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  return concatBytes(Uint8Array.of(tag), encodeLength(length), ...contents);
}

/** X.690 §8.3: the shortest form, with a zero byte in front when the top bit is set. */
export function encodeUnsigned(value: bigint): Uint8Array {
  const digits = value.toString(16);
  const bytes = fromHex(digits.length % 2 === 0 ? digits : `0${digits}`);
  return (bytes[0] ?? 0) >= 0x80
    ? encodeDer(derTag.integer, Uint8Array.of(0), bytes)
    : encodeDer(derTag.integer, bytes);
}

/** RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from then on; whole seconds. */
export function encodeTime(ms: number): Uint8Array {
  const text = new Date(ms).toISOString().replace(/\.\d+/, "").replace(/[-:T]/g, "");
  const isUtc = ms < Date.UTC(2050, 0, 1) && ms >= Date.UTC(1950, 0, 1);
  const bytes = new TextEncoder().encode(isUtc ? text.slice(2) : text);
  return encodeDer(isUtc ? derTag.utcTime : derTag.generalizedTime, bytes);
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

export function fromHex(hexadecimal: string): Uint8Array {
  return Uint8Array.from(hexadecimal.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
}

function encodeLength(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  const digits = length.toString(16);
  const bytes = fromHex(digits.padStart(Math.ceil(digits.length / 2) * 2, "0"));
  return Uint8Array.of(0x80 | bytes.length, ...bytes);
}
