/**
 * Addresses as objects that are shared. A host talks to few others, with many connections to each, and a connection names an address
 * three or four times.
 */
import { IpAddress } from "../base/ip.ts";

/** A power of two. An address that shares its place with another is made again each time, as all would be without this. */
const places = 256;

export class RecentAddresses {
  readonly #places: (IpAddress | undefined)[] = new Array(places).fill(undefined);

  /** @param bytes of length 4 or 16; copied. @returns null for another length. */
  of(bytes: Uint8Array): IpAddress | null {
    const at = placeOf(bytes);
    const known = this.#places[at];
    if (known !== undefined && isSame(known.bytes, bytes)) return known;
    const made = IpAddress.fromBytes(bytes);
    if (made !== null) this.#places[at] = made;
    return made;
  }
}

function placeOf(bytes: Uint8Array): number {
  let hash = 0;
  for (const byte of bytes) hash = (Math.imul(hash, 31) + byte) | 0;
  return hash & (places - 1);
}

/** An IPv4-mapped address is held by its four bytes, and is never found by its sixteen. */
function isSame(known: Uint8Array, bytes: Uint8Array): boolean {
  if (known.length !== bytes.length) return false;
  for (let index = 0; index < bytes.length; index++) if (known[index] !== bytes[index]) return false;
  return true;
}
