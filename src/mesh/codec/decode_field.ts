/** Fields of resources that came by xDS: each is taken, or the resource is refused with the field's name. */
import { IpAddress } from "../../base/ip.ts";
import type { IpPrefix } from "../../base/prefix.ts";

/** What became of a resource. The reason names the field and goes into the refusal (NACK) as it is. */
export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

/** Leaves the decoding of one resource. Never leaves this folder. */
class FieldError extends Error {}

/** @throws FieldError, which `decoding` turns into the refusal. */
export function refuseField(field: string, why: string): never {
  throw new FieldError(`${field} ${why}`);
}

/**
 * @param parse bytes to message; whatever it throws is the sender's fault.
 * @param convert refuses by `refuseField` alone.
 */
export function decoding<Message, T>(parse: () => Message, convert: (message: Message) => T): Decoded<T> {
  let message: Message;
  try {
    message = parse();
  } catch (thrown) {
    return {
      ok: false,
      reason: `is malformed: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
    };
  }
  try {
    return { ok: true, value: convert(message) };
  } catch (thrown) {
    if (thrown instanceof FieldError) return { ok: false, reason: thrown.message };
    throw thrown;
  }
}

/** 4 or 16 bytes, as ztunnel's `byte_to_ip`. */
export function decodeIp(field: string, bytes: Uint8Array): IpAddress {
  return (
    IpAddress.fromBytes(bytes) ?? refuseField(field, `has an address of ${bytes.length} bytes, not 4 or 16`)
  );
}

/** An IPv4-mapped prefix becomes the IPv4 prefix it stands for, as addresses do here. */
export function decodePrefix(field: string, bytes: Uint8Array, length: number): IpPrefix {
  const ip = decodeIp(field, bytes);
  const bits = bytes.length * 8;
  if (length > bits) refuseField(field, `has a prefix of ${length} bits, of ${bits}`);
  if (ip.bytes.length === bytes.length) return { ip, length };
  if (length < 96) refuseField(field, `has a prefix of ${length} bits, which is IPv4 and IPv6 at once`);
  return { ip, length: length - 96 };
}

/** ztunnel cuts ports to 16 bits, which makes another port of it: refused. */
export function decodePort(field: string, port: number): number {
  return port <= 0xffff ? port : refuseField(field, `is ${port}, which is not a port`);
}

/** The name of an enumeration's value. One this version does not know refuses the resource, as in ztunnel. */
export function decodeWord<Word extends string>(
  field: string,
  words: Readonly<Record<Word, number>>,
  value: number,
): Word {
  for (const word in words) if (words[word] === value) return word;
  return refuseField(field, `has the unknown value ${value}`);
}
