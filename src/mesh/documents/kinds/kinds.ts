/** The table of kinds: whatever is in it is read; a new kind is a file beside this one and a line here. */
import type { Location } from "../../location.ts";
import type { MeshDocument, Metadata } from "../document.ts";
import type { ObjectReader, Problems } from "../reader.ts";
import { readGateway } from "./gateway.ts";
import { readGrant } from "./grant.ts";
import { readMiddleware } from "./middleware.ts";
import { readPolicyTest } from "./policy_tests.ts";
import { readAccessCondition } from "./security/access_condition.ts";
import { readAuthorizationPolicy } from "./security/authorization_policy.ts";
import { readMeshConfig } from "./security/mesh_config.ts";
import { readPeerAuthentication } from "./security/peer_authentication.ts";
import { readRequestAuthentication } from "./security/request_authentication.ts";
import { readServiceEntry } from "./service_entry.ts";
import { readTelemetry } from "./telemetry.ts";
import { readBackendTlsPolicy } from "./traffic/backend_tls_policy.ts";
import { readDestinationRule } from "./traffic/destination_rule.ts";
import { httpRouteReader, l4RouteReader } from "./traffic/gateway_routes.ts";
import { readRateLimit } from "./traffic/rate_limit.ts";
import { readReferenceGrant } from "./traffic/reference_grant.ts";
import { readVirtualService } from "./traffic/virtual_service.ts";
import { readWorkloadEntry } from "./workload_entry.ts";
import { readWorkloadGroup } from "./workload_group.ts";

export type MeshKind = MeshDocument["kind"];

interface Kind {
  readonly group: string;
  /** Of the group, the newest first. */
  readonly versions: readonly string[];
  /** Reads all but the head; null, having said why, when there is nothing to go on with. */
  readonly read: (
    root: ObjectReader,
    metadata: Metadata,
    location: Location,
    problems: Problems,
  ) => MeshDocument | null;
}

const networking = { group: "networking.istio.io", versions: ["v1", "v1beta1", "v1alpha3"] };
const security = { group: "security.istio.io", versions: ["v1", "v1beta1"] };
const gateway = { group: "gateway.networking.k8s.io", versions: ["v1", "v1beta1"] };
/** Their newest version came late. */
const gatewayL4 = { group: gateway.group, versions: ["v1", "v1alpha3", "v1alpha2"] };
const fairlead = { group: "fairlead.dev", versions: ["v1"] };

const table: Readonly<Record<MeshKind, Kind>> = {
  Namespace: { group: "", versions: ["v1"], read: readNamespace },
  WorkloadEntry: { ...networking, read: readWorkloadEntry },
  WorkloadGroup: { ...networking, read: readWorkloadGroup },
  ServiceEntry: { ...networking, read: readServiceEntry },
  Gateway: { ...gateway, read: readGateway },
  Grant: { ...fairlead, read: readGrant },
  PeerAuthentication: { ...security, read: readPeerAuthentication },
  AuthorizationPolicy: { ...security, read: readAuthorizationPolicy },
  RequestAuthentication: { ...security, read: readRequestAuthentication },
  AccessCondition: { ...fairlead, read: readAccessCondition },
  MeshConfig: { ...fairlead, read: readMeshConfig },
  VirtualService: { ...networking, read: readVirtualService },
  DestinationRule: { ...networking, read: readDestinationRule },
  HTTPRoute: { ...gateway, read: httpRouteReader("HTTPRoute") },
  GRPCRoute: { ...gateway, read: httpRouteReader("GRPCRoute") },
  TCPRoute: { ...gatewayL4, read: l4RouteReader("TCPRoute") },
  TLSRoute: { ...gatewayL4, read: l4RouteReader("TLSRoute") },
  BackendTLSPolicy: { ...gatewayL4, read: readBackendTlsPolicy },
  ReferenceGrant: { ...gateway, read: readReferenceGrant },
  RateLimit: { ...fairlead, read: readRateLimit },
  Telemetry: { group: "telemetry.istio.io", versions: ["v1", "v1alpha1"], read: readTelemetry },
  Middleware: { ...fairlead, read: readMiddleware },
  PolicyTest: { ...fairlead, read: readPolicyTest },
};

export function kindNamed(name: string): MeshKind | null {
  return kindNames.find((candidate) => candidate === name) ?? null;
}

export const kindNames = Object.keys(table).filter((name): name is MeshKind => name in table);

export function kindOf(kind: MeshKind): Kind {
  return table[kind];
}

/** All that `apiVersion` may say. */
export function apiVersionsOf({ group, versions }: Pick<Kind, "group" | "versions">): readonly string[] {
  return versions.map((version) => (group === "" ? version : `${group}/${version}`));
}

function readNamespace(root: ObjectReader, metadata: Metadata, location: Location): MeshDocument {
  root.object("spec", { known: ["finalizers"] });
  return { kind: "Namespace", metadata, location, warnings: [] };
}
