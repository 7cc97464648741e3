/**
 * Delta ADS as both ends see it (ztunnel `proto/xds.proto`, `src/xds/client.rs`): the fields of `DeltaDiscoveryRequest`
 * and `DeltaDiscoveryResponse` that the protocol itself is about. The generated messages have this shape, so they are
 * passed in as they are.
 */

import type { HeldEntries } from "../messages/held_entries.ts";
import type { HeldResources } from "./held_resources.ts";

/** The one method of the stream. */
export const deltaAdsPath = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

export const addressType = "type.googleapis.com/istio.workload.Address";
export const authorizationType = "type.googleapis.com/istio.security.Authorization";
/** Our own: roots and revocation lists, for nodes of ours. */
export const trustBundleType = "type.googleapis.com/fairlead.v1.TrustBundle";

/** Our own: signed heads of the control plane's audit log. */
/** Ours: mesh documents, for waypoints. */
export const documentType = "type.googleapis.com/fairlead.v1.Document";
/** Of a node's metadata: the workload whose tunnel has a waypoint's application inside, `namespace/name`. Its documents are asked for. */
export const layer7Field = "FAIRLEAD_L7";
export const auditHeadType = "type.googleapis.com/fairlead.v1.AuditHead";

/** How a server of ours begins `DeltaDiscoveryResponse.control_plane.identifier`. */
export const controlPlanePrefix = "fairlead/";

/** "Everything" among resource names. */
export const wildcardName = "*";

export interface DeltaRequest {
  readonly typeUrl: string;
  readonly resourceNamesSubscribe: string[];
  readonly resourceNamesUnsubscribe: string[];
  /** Name → version of what the client holds; on a stream's first request of a type only. */
  readonly initialResourceVersions: { [name: string]: string };
  /** The same in its place, where there are many. */
  readonly heldEntries?: HeldEntries;
  /** What `DeltaSession.look` has made of `heldEntries`. */
  readonly held?: HeldResources;
  /** "" on a request that answers nothing. */
  readonly responseNonce: string;
  /** There on a refusal (NACK). */
  readonly errorDetail?: { readonly code: number; readonly message: string } | undefined;
}

export interface DeltaResource {
  readonly name: string;
  readonly version: string;
  readonly resource?: { readonly typeUrl: string; readonly value: Uint8Array } | undefined;
}

export interface DeltaResponse {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly DeltaResource[];
  readonly removedResources: readonly string[];
}

/** A resource that its receiver could not take, and why. */
export interface RejectedResource {
  readonly name: string;
  readonly reason: string;
}

/** One response as it is to be applied. Resources come in the server's order; a name is never both in `resources` and in `removed`. */
export interface Delivery {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly resources: readonly DeltaResource[];
  readonly removed: readonly string[];
}
