/** Bounds that are a host's: each of the processes that carry its traffic has its share of them. */
import { doorLimits } from "../base/limits/door.ts";
import { proxyLimits } from "../base/limits/proxy.ts";

/** @param workers of so many processes this is one. A share is never nothing. */
export function sharedLimits(workers: number) {
  const share = (bound: number): number => Math.ceil(bound / workers);
  return {
    maxConnections: share(proxyLimits.maxConnections),
    maxConnectionsPerPeer: share(proxyLimits.maxConnectionsPerPeer),
    maxTunnelsPerSource: share(proxyLimits.maxTunnelsPerSource),
    door: {
      ...doorLimits,
      maxUnproven: share(doorLimits.maxUnproven),
      maxUnprovenPerAddress: share(doorLimits.maxUnprovenPerAddress),
      maxUnprovenPerNeighbourhood: share(doorLimits.maxUnprovenPerNeighbourhood),
    },
  };
}
