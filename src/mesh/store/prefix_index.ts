/** Values by address prefix: one hash look-up per prefix length in use, so a thousand prefixes cost what a few do. */
import type { IpAddress } from "../../base/ip.ts";
import { byteMask, type IpPrefix } from "../../base/prefix.ts";

export class PrefixIndex<T> {
  /** Family and length, longest first, → masked network → values. */
  readonly #lengths = new Map<number, Map<string, Set<T>>>();

  get isEmpty(): boolean {
    return this.#lengths.size === 0;
  }

  add(prefix: IpPrefix, value: T): void {
    const bucket = lengthKey(prefix.ip, prefix.length);
    const networks = this.#lengths.get(bucket) ?? new Map<string, Set<T>>();
    this.#lengths.set(bucket, networks);
    const network = maskedKey(prefix.ip, prefix.length);
    const values = networks.get(network) ?? new Set<T>();
    networks.set(network, values);
    values.add(value);
  }

  remove(prefix: IpPrefix, value: T): void {
    const bucket = lengthKey(prefix.ip, prefix.length);
    const networks = this.#lengths.get(bucket);
    const network = maskedKey(prefix.ip, prefix.length);
    const values = networks?.get(network);
    if (networks === undefined || values === undefined) return;
    values.delete(value);
    if (values.size === 0) networks.delete(network);
    if (networks.size === 0) this.#lengths.delete(bucket);
  }

  /** Calls `visit` for each value whose prefix holds `ip`, in no particular order, with the prefix length in bits. */
  visit(ip: IpAddress, visit: (value: T, length: number) => void): void {
    for (const [bucket, networks] of this.#lengths) {
      if (bucket >> 8 !== ip.bytes.length) continue;
      const length = bucket & 0xff;
      for (const value of networks.get(maskedKey(ip, length)) ?? []) visit(value, length);
    }
  }
}

/** Address length in bytes, then prefix length in bits: families never meet. */
function lengthKey(ip: IpAddress, length: number): number {
  return (ip.bytes.length << 8) | length;
}

function maskedKey(ip: IpAddress, length: number): string {
  let key = "";
  for (let index = 0; index < length; index += 8) {
    key += String.fromCharCode((ip.bytes[index >> 3] ?? 0) & byteMask(length, index >> 3));
  }
  return key;
}
