/** What a worker is told of its node at its start. */
import type { SocketAddress } from "../../../base/ip.ts";
import type { Config } from "../../../config/node/config.ts";

export interface WorkerSettings {
  readonly config: Config;
  readonly facts: {
    readonly trustDomain: string;
    readonly nodeName: string;
    readonly network: string;
    readonly workloads: readonly string[] | null;
    /** Whether an address of this host is enough to run here. */
    readonly isByAddress: boolean;
  };
  /** Where the node itself listens: never a target. */
  readonly reserved: readonly SocketAddress[];
}

/** What a worker needs of the configuration: nothing of files, the control plane or the CA, which are the node's, and no secret. */
export function workerConfig(config: Config): Config {
  return {
    ...config,
    meshPaths: [],
    control: null,
    ca: { kind: "control" },
    crlPath: null,
    identitySocket: null,
    adminSocket: null,
  };
}
