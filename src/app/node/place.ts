/** Whom a node serves: the whole host that it runs on, or one program in a network of its own. */
import type { Config } from "../../config/node/config.ts";
import type { Host, Network } from "../../host/host.ts";
import type { ListenerSettings } from "../../proxy/listeners.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import type { CaptureTenure, NodeCapture } from "./capture.ts";

export interface NodePlace {
  /** Where applications are dialled. */
  readonly applications: Pick<Network, "connect">;
  /** Null: as the configuration says. */
  readonly bindInbound: ListenerSettings["bindInbound"] | null;
  /** Services whose endpoints on this host are served, besides the workloads of the configuration. */
  readonly services: readonly string[];
  /** Leads what is to be captured to the node; called when it listens. @throws MeshError when nothing can be captured. */
  capture(config: Config, context: NodeContext, tenure: CaptureTenure): Promise<NodeCapture>;
}

export function wholeHost(host: Host): NodePlace {
  return {
    applications: host.net,
    bindInbound: null,
    services: [],
    capture: async (config, context, tenure) =>
      (await import("./capture.ts")).startCapture(host, config, context, tenure),
  };
}
