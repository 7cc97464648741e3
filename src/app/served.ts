/** A program as a process serves it: its metrics, its bugs told, its HTTP ports; whoever ends it, they end with it. */
import { registerProcessMetrics } from "../admin/process_metrics.ts";
import type { SocketAddress } from "../base/ip.ts";
import { hostLimits } from "../base/limits/host.ts";
import type { MetricRegistry } from "../base/metrics.ts";
import type { Config } from "../config/node/config.ts";
import type { Host, ServeHttp } from "../host/host.ts";
import { LogWriter } from "../host/log_writer.ts";
import { TurnWatch } from "../transport/turn_watch.ts";
import { type Notifier, notifySystemd } from "./sd_notify.ts";
import { versionFields } from "./version.ts";

/** A node or a control plane. */
export interface Program {
  readonly metrics: MetricRegistry;
  /** Whether nothing is under way; left out for a program that always has something to do. */
  readonly isIdle?: () => boolean;
  /** What readiness waits for, by name; empty is ready. */
  pending(): readonly string[];
  /** What is open ends, then everything stops. */
  drain(): Promise<void>;
  stop(): Promise<void>;
}

export interface Served {
  /** Resolves when the program has stopped, whoever asked for it. Rejects with what `failed` rejects with. */
  readonly ended: Promise<void>;
  drain(): void;
  stop(): void;
  /** Another process is the service from now on. */
  announce(pid: number): void;
  /** Ends when `how` does. */
  endBy(how: Promise<void>): void;
}

export interface HttpApp {
  readonly fetch: (request: Request) => Response | Promise<Response>;
}

export interface ServedOptions {
  readonly host: Host;
  readonly logger: LogWriter;
  readonly program: Program;
  /** What a bug of ours ends: "connection". */
  readonly unit: string;
  /** Opens the ports that are configured; `onClose` takes what is no HTTP port. @throws MeshError `address_in_use`. */
  readonly open: (ports: Ports, drain: () => void) => void | Promise<void>;
  readonly serveHttp: ServeHttp;
  /** Rejects when the program cannot go on; resolves when it is past where that can happen. */
  readonly started?: Promise<unknown>;
  /** Resolves when this process is the service, if another one is so far: until then systemd is told nothing. */
  readonly inPlace?: Promise<unknown>;
}

/** Of one served program; they are closed with it. */
export interface Ports {
  /** Null opens none. @returns where it listens. */
  serve(address: SocketAddress | null, app: HttpApp): SocketAddress | null;
  onClose(close: () => void): void;
}

export function openLog(host: Host, { format, level }: Config["log"]): LogWriter {
  return new LogWriter(host.clock, (text) => host.process.writeOut(text), format, level);
}

/** @throws MeshError when a port cannot be had: the program is stopped then. */
export async function serveProgram(options: ServedOptions): Promise<Served> {
  const { host, logger, program, unit, open, serveHttp, started = Promise.resolve(), inPlace } = options;
  const turns = new TurnWatch(host.clock);
  registerProcessMetrics(program.metrics, {
    residentBytes: () => host.process.residentBytes(),
    cpuMicros: () => host.process.cpuMicros(),
    longestTurnSeconds: () => turns.longestMs / 1000,
    startedWallMs: host.clock.wallMs(),
    logLinesLost: () => logger.lost,
    version: versionFields(host.name).version ?? "unknown",
  });
  const closes = [
    () => turns.close(),
    host.process.onUncaught((thrown) => {
      const error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      logger.log("error", "bug", `please report this bug of fairlead: it ended one ${unit}`, { error });
    }),
  ];
  const closeAll = (): void => {
    for (let close = closes.pop(); close !== undefined; close = closes.pop()) close();
  };
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  // Heard of where it is awaited; until then there is no listener.
  ended.catch(() => {});
  let isEnding = false;
  const end = (how: Promise<void>): void => {
    isEnding = true;
    void how.then(() => {
      closeAll();
      resolve();
    });
  };
  let notifier: Notifier | null = null;
  const tellSystemd = (): void => {
    if (isEnding) return;
    const opened = notifySystemd(host, logger, () => program.pending());
    notifier = opened;
    closes.push(() => opened.close());
  };
  const drain = (): void => {
    notifier?.stopping();
    end(program.drain());
  };
  const ports: Ports = {
    serve: (address, app) => {
      if (address === null) return null;
      const listener = serveHttp(address, (request) => app.fetch(request));
      closes.push(() => listener.close());
      return listener.address;
    },
    onClose: (close) => void closes.push(close),
  };
  try {
    await open(ports, drain);
  } catch (error) {
    closeAll();
    await program.stop();
    throw error;
  }
  void started.then(
    () => giveBackWhenIdle(host, program, closes),
    () => {},
  );
  if (inPlace === undefined) tellSystemd();
  else void inPlace.then(tellSystemd, () => {});
  started.catch((error) => {
    if (isEnding) return;
    closeAll();
    reject(error);
  });
  return {
    ended,
    drain,
    stop: () => end(program.stop()),
    announce: (pid) => notifier?.handOver(pid),
    endBy: end,
  };
}

/** Once, after the start: at the first moment when there is nothing to do. */
function giveBackWhenIdle(host: Host, { isIdle }: Program, closes: (() => void)[]): void {
  if (isIdle === undefined) return;
  const look = () =>
    host.clock.setTimer(hostLimits.settledMs, () => {
      if (isIdle()) host.process.giveBackMemory();
      else timer = look();
    });
  let timer = look();
  closes.push(() => timer.cancel());
}
