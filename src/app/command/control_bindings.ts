/** What commands of the control plane are handed. */
import { createMetricsApp, createReadinessApp } from "../../admin/probes.ts";
import { registerProcessMetrics } from "../../admin/process_metrics.ts";
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import type { ControlBindings, StartedControl } from "../../cli/control/bindings.ts";
import { administratorFile } from "../../config/control/client.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { restore } from "../../control/state/restore.ts";
import type { ServeHttp } from "../../host/bun/serve_http.ts";
import type { Host, Listener } from "../../host/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { startControl } from "../control/control.ts";
import { reachOf } from "../control/given.ts";
import { versionFields } from "../version.ts";
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
    writePrivate: async (path, bytes) => {
      if (await host.files.exists(path)) throw new MeshError("io", "local", `${path} is there already`);
      await host.files.writeAtomic(path, bytes, 0o600);
    },
    exists: (path) => host.files.exists(path),
    ask: async (question) => ask(question),
    sleep: (ms) =>
      new Promise((resolve) => {
        const timer = host.clock.setTimer(ms, () => finish(true));
        const unsubscribe = host.process.onSignal(() => finish(false));
        const finish = (whole: boolean): void => {
          timer.cancel();
          unsubscribe();
          resolve(whole);
        };
      }),
  };
}

/** A control plane with its metrics and readiness; whoever ends it, they end with it. */
async function startServed(
  host: Host,
  serveHttp: ServeHttp,
  config: ControlPlaneConfig,
): Promise<StartedControl> {
  const write = (text: string): boolean => host.process.writeOut(text);
  const logger = new LogWriter(host.clock, write, config.log.format, config.log.level);
  const control = await startControl(host, config, logger);
  registerProcessMetrics(control.metrics, {
    residentBytes: () => host.process.residentBytes(),
    cpuMicros: () => host.process.cpuMicros(),
    startedWallMs: host.clock.wallMs(),
    logLinesLost: () => logger.lost,
    version: versionFields(host.name).version ?? "unknown",
  });
  const unsubscribe = host.process.onUncaught((thrown) => {
    const error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
    logger.log("error", "bug", "please report this: one request ended by a bug of ours", { error });
  });
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const listeners: Listener[] = [];
  const end = (how: Promise<void>): void => {
    void how.then(() => {
      for (const listener of listeners) listener.close();
      unsubscribe();
      resolve();
    });
  };
  const serve = (
    address: SocketAddress | null,
    app: { readonly fetch: (request: Request) => Response | Promise<Response> },
  ): void => {
    if (address !== null) listeners.push(serveHttp(address, (request) => app.fetch(request)));
  };
  try {
    serve(config.metrics, createMetricsApp({ metrics: control.metrics }));
    serve(config.readiness, createReadinessApp({ pending: () => control.pending() }));
  } catch (error) {
    for (const listener of listeners) listener.close();
    unsubscribe();
    await control.stop();
    throw error;
  }
  return {
    address: formatSocketAddress(control.address),
    url: reachOf(host, config).url,
    administratorPath: `${config.stateDirectory}/${administratorFile}`,
    ended,
    drain: () => end(control.drain()),
    stop: () => end(control.stop()),
  };
}
