/** What a node says of itself in its first request, checked as istiod checks it (`ParseServiceNodeWithMetadata`, `xds/auth.go`). */
import { IpAddress } from "../../base/ip.ts";
import { adsLimits } from "../../base/limits/rpc.ts";
import { versionSkew } from "../../base/version_skew.ts";
import { layer7Field } from "../../wire/ads/delta.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { Node } from "../../wire/messages/envoy_core.gen.ts";
import type { Caller } from "../identity/caller.ts";

export interface NodeInfo {
  /** `ztunnel~10.0.0.1~NAME.NAMESPACE~NAMESPACE.svc.cluster.local` */
  readonly id: string;
  readonly type: NodeType;
  readonly addresses: readonly IpAddress[];
  /** NODE_NAME; "" when it does not say. */
  readonly nodeName: string;
  /** "" when it says none. */
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly version: string;
  /** `namespace/name` of the workload whose tunnel has the waypoint's application inside; "" for none. */
  readonly layer7: string;
  /** Which program it is, as Envoy tells it; "" when it does not. */
  readonly program: string;
}

const nodeTypes = ["sidecar", "router", "waypoint", "ztunnel", "agentgateway"] as const;
export type NodeType = (typeof nodeTypes)[number];

/** How a node of ours is apart from this program, where that is too far; other programs count their versions otherwise. */
export function skewOf({ program, version }: NodeInfo, own: string): "older" | "newer" | null {
  return program === "fairlead" ? versionSkew(own, version) : null;
}

/** @throws GrpcError `invalidArgument` */
export function readNode(node: Node | undefined): NodeInfo {
  if (node === undefined) throw invalid("the first request names no node");
  const { id } = node;
  if (id.length > adsLimits.maxNodeIdChars) throw invalid("the node's id is too long");
  const parts = id.split("~");
  const [typeWord, address, , domain] = parts;
  if (parts.length !== 4 || address === undefined || domain === undefined)
    throw invalid(`missing parts in the service node ${JSON.stringify(id)}`);
  const type = nodeTypes.find((each) => each === typeWord);
  if (type === undefined)
    throw invalid(
      `invalid node type (valid types: ${nodeTypes.join(", ")}) in the service node ${JSON.stringify(id)}`,
    );
  return {
    id,
    type,
    addresses: readAddresses(text(node, "INSTANCE_IPS"), address),
    nodeName: text(node, "NODE_NAME"),
    // Istio names a node's own by the first label of its domain, where metadata does not say it.
    namespace: text(node, "NAMESPACE") || (domain.split(".")[0] ?? ""),
    serviceAccount: text(node, "SERVICE_ACCOUNT"),
    version: text(node, "ISTIO_VERSION") || userAgentVersion(node),
    layer7: text(node, layer7Field),
    program: node.userAgentName.slice(0, adsLimits.maxNodeIdChars),
  };
}

/**
 * Whether the caller may say that of itself. Whoever may, sees the whole mesh, as a ztunnel does at istiod.
 *
 * @throws GrpcError `permissionDenied`
 */
export function checkNode(info: NodeInfo, caller: Caller): void {
  switch (caller.kind) {
    case "node":
      if (info.nodeName !== "" && info.nodeName !== caller.node)
        throw denied(`node ${caller.node} calls itself ${JSON.stringify(info.nodeName)}`);
      return;
    case "workload":
      if (info.namespace !== "" && info.namespace !== caller.id.namespace)
        throw denied(`${caller.id} is not of the namespace ${JSON.stringify(info.namespace)}`);
      if (info.serviceAccount !== "" && info.serviceAccount !== caller.id.serviceAccount)
        throw denied(`${caller.id} is not the service account ${JSON.stringify(info.serviceAccount)}`);
      return;
    case "operator":
      throw denied("an operator is not a node of the mesh");
  }
}

/** Those of the metadata if they are good, else the one in the id, as istiod; none at all is refused. */
function readAddresses(listed: string, fallback: string): readonly IpAddress[] {
  const addresses = listed.split(",").map((each) => IpAddress.parse(each.trim()));
  const good = addresses.filter((each) => each !== null);
  if (good.length > 0 && good.length === addresses.length) return good;
  const single = IpAddress.parse(fallback);
  if (single === null) throw invalid("no valid IP address in the service node id or metadata");
  return [single];
}

function text(node: Node, name: string): string {
  const value = node.metadata?.[name];
  return typeof value === "string" && value.length <= adsLimits.maxNameChars ? value : "";
}

function invalid(message: string): GrpcError {
  return new GrpcError(grpcCode.invalidArgument, message);
}

function denied(message: string): GrpcError {
  return new GrpcError(grpcCode.permissionDenied, message);
}

/** Ours tell their version where Envoy does. */
function userAgentVersion({ userAgentVersionType }: Node): string {
  const { case: kind, value } = userAgentVersionType;
  return kind === "userAgentVersion" ? value.slice(0, adsLimits.maxNodeIdChars) : "";
}
