/** The documents that are in force together: what a waypoint makes its rules of. Tunnels go by what conversion makes of them. */
import type { MeshDocument } from "./document.ts";
import type { RefusedForWaypoint } from "./refused_policy.ts";

export interface DocumentsInForce {
  readonly documents: readonly MeshDocument[];
  /** Refused, and never good before: requests that they may have been about are denied. */
  readonly refused: readonly RefusedForWaypoint[];
}
