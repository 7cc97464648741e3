/** One choice among hosts that are as good as each other: the five ways of Istio's `loadBalancer`. */
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { LoadBalancer } from "../../mesh/traffic/destination_policy.ts";
import { type HashTable, maglevTable, ringTable } from "./hash_tables.ts";
import { RoundRobin } from "./round_robin.ts";
import type { UpstreamHost } from "./upstream_host.ts";

export interface PickRequest {
  /** Of whatever the policy hashes, 32 bits; null when the request does not have it: a random host then, as in Envoy. */
  readonly hash: number | null;
  /** How many of this request's attempts have gone before. */
  readonly attempt: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** @returns null when there is no host of any weight. */
export type Picker = (request: PickRequest) => UpstreamHost | null;

/** @param weight of a host now; it may change with time (warm-up), which only the round robin and the request counts follow. */
export function makePicker(
  balancer: LoadBalancer,
  hosts: readonly UpstreamHost[],
  weight: (host: UpstreamHost) => number,
  random: () => number,
): Picker {
  const at = (index: number): UpstreamHost | null => hosts[index] ?? null;
  const weights = hosts.map(weight);
  const draw = weightedDraw(weights);
  if (draw === null) return () => null;
  switch (balancer.kind) {
    case "round-robin": {
      const rounds = new RoundRobin(
        hosts.length,
        (index) => {
          const host = hosts[index];
          return host === undefined ? 0 : weight(host);
        },
        random(),
      );
      return () => at(rounds.next());
    }
    case "least-request":
      return (request) => fewer(at(draw(request.random())), at(draw(request.random())));
    // The address that was called is of one host, or the caller would have had no choice to make.
    case "passthrough":
    case "random":
      return (request) => at(draw(request.random()));
    case "consistent-hash": {
      const table = tableOf(balancer, hosts, weights);
      return ({ hash, attempt, random: dice }) => {
        if (table === null) return null;
        return at(table(hash ?? Math.floor(dice() * 0x1_0000_0000), attempt));
      };
    }
  }
}

function tableOf(
  { table }: Extract<LoadBalancer, { readonly kind: "consistent-hash" }>,
  hosts: readonly UpstreamHost[],
  weights: readonly number[],
): HashTable | null {
  const weighted = hosts.map(({ key }, index) => ({ key, weight: weights[index] ?? 0 }));
  return table.kind === "ring"
    ? ringTable(weighted, table.minimumRingSize)
    : maglevTable(weighted, Math.min(table.tableSize, waypointLimits.maxMaglevTableSize));
}

/** The power of two choices (Mitzenmacher 1996). The draw has the weights in it already. */
function fewer(a: UpstreamHost | null, b: UpstreamHost | null): UpstreamHost | null {
  if (a === null || b === null) return a ?? b;
  return b.active < a.active ? b : a;
}

/** @returns an index for a number in [0, 1), by weight; null when nothing has any. */
function weightedDraw(weights: readonly number[]): ((random: number) => number) | null {
  const [first = 0] = weights;
  if (first > 0 && weights.every((weight) => weight === first))
    return (random) => Math.min(Math.floor(random * weights.length), weights.length - 1);
  const sums: number[] = [];
  let total = 0;
  for (const weight of weights) {
    total += Math.max(0, weight);
    sums.push(total);
  }
  if (total <= 0) return null;
  return (random) => {
    const wanted = random * total;
    let low = 0;
    let high = sums.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((sums[middle] ?? 0) > wanted) high = middle;
      else low = middle + 1;
    }
    return low;
  };
}
