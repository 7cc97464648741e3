/**
 * Consistent hashing: a request's hash chooses a host, and a host that comes or goes moves few others. Two tables, as in Envoy: a ring
 * (Karger et al.) and Maglev (Eisenbud et al., NSDI 2016, §3.4).
 */
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { murmur3 } from "../../base/murmur3.ts";

export interface Weighted {
  /** The same for the same host, always. */
  readonly key: string;
  readonly weight: number;
}

/** @returns for a hash of 32 bits the hosts to try, the first choice first; `attempt` counts from 0. */
export type HashTable = (hash: number, attempt: number) => number;

/** @param minSize entries that there are at least, if the bound allows it. Null without hosts of weight. */
export function ringTable(hosts: readonly Weighted[], minSize: number): HashTable | null {
  const total = hosts.reduce((sum, host) => sum + host.weight, 0);
  if (total <= 0) return null;
  const least = hosts.reduce((min, { weight }) => (weight > 0 ? Math.min(min, weight) : min), total);
  const wanted = Math.max(minSize, Math.ceil(total / least));
  const size = Math.min(wanted, waypointLimits.maxRingSize);
  const points: { readonly at: number; readonly host: number }[] = [];
  hosts.forEach((host, index) => {
    if (host.weight <= 0) return;
    const count = Math.max(1, Math.round((host.weight / total) * size));
    for (let i = 0; i < count; i++) points.push({ at: murmur3(`${host.key}_${i}`), host: index });
  });
  points.sort((a, b) => a.at - b.at || a.host - b.host);
  const places = Uint32Array.from(points, ({ at }) => at);
  return (hash, attempt) => {
    let low = 0;
    let high = places.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((places[middle] ?? 0) < hash >>> 0) low = middle + 1;
      else high = middle;
    }
    // Later attempts walk on, to the next place of another host, as Envoy does with its next ring entry.
    const start = low % places.length;
    let at = start;
    for (let skipped = 0; skipped < attempt; skipped++) {
      const now = points[at]?.host;
      let next = (at + 1) % places.length;
      while (next !== at && points[next]?.host === now) next = (next + 1) % places.length;
      at = next;
    }
    return points[at]?.host ?? 0;
  };
}

/** @param size a prime, larger than the number of hosts. Null without hosts of weight. */
export function maglevTable(hosts: readonly Weighted[], size: number): HashTable | null {
  const most = hosts.reduce((max, { weight }) => Math.max(max, weight), 0);
  if (most <= 0) return null;
  const entries = new Int32Array(size).fill(-1);
  const builders = hosts
    .map(({ key, weight }, index) => ({
      index,
      offset: murmur3(key) % size,
      skip: (murmur3(key, maglevSeed) % (size - 1)) + 1,
      weight: weight / most,
      next: 0,
      owed: 0,
    }))
    .filter(({ weight }) => weight > 0);
  let filled = 0;
  // Each takes its turn as often as its weight says; the heaviest in every round.
  while (filled < size) {
    for (const builder of builders) {
      builder.owed += builder.weight;
      if (builder.owed < 1) continue;
      builder.owed -= 1;
      let at = (builder.offset + builder.next * builder.skip) % size;
      while (entries[at] !== -1) at = (builder.offset + ++builder.next * builder.skip) % size;
      entries[at] = builder.index;
      builder.next++;
      if (++filled === size) break;
    }
  }
  return (hash, attempt) => entries[((hash >>> 0) + attempt * retryStep) % size] ?? 0;
}

const maglevSeed = 0x5bd1e995;
/** Another place of the table for each attempt; no divisor of a prime. */
const retryStep = 7919;
