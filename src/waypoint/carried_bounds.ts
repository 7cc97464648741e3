/** The bounds of a connection that is carried unread: how many there may be, how long each lasts, and how long it may be silent. */
import { MeshError } from "../base/errors.ts";
import type { Clock, Timer } from "../host/host.ts";
import { defaultConnectionPool } from "../mesh/traffic/destination_policy.ts";
import type { Endpoint } from "./exchange.ts";

/** What is bounded. */
export interface Carried {
  /** Both ways, so far. */
  readonly carriedBytes: number;
  abort(error: MeshError): void;
}

/** @returns to be called when the connection is over, however it ended. @throws MeshError `limit_reached` when as many as may be are open. */
export function boundCarried(clock: Clock, { circuit, policy }: Endpoint, carried: Carried): () => void {
  if (circuit?.take("connections") === false)
    throw new MeshError(
      "limit_reached",
      "upstream",
      "as many connections as may be are open (maxConnections)",
    );
  const { maxConnectionDurationMs, tcpIdleTimeoutMs } = policy?.pool ?? defaultConnectionPool;
  let isOver = false;
  let idle: Timer | null = null;
  let seenBytes = carried.carriedBytes;
  const watch = (idleMs: number): void => {
    idle = clock.setTimer(idleMs, () => {
      if (carried.carriedBytes === seenBytes) {
        carried.abort(
          new MeshError("idle_timeout", "peer", `nothing was said for ${idleMs} ms (tcp.idleTimeout)`),
        );
        return;
      }
      seenBytes = carried.carriedBytes;
      watch(idleMs);
    });
  };
  if (tcpIdleTimeoutMs !== null && tcpIdleTimeoutMs > 0) watch(tcpIdleTimeoutMs);
  const age =
    maxConnectionDurationMs === null
      ? null
      : clock.setTimer(maxConnectionDurationMs, () =>
          carried.abort(
            new MeshError(
              "idle_timeout",
              "local",
              "the connection is as old as it may be (maxConnectionDuration)",
            ),
          ),
        );
  return () => {
    if (isOver) return;
    isOver = true;
    idle?.cancel();
    age?.cancel();
    circuit?.give("connections");
  };
}
