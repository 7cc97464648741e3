/** What commands of the control plane are handed. */
import { createMetricsApp, createReadinessApp } from "../../admin/probes.ts";
import { formatSocketAddress } from "../../base/ip.ts";
import type { ControlBindings, StartedControl } from "../../cli/control/bindings.ts";
import { administratorFile } from "../../config/control/client.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { restore } from "../../control/state/restore.ts";
import type { ServeHttp } from "../../host/bun/serve_http.ts";
import type { Host } from "../../host/host.ts";
import { startControl } from "../control/control.ts";
import { reachOf } from "../control/given.ts";
import { openLog, serveProgram } from "../served.ts";
import { connectControl } from "./control_client.ts";

export interface ControlOutside {
  readonly serveHttp: ServeHttp;
  readonly ask: (question: string) => string | null;
}

export function controlBindings(host: Host, { serveHttp, ask }: ControlOutside): ControlBindings {
  return {
    start: (config) => startServed(host, serveHttp, config),
    connect: (config) => connectControl(host, config),
    restore: async (path, directory, overwrite) => {
      const restored = await restore(host, path, directory, { overwrite });
      const { stateId, documentVersion, lastAuditMs, carriedOver } = restored;
      const { revocations: revocationsKept, endedTokens: tokensEnded } = carriedOver;
      return { stateId, documentVersion, lastAuditMs, revocationsKept, tokensEnded };
    },
    exists: (path) => host.files.exists(path),
    ask: async (question) => ask(question),
    sleep: (ms) => sleep(host, ms),
  };
}

/** @returns false when a signal came first. */
export function sleep(host: Host, ms: number): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = host.clock.setTimer(ms, () => finish(true));
    const unsubscribe = host.process.onSignal(() => finish(false));
    const finish = (whole: boolean): void => {
      timer.cancel();
      unsubscribe();
      resolve(whole);
    };
  });
}

/** A control plane with its metrics and readiness. */
async function startServed(
  host: Host,
  serveHttp: ServeHttp,
  config: ControlPlaneConfig,
): Promise<StartedControl> {
  const logger = openLog(host, config.log);
  const control = await startControl(host, config, logger);
  const served = await serveProgram({
    host,
    logger,
    serveHttp,
    program: control,
    unit: "request",
    open: (ports) => {
      ports.serve(config.metrics, createMetricsApp({ metrics: control.metrics }));
      ports.serve(config.readiness, createReadinessApp({ pending: () => control.pending() }));
    },
  });
  return {
    ...served,
    address: formatSocketAddress(control.address),
    url: reachOf(host, config).url,
    administratorPath: `${config.stateDirectory}/${administratorFile}`,
  };
}
