/** What the sockets of this host share: its bounds, whose fault what is, and what is beneath `node:net`. */
import type { Socket as NetSocket } from "node:net";
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Clock } from "../host.ts";
import type { UnsentBytes } from "./unsent.ts";

/** Shared by the sockets of one host. */
export interface SocketContext {
  readonly clock: Clock;
  readonly resets: ResetTurns;
  readonly unsent: UnsentBytes;
  /** Open connections at it or past it are the reserve: one more is refused. */
  readonly maxOpen: number;
  open: number;
  /** Sockets that wait for their peer's end after `close()`. */
  lingering: number;
}

/** Both ends of a connection; null when it is gone already. Read once and kept: they are forgotten when it closes. */
export function socketAddresses(
  native: NetSocket,
): { readonly local: SocketAddress; readonly remote: SocketAddress } | null {
  const local = IpAddress.parse(withoutZone(native.localAddress ?? ""));
  const remote = IpAddress.parse(withoutZone(native.remoteAddress ?? ""));
  const { localPort, remotePort } = native;
  if (local === null || remote === null || localPort === undefined || remotePort === undefined) return null;
  return { local: { ip: local, port: localPort }, remote: { ip: remote, port: remotePort } };
}

/** `fe80::1%eth0` has its zone for the operating system alone. */
function withoutZone(text: string): string {
  return text.split("%")[0] ?? "";
}

/** The peer sees RST. A Unix socket knows none: it closes. */
export function resetNative(transport: NetSocket): void {
  try {
    transport.resetAndDestroy();
  } catch {
    transport.destroy();
  }
}

/**
 * Resets in slices: each is a system call and, over loopback, the kernel's work for both ends. A change of policy ends thousands at
 * once, and those who may stay must not wait for the last of the others.
 */
export class ResetTurns {
  readonly #clock: Pick<Clock, "defer">;
  #waiting: NetSocket[] = [];
  /** Resets done in this turn of the event loop. */
  #done = 0;

  constructor(clock: Pick<Clock, "defer">) {
    this.#clock = clock;
  }

  /** Nothing that it still receives must be looked at. */
  reset(transport: NetSocket): void {
    if (this.#done === 0 && this.#waiting.length === 0) this.#clock.defer(this.#nextTurn);
    if (this.#done < hostLimits.resetsPerTurn) {
      this.#done++;
      resetNative(transport);
    } else this.#waiting.push(transport);
  }

  readonly #nextTurn = (): void => {
    const slice = this.#waiting.splice(0, hostLimits.resetsPerTurn);
    this.#done = slice.length;
    if (slice.length > 0) this.#clock.defer(this.#nextTurn);
    for (const transport of slice) resetNative(transport);
  };
}
