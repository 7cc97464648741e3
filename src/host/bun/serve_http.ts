/** Serves a `fetch` function over HTTP/1.1: administration, metrics and readiness. The data path never goes through here. */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Listener } from "../host.ts";

export type ServeHttp = (
  address: SocketAddress,
  fetch: (request: Request) => Response | Promise<Response>,
) => Listener;

/** @throws MeshError `address_in_use`, blame local. */
export const serveHttp: ServeHttp = (address, fetch) => {
  try {
    const server = Bun.serve({
      hostname: address.ip.text,
      port: address.port,
      fetch,
      maxRequestBodySize: hostLimits.httpRequestBodyBytes,
      idleTimeout: hostLimits.httpIdleSeconds,
      development: false,
    });
    return {
      address: { ip: address.ip, port: server.port ?? address.port },
      close: () => void server.stop(true),
    };
  } catch (cause) {
    const message = `cannot serve HTTP on ${formatSocketAddress(address)}: ${cause instanceof Error ? cause.message : String(cause)}`;
    throw new MeshError("address_in_use", "local", message, { cause });
  }
};
