/** How a host stands with its control plane, for administration: words and numbers. */

import type { AuditWitnessStatus } from "../xds/audit_witness.ts";
import type { XdsStatus } from "../xds/xds_status.ts";
import type { NodeIdentityStatus } from "./node_identity.ts";

export interface ControlStatus {
  /** `HOST:PORT` of xDS, and of who signs. */
  readonly server: string;
  readonly ca: string;
  readonly credential: "node certificate" | "token" | "none";
  /** This host's own certificate; null without one. */
  readonly node: NodeIdentityStatus | null;
  readonly stateDirectory: string;
  /** Null before the mesh is followed. */
  readonly xds: XdsStatus | null;
  /** When the mesh was kept that this run began with: milliseconds since the Unix epoch; null when it began with none. */
  readonly restoredFromMs: number | null;
  /** How far this host's clock is ahead of the control plane's; null when it is near enough, or not known. */
  readonly clockSkewMs: number | null;
  /** What is known here of its audit log; null before the mesh is followed. */
  readonly audit: AuditWitnessStatus | null;
}
