/** All that one waypoint does with traffic, by the services it knows. */
import type { DestinationPlan } from "./destination_policy.ts";
import type { RateLimit } from "./rate_limit.ts";
import type { RoutePlan } from "./route_plan.ts";

export interface TrafficPlan {
  /** By `routeKey`. A port that is not here has no routes: its service itself is called. */
  readonly routes: ReadonlyMap<string, RoutePlan>;
  /** By `namespace/hostname`. A service that is not here has the default policy and no subsets. */
  readonly destinations: ReadonlyMap<string, DestinationPlan>;
  readonly rateLimits: readonly RateLimit[];
}

export const noTraffic: TrafficPlan = { routes: new Map(), destinations: new Map(), rateLimits: [] };

/** @param service `namespace/hostname`. */
export function routeKey(service: string, port: number): string {
  return `${service}:${port}`;
}
