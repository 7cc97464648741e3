/** Serves a `fetch` function over HTTP/1.1: administration, metrics and readiness. The data path never goes through here. */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import { hostLimits, upgradeLimits } from "../../base/limits/host.ts";
import type { ServeHttp } from "../host.ts";
import { socketNumbers } from "./handover/descriptors.ts";
import { type Accepting, ListenerTable } from "./handover/listener_table.ts";

type Fetch = (request: Request) => Response | Promise<Response>;

export const serveHttp: ServeHttp = httpServer(new ListenerTable());

export function httpServer(table: ListenerTable): ServeHttp {
  return ({ ip, port }, fetch) => {
    const nameAt = (at: number): string => `http ${formatSocketAddress({ ip, port: at })}`;
    const entry = table.listen(nameAt(port), (fd) => serve(table, { ip, port }, fetch, fd), nameAt);
    return {
      address: { ip, port: entry.port ?? port },
      close: () => entry.close(),
    };
  };
}

/** @param fd a socket that listens: Bun opens its own at another port, which then becomes that one. */
function serve(table: ListenerTable, address: SocketAddress, fetch: Fetch, fd: number | null): Accepting {
  const before = socketNumbers();
  try {
    const server = Bun.serve({
      hostname: address.ip.text,
      port: fd === null ? address.port : 0,
      fetch,
      maxRequestBodySize: hostLimits.httpRequestBodyBytes,
      idleTimeout: hostLimits.httpIdleSeconds,
      development: false,
    });
    // Bun does not tell the number; it opens one socket in this call, and nothing else runs meanwhile.
    const [number = -1, ...others] = [...socketNumbers()].filter((one) => !before.has(one));
    const known = others.length === 0 ? number : -1;
    if (fd !== null) table.descriptors.exchange(known, fd);
    return {
      fd: known,
      port: fd === null ? (server.port ?? address.port) : address.port,
      stop: (isForGood) => {
        void server.stop(isForGood);
        if (isForGood) return;
        // What is under way is answered; connections that are only kept open go, and their clients dial the other process.
        setTimeout(() => void server.stop(true), upgradeLimits.httpLastMs).unref();
      },
    };
  } catch (cause) {
    const message = `cannot serve HTTP on ${formatSocketAddress(address)}: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new MeshError("address_in_use", "local", message, { cause });
  }
}
