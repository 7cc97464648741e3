/** How a request is sent on: over which connections, in which version of HTTP, and whether once more. Pure. */
import { formatSocketAddress } from "../../base/ip.ts";
import type { ConnectionPool, DestinationPolicy } from "../../mesh/traffic/destination_policy.ts";
import type { Downstream, Endpoint, Exchange } from "../exchange.ts";

const openingKeys = new WeakMap<DestinationPolicy, string>();

/** What opens a connection beside its address: only those that are opened alike may be shared. */
export function openingKey(policy: DestinationPolicy, authority: string, client: Downstream): string {
  let key = openingKeys.get(policy);
  if (key === undefined) {
    const { tls, proxyProtocol } = policy;
    key =
      tls === null && proxyProtocol === null
        ? ""
        : JSON.stringify([{ ...tls, location: null }, proxyProtocol]);
    openingKeys.set(policy, key);
  }
  // Without a name of its own the server is asked for by the request's.
  const named = policy.tls?.sni === "" ? `${key}${authority}` : key;
  if (policy.proxyProtocol === null) return named;
  // The header tells of one client, so that no other may use the connection.
  const { source, destination } = client;
  return `${named}|${formatSocketAddress(source)}|${destination.ip?.text ?? ""}|${destination.port}`;
}

const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/** RFC 9110 §9.2.2, and nothing of it would be missing. */
export function mayBeSentAgain(exchange: Exchange): boolean {
  return exchange.body === null && idempotent.has(exchange.request.method);
}

/** By the service's port; where it says nothing, as the client speaks (Istio's `useClientProtocol` for detected protocols). gRPC has no other. */
export function speaksHttp2(
  exchange: Exchange,
  { service, servicePort }: Endpoint,
  http: ConnectionPool["http"],
): boolean {
  const { request } = exchange;
  const protocol = service?.ports.get(servicePort)?.protocol ?? "UNKNOWN";
  // An upgrade is for HTTP/1.1 where the port does not say that it speaks HTTP/2.
  if (http === "upgrade" && request.protocol === null) return true;
  if (http === "as-client") return request.version === "2" || exchange.isGrpc;
  switch (protocol) {
    case "HTTP2":
    case "GRPC":
      return true;
    case "HTTP11":
      return exchange.isGrpc;
    default:
      return request.version === "2";
  }
}
