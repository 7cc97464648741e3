/** What holds for this host: as its settings say, and as the mesh says that it has joined. */
import type { Logger } from "../../base/log.ts";
import type { JoinedNode } from "./node_file.ts";

/** What holds where the control plane says nothing, or is a real istiod. */
export interface LocalFacts {
  readonly nodeName: string;
  readonly network: string;
  readonly clusterId: string;
  readonly trustDomain: string;
  readonly rootNamespace: string;
}

/** What the mesh says of itself wins over this host's settings; a difference is told, once. */
export function mergeFacts(
  membership: JoinedNode["membership"],
  local: LocalFacts,
  logger: Logger,
): LocalFacts {
  const { node: nodeName, trustDomain, clusterId, rootNamespace, network } = membership;
  const mesh: LocalFacts = { nodeName, trustDomain, clusterId, rootNamespace, network };
  if (local.nodeName !== "" && local.nodeName !== nodeName)
    logger.log(
      "warn",
      "join",
      "--node names this host differently than the name it has joined by; the joined name is used",
      {
        joined: nodeName,
        told: local.nodeName,
      },
    );
  return mesh;
}
