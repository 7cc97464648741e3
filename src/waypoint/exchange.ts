/**
 * One HTTP request and its answer on the way through a waypoint, independent of the version that carried them. The heads are plain
 * values that stages read and change; bodies are not in them: they flow past by `Body`, with back-pressure.
 */
import type { IpAddress, SocketAddress } from "../base/ip.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { Service } from "../mesh/service.ts";
import type { Workload } from "../mesh/workload.ts";

/** Name, value, name, value: names in lower case, no pseudo-headers, in the order in which they came. `wire/h2/headers.ts` has the same shape. */
export type Fields = string[];

export interface RequestHead {
  /** Changed by a rewrite of the method (CORS, mirrors never). */
  method: string;
  scheme: "http" | "https";
  /** `Host` or `:authority` as the client said it, port included; "" in HTTP/1.0 without one. */
  authority: string;
  /** Path with query, origin-form or `*`; normalised by the time stages see it, and what is sent on. */
  path: string;
  fields: Fields;
  readonly version: "1.0" | "1.1" | "2";
  /** `upgrade` of HTTP/1.1 or `:protocol` of RFC 8441, lower case (`websocket`); null for an ordinary request. */
  readonly protocol: string | null;
}

export interface ResponseHead {
  status: number;
  fields: Fields;
}

/** What is known of a connection before its first request: all requests on it share it. */
export interface Downstream {
  /** Proved in the TLS handshake of the HBONE tunnel. */
  readonly peer: SpiffeId;
  /** Of the tunnel's TCP connection, or what the peer's tunnel says of its client (`Forwarded`), as ztunnel sends it. */
  readonly source: SocketAddress;
  /** When it is known by its address and the identity agrees. */
  readonly sourceWorkload: Workload | null;
  /** What was called: a service's VIP, or a workload's own address. */
  readonly destination: { readonly ip: IpAddress | null; readonly port: number };
  /** Null when a workload's own address was called. */
  readonly service: Service | null;
  /** Null when a service was called. */
  readonly workload: Workload | null;
  /** Of a TLS connection inside the tunnel; "" for none. */
  readonly sni: string;
}

/** The end user, by a token that was verified. */
export interface EndUser {
  readonly issuer: string;
  readonly subject: string;
  readonly audiences: readonly string[];
  readonly claims: Readonly<Record<string, unknown>>;
  /** Milliseconds since the Unix epoch; null for a token without an end. */
  readonly expiresAtMs: number | null;
}

/** An answer that a stage gives by itself, without the upstream. */
export interface LocalReply {
  readonly status: number;
  readonly fields: Fields;
  readonly body: Uint8Array;
  /** Of a gRPC request: sent as trailers-only with HTTP 200 (gRPC over HTTP/2, "Responses"). Null: derived from the status. */
  readonly grpcStatus: number | null;
  /** Envoy's short code for the access log and metrics (`RBAC`'s `-`, `UF`, `UH`, `UO`, `RL`, `FI`, `DI`, `NR`, …); "-" for none. */
  readonly flag: string;
  /** For the record and the operator, not for the client: which policy, rule, file and line, or what was wrong. */
  readonly detail: string;
}

/** First value of a field, null when it is absent. @param name lower case. */
export function field(fields: Fields, name: string): string | null {
  for (let i = 0; i + 1 < fields.length; i += 2) if (fields[i] === name) return fields[i + 1] ?? "";
  return null;
}
