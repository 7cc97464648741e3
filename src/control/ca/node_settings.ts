/** What every node is told when it joins or renews. */
import type { JoinResponse } from "../../wire/messages/fairlead.gen.ts";
import type { Registration } from "../records/registrations.ts";
import type { TokenBinding } from "../records/tokens.ts";
import { bindingName } from "../state/tokens.ts";

export interface NodeSettings {
  readonly trustDomain: string;
  readonly clusterId: string;
  readonly rootNamespace: string;
  /** Of a node that names none. */
  readonly network: string;
  /** Of its own certificate, which it renews at half of it. */
  readonly nodeLifetimeMs: number;
  /** Of this program; a host of a version that is too far from it does not join. */
  readonly version: string;
}

/**
 * There is no field for the server's clock: a certificate begins `pkiLimits.backdateMs` before it was made, so the leaf of this
 * answer tells a host with a wrong clock how wrong it is.
 *
 * @param certChain PEM: leaf, intermediates one an item, last the bundle of roots.
 */
export function joinResponse(
  settings: NodeSettings,
  { node, binding, network }: Registration,
  certChain: string[],
): JoinResponse {
  const { trustDomain, clusterId, rootNamespace } = settings;
  // Without a list a node runs the workloads that documents place on it; a group's member is one of those.
  const workloads = binding.kind === "workload" ? [binding.workload] : [];
  const about = { nodeName: node, workloads, trustDomain, clusterId, rootNamespace, network };
  return { $typeName: "fairlead.v1.JoinResponse", certChain, ...about };
}

/** Whose tenant a host concerns: a workload's or a group's; null for a node, which may run those of many. */
export function bindingNamespace(binding: TokenBinding): string | null {
  if (binding.kind === "node") return null;
  const [namespace = ""] = bindingName(binding).split("/");
  return namespace;
}
