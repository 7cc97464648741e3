/**
 * The endpoints of one destination as the mesh has them now, each with its level and weight by where it is: Istio's locality settings
 * (`pilot/pkg/networking/core/loadbalancer`), else the service's own preferences (`trafficDistribution`).
 */

import { isReachable, rankOf, targetPortOf } from "../../mesh/route/balance.ts";
import { type Service, serviceKey } from "../../mesh/service.ts";
import type { Endpoint } from "../../mesh/store/endpoints.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { DestinationPolicy, LocalityShare } from "../../mesh/traffic/destination_policy.ts";
import type { Locality, Workload } from "../../mesh/workload.ts";
import type { UpstreamEndpoint } from "./upstream_host.ts";

export interface EndpointQuery {
  readonly service: Service;
  /** A port of the service. */
  readonly port: number;
  readonly policy: DestinationPolicy;
  /** The waypoint. */
  readonly source: Workload;
  /** Of the destination's subset. */
  readonly inSubset: (workload: Workload) => boolean;
  readonly labels: (workload: Workload) => ReadonlyMap<string, string>;
}

/** Empty for a port that the service does not have. */
export function endpointsOf(store: MeshStore, query: EndpointQuery): readonly UpstreamEndpoint[] {
  const { service, port, source, inSubset } = query;
  if (!service.ports.has(port)) return [];
  const usable = store.endpoints(serviceKey(service)).flatMap((endpoint) => {
    if (!isReachable(endpoint.workload, source) || !inSubset(endpoint.workload)) return [];
    const targetPort = targetPortOf(endpoint, service, port);
    return targetPort === null ? [] : [{ endpoint, targetPort }];
  });
  return spread(usable, query);
}

interface Usable {
  readonly endpoint: Endpoint;
  readonly targetPort: number;
}

function spread(usable: readonly Usable[], query: EndpointQuery): readonly UpstreamEndpoint[] {
  const { policy, source, service } = query;
  const { locality } = policy;
  const plain = ({ endpoint, targetPort }: Usable, priority = 0): UpstreamEndpoint => ({
    workload: endpoint.workload,
    targetPort,
    priority,
    weight: endpoint.workload.capacity,
  });
  if (locality.enabled && locality.distribute.length > 0) {
    const share = locality.distribute.find(({ from }) => localityMatches(from, source.locality));
    if (share !== undefined)
      return distribute(
        usable.map((each) => plain(each)),
        share,
      );
  }
  // Istio fails over by locality only where failures are looked for.
  if (locality.enabled && policy.outlier !== null)
    return usable.map((each) => plain(each, priorityOf(each.endpoint.workload, query)));
  const { loadBalancing } = service;
  if (loadBalancing.mode === "STANDARD" || loadBalancing.routingPreferences.length === 0)
    return usable.map((each) => plain(each));
  return usable.flatMap((each) => {
    const rank = rankOf(source, each.endpoint.workload, loadBalancing);
    return rank === null ? [] : [plain(each, highestRank - rank)];
  });
}

/** Ranks count up from 0 with each preference, twice as many with the network first; levels count down. */
const highestRank = 64;

function priorityOf(workload: Workload, { policy, source, labels }: EndpointQuery): number {
  const { failoverPriority, failover } = policy.locality;
  if (failoverPriority.length > 0) {
    const own = labels(source);
    const theirs = labels(workload);
    let matching = 0;
    for (const each of failoverPriority) {
      const [name = "", value] = each.split("=", 2);
      // `name=value`: the endpoint's label is compared with the value, not with the waypoint's own.
      const wanted = value ?? own.get(name);
      if ((theirs.get(name) ?? "") !== (wanted ?? "")) break;
      matching++;
    }
    return failoverPriority.length - matching;
  }
  const here = source.locality;
  const there = workload.locality;
  if (here.region !== there.region) {
    const to = failover.find(({ from }) => from === here.region)?.to;
    return to === undefined || to === there.region ? 3 : 4;
  }
  if (here.zone !== there.zone) return 2;
  return here.subzone === there.subzone ? 0 : 1;
}

/** Each locality has the share of requests that the document says; those that it does not name have none. */
function distribute(
  endpoints: readonly UpstreamEndpoint[],
  share: LocalityShare,
): readonly UpstreamEndpoint[] {
  const targetOf = ({ workload }: UpstreamEndpoint) =>
    [...share.to.keys()].find((to) => localityMatches(to, workload.locality)) ?? null;
  const sums = new Map<string, number>();
  for (const endpoint of endpoints) {
    const target = targetOf(endpoint);
    if (target !== null) sums.set(target, (sums.get(target) ?? 0) + endpoint.weight);
  }
  return endpoints.flatMap((endpoint) => {
    const target = targetOf(endpoint);
    const wanted = target === null ? 0 : (share.to.get(target) ?? 0);
    const sum = target === null ? 0 : (sums.get(target) ?? 0);
    return wanted === 0 || sum === 0 ? [] : [{ ...endpoint, weight: (endpoint.weight * wanted) / sum }];
  });
}

/** `region/zone/subzone`; `*`, or what is left out, is any (Istio `LocalityMatch` of `pkg/util`). */
export function localityMatches(pattern: string, { region, zone, subzone }: Locality): boolean {
  const parts = pattern.split("/");
  const values = [region, zone, subzone];
  for (const [index, value] of values.entries()) {
    const part = parts[index];
    if (part === undefined || part === "*") return true;
    if (part !== value) return false;
  }
  return true;
}
