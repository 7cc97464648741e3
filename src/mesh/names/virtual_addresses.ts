/**
 * Addresses that stand for names of services without one, so that an application that resolves and then connects reaches them: Istio's
 * ranges for automatic addresses (istio `pilot/pkg/controllers/ipallocate`), given out by each node for itself. A connection to one
 * is routed as if its name had been called.
 */
import { IpAddress } from "../../base/ip.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import { murmur3 } from "../../base/murmur3.ts";

/** 240.240.0.0/16 and 2001:2::/48; the last 16 bits tell one from another. */
const ipv4Prefix = [240, 240];
const ipv6Prefix = [0x20, 0x01, 0x00, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

export interface VirtualPair {
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

export class VirtualAddresses {
  /** By number. */
  readonly #names = new Map<number, string>();
  readonly #numbers = new Map<string, number>();

  /**
   * The same name has the same address on every node and after a restart, unless two names fall on one.
   *
   * @returns null when all addresses are taken.
   */
  of(name: string): VirtualPair | null {
    const number = this.#numbers.get(name) ?? this.#take(name);
    return number === null ? null : { ipv4: address(ipv4Prefix, number), ipv6: address(ipv6Prefix, number) };
  }

  /** @returns null for an address that stands for nothing now; undefined for one that is not of these. */
  nameOf(ip: IpAddress): string | null | undefined {
    const prefix = ip.isIpv4 ? ipv4Prefix : ipv6Prefix;
    if (!prefix.every((byte, index) => ip.bytes[index] === byte)) return undefined;
    const number = ((ip.bytes[prefix.length] ?? 0) << 8) | (ip.bytes[prefix.length + 1] ?? 0);
    return this.#names.get(number) ?? null;
  }

  /** What has no service any more makes room. @param isKnown of a name. */
  prune(isKnown: (name: string) => boolean): void {
    for (const [number, name] of [...this.#names])
      if (!isKnown(name)) {
        this.#names.delete(number);
        this.#numbers.delete(name);
      }
  }

  get size(): number {
    return this.#names.size;
  }

  #take(name: string): number | null {
    if (this.#names.size >= meshLimits.maxVirtualAddresses) return null;
    // Neither .0.0 nor .255.255, as Istio leaves them out.
    let number = 1 + (murmur3(name) % meshLimits.maxVirtualAddresses);
    while (this.#names.has(number)) number = number === meshLimits.maxVirtualAddresses ? 1 : number + 1;
    this.#names.set(number, name);
    this.#numbers.set(name, number);
    return number;
  }
}

function address(prefix: readonly number[], number: number): IpAddress {
  const ip = IpAddress.fromBytes(Uint8Array.from([...prefix, number >> 8, number & 0xff]));
  if (ip === null) throw new TypeError("an address has 4 or 16 bytes");
  return ip;
}
