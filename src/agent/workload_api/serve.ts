/** The API on its socket: what a node, or the control plane for its own host, starts and stops. */
import type { Logger } from "../../base/log.ts";
import type { Host } from "../../host/host.ts";
import { type RpcPeer, RpcServer } from "../../transport/rpc/server.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import type { CallLog } from "./call_audit.ts";
import { WorkloadApi, type WorkloadApiOptions, type WorkloadApiStatus } from "./workload_api.ts";

/**
 * Everybody of this host may connect: who it is the kernel says, and a mode would only keep out users whom the rules
 * name (SPIRE's agent has 0777). A directory that not everybody may enter narrows it.
 */
export const defaultSocketMode = 0o666;

export interface ServeOptions extends Omit<WorkloadApiOptions, "clock"> {
  readonly host: Host;
  readonly logger: Logger;
  readonly path: string;
  /** Default `defaultSocketMode`. */
  readonly mode?: number;
}

export interface ServedWorkloadApi {
  status(): WorkloadApiStatus;
  /** Tells clients to go elsewhere, and resolves when they have, or were cut: their streams have no end of their own. */
  drain(): Promise<void>;
  close(): void;
}

/** @throws MeshError as `Network.listenUnix`. */
export function serveWorkloadApi(options: ServeOptions): ServedWorkloadApi {
  const { host, logger, path, mode = defaultSocketMode } = options;
  const api = new WorkloadApi({ ...options, clock: host.clock });
  const service = new GrpcService<RpcPeer>();
  api.register(service);
  const credentials = () => {
    throw new TypeError("a Unix socket has no TLS");
  };
  const server = new RpcServer({ host, logger, service, credentials });
  server.listenUnix(path, mode);
  logger.log("info", "identity", "identities for local programs", { path, rules: options.rules.length });
  return {
    status: () => api.status(),
    drain: () => server.drain(),
    close: () => server.close(),
  };
}

/** For a node, which has no audit log of its own: the same entries as lines of its log. */
export function auditToLog(logger: Logger): CallLog {
  return {
    append({ actor, action, target, outcome, detail }) {
      const level = outcome === "ok" ? "info" : "warn";
      logger.log(level, "audit", action, { actor, target, outcome, detail });
    },
  };
}
