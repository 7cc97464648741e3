/**
 * Host names and address ranges, and what of them overlaps with a given one: a wildcard with every name below it, a range with every
 * range and address that it contains or is contained in. A question costs what it finds, not what there is.
 */
import type { IpPrefix } from "../../base/prefix.ts";

export class OverlapIndex<T> {
  readonly #hosts = new Map<string, T[]>();
  /** By each domain that the host is below of. */
  readonly #below = new Map<string, T[]>();
  readonly #families = new Map<string, Family<T>>();

  /** @param host lower case; may begin with `*.`. */
  addHost(host: string, item: T): void {
    push(this.#hosts, host, item);
    for (const domain of domainsOf(host)) push(this.#below, domain, item);
  }

  /** @param network addresses of two networks never overlap. */
  addRange(network: string, prefix: IpPrefix, item: T): void {
    const key = familyKey(network, prefix);
    const family = this.#families.get(key) ?? new Family<T>(prefix.ip.isIpv4 ? steps[32] : steps[128]);
    this.#families.set(key, family);
    family.add(bitsOf(prefix), item);
  }

  /** Those that mean a name that `host` means, too. */
  *hosts(host: string): Iterable<T> {
    yield* this.coveringHosts(host);
    if (host.startsWith("*.")) yield* this.#below.get(host.slice(2)) ?? [];
  }

  /** Those that mean every name that `host` means: itself, and wildcards above. */
  *coveringHosts(host: string): Iterable<T> {
    yield* this.#hosts.get(host) ?? [];
    for (const domain of domainsOf(host)) {
      const wildcard = `*.${domain}`;
      if (wildcard !== host) yield* this.#hosts.get(wildcard) ?? [];
    }
  }

  ranges(network: string, prefix: IpPrefix): Iterable<T> {
    return this.#families.get(familyKey(network, prefix))?.overlapping(bitsOf(prefix)) ?? [];
  }

  coveringRanges(network: string, prefix: IpPrefix): Iterable<T> {
    return this.#families.get(familyKey(network, prefix))?.covering(bitsOf(prefix)) ?? [];
  }
}

/**
 * Lengths of prefixes by which what is below them is found: whatever has one of these bits is in that list. Without sorting, so that
 * a range that is added costs the same however many there are.
 */
const steps = { 32: [0, 8, 16, 24], 128: [0, 32, 48, 64] } as const;

/** Ranges of one network and one family, each as the bits of its prefix: one contains another whose bits begin with its own. */
class Family<T> {
  readonly #byBits = new Map<string, T[]>();
  readonly #lengths = new Set<number>();
  readonly #steps: readonly number[];
  readonly #below = new Map<string, { readonly bits: string; readonly item: T }[]>();

  constructor(steps: readonly number[]) {
    this.#steps = steps;
  }

  add(bits: string, item: T): void {
    push(this.#byBits, bits, item);
    this.#lengths.add(bits.length);
    for (const length of this.#steps)
      if (length <= bits.length) push(this.#below, bits.slice(0, length), { bits, item });
  }

  *covering(bits: string): Iterable<T> {
    for (const length of this.#lengths)
      if (length <= bits.length) yield* this.#byBits.get(bits.slice(0, length)) ?? [];
  }

  *overlapping(bits: string): Iterable<T> {
    yield* this.covering(bits);
    const step = this.#steps.findLast((length) => length <= bits.length) ?? 0;
    for (const other of this.#below.get(bits.slice(0, step)) ?? [])
      if (other.bits.length > bits.length && other.bits.startsWith(bits)) yield other.item;
  }
}

function familyKey(network: string, { ip }: IpPrefix): string {
  return `${ip.isIpv4 ? 4 : 6}/${network}`;
}

function bitsOf({ ip, length }: IpPrefix): string {
  let bits = "";
  for (const byte of ip.bytes) bits += byte.toString(2).padStart(8, "0");
  return bits.slice(0, length);
}

/** `a.b.c` is below `b.c` and `c`; so is `*.b.c`, as every name it means is. */
function* domainsOf(host: string): Iterable<string> {
  for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1)) yield host.slice(dot + 1);
}

function push<T>(map: Map<string, T[]>, key: string, item: T): void {
  const items = map.get(key);
  if (items === undefined) map.set(key, [item]);
  else items.push(item);
}
