/**
 * Outlier detection (Envoy "Outlier detection"; Istio `OutlierDetection`): a host that keeps failing is left out for a while, for longer
 * each time. Pure: times are arguments.
 */
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { OutlierDetection } from "../../mesh/traffic/destination_policy.ts";

/** How a request ended: with an answer, or without one that came from the host. */
export type Outcome = { readonly status: number } | { readonly local: "connect" | "reset" | "timeout" };

export interface EjectionState {
  /** Monotonic; null: not ejected. */
  ejectedUntil: number | null;
  /** How many times; goes down by one for each interval without an ejection. */
  times: number;
  in5xx: number;
  inGateway: number;
  inLocal: number;
}

export function newEjectionState(): EjectionState {
  return { ejectedUntil: null, times: 0, in5xx: 0, inGateway: 0, inLocal: 0 };
}

export type EjectionCause =
  | "consecutive_5xx"
  | "consecutive_gateway_failure"
  | "consecutive_local_origin_failure";

/** Counts the outcome. @returns what the host should be ejected for, null if nothing. */
export function countOutcome(
  policy: OutlierDetection,
  state: EjectionState,
  outcome: Outcome,
): EjectionCause | null {
  if ("local" in outcome && policy.splitLocalOrigin) {
    state.inLocal++;
    return reached(policy.consecutiveLocalOriginFailures, state.inLocal)
      ? "consecutive_local_origin_failure"
      : null;
  }
  const status = "status" in outcome ? outcome.status : outcome.local === "timeout" ? 504 : 503;
  if (!isError(policy, status)) {
    state.in5xx = 0;
    state.inGateway = 0;
    state.inLocal = 0;
    return null;
  }
  // An answer shows that the host can be reached.
  if ("status" in outcome) state.inLocal = 0;
  state.in5xx++;
  state.inGateway = status >= 502 && status <= 504 ? state.inGateway + 1 : 0;
  if (reached(policy.consecutiveGatewayErrors, state.inGateway)) return "consecutive_gateway_failure";
  return reached(policy.consecutive5xx, state.in5xx) ? "consecutive_5xx" : null;
}

function isError({ httpErrorCodes }: OutlierDetection, status: number): boolean {
  if (httpErrorCodes === null) return status >= 500;
  return httpErrorCodes.some(({ from, to }) => status >= from && status <= to);
}

function reached(bound: number, count: number): boolean {
  return bound > 0 && count >= bound;
}

/** @param ejected hosts that are out now. @returns whether it was ejected: the share of hosts that may be out is bounded. */
export function eject(
  policy: OutlierDetection,
  state: EjectionState,
  { ejected, hosts, now }: { readonly ejected: number; readonly hosts: number; readonly now: number },
): boolean {
  if (state.ejectedUntil !== null) return false;
  // Envoy's `enqueueConsecutiveNotification` and `ejectHost`: this one counted in.
  if ((100 * (ejected + 1)) / hosts > policy.maxEjectionPercent) return false;
  state.times++;
  const longest = Math.max(policy.baseEjectionMs, waypointLimits.maxEjectionMs);
  state.ejectedUntil = now + Math.min(policy.baseEjectionMs * state.times, longest);
  return true;
}

/** Once an interval. @returns whether it was let back in. */
export function sweep(state: EjectionState, now: number): boolean {
  if (state.ejectedUntil === null) {
    if (state.times > 0) state.times--;
    return false;
  }
  if (now < state.ejectedUntil) return false;
  state.ejectedUntil = null;
  state.in5xx = 0;
  state.inGateway = 0;
  state.inLocal = 0;
  return true;
}
