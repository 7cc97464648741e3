/** For which services documents with targets are enforced where a request is. */
import type { Service } from "../../mesh/service.ts";
import type { Downstream } from "../exchange.ts";

/**
 * In front of a workload those that have no waypoint: what has one had its policies there. After a workload that calls none: whoever serves
 * the request enforces them.
 */
export function enforcedServices({ place, service }: Downstream): readonly Service[] {
  if (place.side === "inbound") return place.targets;
  return place.side === "outbound" || service === null ? [] : [service];
}
