/**
 * How this host introduces itself to a control plane: as ztunnel does (`node` of its `src/xds/client.rs`), so that a
 * real istiod knows what it wants.
 */
import type { NodeDescription } from "../../base/settings/node_control.ts";
import { type Node, NodeSchema } from "../../wire/messages/envoy_core.gen.ts";
import { type JsonValue, newMessage } from "../../wire/messages/message.ts";

export interface NodeFacts {
  readonly nodeName: string;
  readonly clusterId: string;
  readonly network: string;
}

/** What a node says it is. `waypoint` goes to a real istiod alone, for documents. */
export type NodeKind = "ztunnel" | "waypoint";

/** @param more metadata that wins over what the host was told (`GENERATOR`). */
export function describeNode(
  node: NodeDescription,
  facts: NodeFacts,
  version: string,
  more: Readonly<Record<string, string>> = {},
  kind: NodeKind = "ztunnel",
): Node {
  // istiod refuses a stream without a valid address; ztunnel's stand-in is this one.
  const ip = node.instanceIp === "" ? "1.1.1.1" : node.instanceIp;
  const { podName, podNamespace } = node;
  const metadata: Record<string, JsonValue> = {
    ...(node.metadata as Readonly<Record<string, JsonValue>>),
    NAME: podName,
    NAMESPACE: podNamespace,
    INSTANCE_IPS: ip,
    NODE_NAME: facts.nodeName,
    CLUSTER_ID: facts.clusterId,
    NETWORK: facts.network,
    ...more,
  };
  return newMessage(NodeSchema, {
    id: `${kind}~${ip}~${podName}.${podNamespace}~${podNamespace}.svc.cluster.local`,
    userAgentName: "fairlead",
    userAgentVersionType: { case: "userAgentVersion", value: version },
    metadata,
  });
}
