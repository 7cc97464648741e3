/**
 * What systemd is told (sd_notify(3)): that the program is ready, how it is, that it still runs, and that it stops. Elsewhere nothing is
 * told, and nothing is missing.
 */
import { asMeshError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";
import type { Datagrams, Host, Timer } from "../host/host.ts";

/** Ready is said after so long all the same: a control plane that is away must not hold up the start of a host. The status says what is missing. */
const longestStartMs = 30_000;
const lookMs = 500;

export interface Notifier {
  /** It takes nothing new any more. */
  stopping(): void;
  /** Another process is the service now; nothing more is said by this one. */
  handOver(pid: number): void;
  close(): void;
}

/** @param pending what readiness waits for, by name. */
export function notifySystemd(
  host: Pick<Host, "clock" | "net" | "process">,
  logger: Logger,
  pending: () => readonly string[],
): Notifier {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = host.process.environment;
  const socket =
    NOTIFY_SOCKET === undefined || NOTIFY_SOCKET === "" ? null : open(host, logger, NOTIFY_SOCKET);
  if (socket === null) return { stopping: () => {}, handOver: () => {}, close: () => {} };
  const send = (text: string): void => {
    try {
      socket.send(new TextEncoder().encode(text));
    } catch {
      // A manager that is gone hears nothing; the program is no worse for it.
    }
  };
  const { clock } = host;
  const startedAt = clock.now();
  const isOurs = WATCHDOG_PID === undefined || WATCHDOG_PID === String(host.process.pid);
  const watchdogMs =
    isOurs && /^[1-9][0-9]*$/.test(WATCHDOG_USEC ?? "") ? Number(WATCHDOG_USEC) / 1000 : null;
  let isReady = false;
  let told = "";
  let aliveAt = startedAt;
  let timer: Timer | null = null;
  let isClosed = false;
  const look = (): void => {
    if (isClosed) return;
    const missing = pending();
    const now = clock.now();
    const status = missing.length === 0 ? "ready" : `waits for ${missing.join(", ")}`;
    if (!isReady && (missing.length === 0 || now - startedAt >= longestStartMs)) {
      isReady = true;
      send(`READY=1\nSTATUS=${status}\n`);
      told = status;
    }
    if (status !== told) send(`STATUS=${status}\n`);
    told = status;
    // From the loop that serves: one that hangs says nothing, and is started again.
    if (watchdogMs !== null && now - aliveAt >= watchdogMs / 3) {
      send("WATCHDOG=1\n");
      aliveAt = now;
    }
    timer = clock.setTimer(Math.min(lookMs, watchdogMs === null ? lookMs : watchdogMs / 4), look);
  };
  const close = (): void => {
    isClosed = true;
    timer?.cancel();
    socket.close();
  };
  look();
  return {
    stopping: () => {
      if (!isClosed) send("STOPPING=1\nSTATUS=lets open connections finish\n");
    },
    handOver: (pid) => {
      send(`MAINPID=${pid}\n`);
      close();
    },
    close,
  };
}

function open({ net }: Pick<Host, "net">, logger: Logger, path: string): Datagrams | null {
  try {
    return net.openDatagrams(path);
  } catch (thrown) {
    const { message } = asMeshError(thrown, "io", "local");
    logger.log("warn", "systemd", "systemd cannot be told how this program is", {
      socket: path,
      reason: message,
    });
    return null;
  }
}
