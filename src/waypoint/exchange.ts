/**
 * One HTTP request and its answer on the way through a waypoint, independent of the version that carried them. The heads are plain
 * values that stages read and change; bodies are not in them: they flow past by `Body`, with back-pressure.
 */
import type { MeshError } from "../base/errors.ts";
import type { IpAddress, SocketAddress } from "../base/ip.ts";
import { type Listed, notListed } from "../base/roster.ts";
import type { Socket } from "../host/host.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { AppProtocol, Service } from "../mesh/service.ts";
import type { DestinationPolicy } from "../mesh/traffic/destination_policy.ts";
import type { Destination, HttpMatch, HttpRule } from "../mesh/traffic/route_plan.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Body } from "./body.ts";
import type { RequestPermit } from "./request_permit.ts";

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

/** Where on a request's way the application of stages is: at a waypoint, or inside the tunnel of a workload (sidecar mode). */
export type Place =
  | { readonly side: "waypoint" }
  /** Before the workload that is called. */
  | {
      readonly side: "inbound";
      /** By the port that was called, or as the client says; for telemetry only. */
      readonly service: Service | null;
      /** Services of the workload at this port that have no waypoint: what documents say of them is enforced here. */
      readonly targets: readonly Service[];
      /** What the application speaks at this port. */
      readonly protocol: AppProtocol;
      /** Connects to the application, by the permit that this connection got. @throws MeshError `connect_*`. */
      readonly application: () => Promise<Socket>;
    }
  /** After the workload that calls: routes, and no policies. */
  | { readonly side: "outbound" };

/** What is known of a connection before its first request: all requests on it share it. */
export interface Downstream {
  readonly place: Place;
  /** Proved in the TLS handshake of the HBONE tunnel; null for plain text, which a workload with the application inside may take. */
  readonly peer: SpiffeId | null;
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
  /** The waypoint itself, whose identity is shown on; in sidecar mode the workload whose tunnel this is. */
  readonly waypoint: Workload;
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

/** A workload that takes the request, by whatever service it was chosen. */
export interface Endpoint {
  readonly workload: Workload;
  /** Its own port, not the service's. */
  readonly port: number;
  /** Null when the workload's own address was called. */
  readonly service: Service | null;
  /** The service's port, or the workload's. */
  readonly servicePort: number;
  /** How it is reached (DestinationRule, BackendTLSPolicy); left out where nothing is said. */
  readonly policy?: DestinationPolicy;
  /** What bounds the connections to its service; left out for no bound. */
  readonly circuit?: ConnectionCircuit;
}

/** What is taken is given back by whoever took it, on every way out. */
export interface ConnectionCircuit {
  /** @returns false when the bound is reached. */
  take(kind: "connections" | "pending"): boolean;
  give(kind: "connections" | "pending"): void;
}

/** What telemetry keeps of a request that is under way. */
export interface Observed {
  readonly trace: ObservedTrace | null;
  /** Of a gRPC call. */
  readonly requestMessages: { readonly messages: number } | null;
  responseMessages: { readonly messages: number } | null;
}

export interface ObservedTrace {
  /** Hexadecimal. */
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string;
  readonly sampled: boolean;
}

/** One request with all that is known of it, from its head until the last byte of its answer. `c.env` of the waypoint's application. */
export class Exchange implements Listed {
  rosterAt = notListed;
  readonly downstream: Downstream;
  readonly request: RequestHead;
  /** Null for a request without content. Of an upgraded one: what the client says after the answer. */
  readonly body: Body | null;
  /** Monotonic milliseconds. */
  readonly startedAtMs: number;
  /** Verified by the authentication stage. */
  user: EndUser | null = null;
  /** Of the authorization stage: without one nothing is sent on. */
  permit: RequestPermit | null = null;
  /** Of the route stage; null without a route, and then `destination` is what was called. */
  rule: HttpRule | null = null;
  /** Which of the rule's matches it was: a rewrite of a prefix has to know. Null when the rule takes every request. */
  match: HttpMatch | null = null;
  /** Null: the service or workload that was called. */
  destination: Destination | null = null;
  /** The last one that was tried. */
  endpoint: Endpoint | null = null;
  /** How often it was sent on, the first time included. */
  attempts = 0;
  /** The answer that is on its way to the client, whoever gave it. */
  response: ResponseHead | null = null;
  responseBody: Body | null = null;
  /** What stages add to the answer, whoever gives it: rate limits, a session's cookie. Null for nothing. */
  added: Fields | null = null;
  /** Not null when the answer is our own. */
  reply: LocalReply | null = null;
  /** Set by telemetry while it is under way. Here, and not in a Map by exchange: see `base/roster.ts`. */
  observed: Observed | null = null;
  /** Set by whoever makes the attempts: what it has taken and gives back at the end. */
  taken: { giveBack(): void } | null = null;
  /** Why it ended before its time; null while it lasts, and after an orderly end. */
  error: MeshError | null = null;
  /** The last byte of the answer was passed on, or it was cut. */
  isOver = false;
  /** Passes on an interim answer (1xx); set by whoever serves the client. */
  onInterim: ((head: ResponseHead) => void) | null = null;
  readonly #onAbort: ((error: MeshError) => void)[] = [];

  constructor(downstream: Downstream, request: RequestHead, body: Body | null, startedAtMs: number) {
    this.downstream = downstream;
    this.request = request;
    this.body = body;
    this.startedAtMs = startedAtMs;
  }

  /** gRPC is answered with its own status, in trailers (gRPC over HTTP/2, "Responses"). */
  get isGrpc(): boolean {
    return field(this.request.fields, "content-type")?.startsWith("application/grpc") === true;
  }

  /** To the head of the answer, when there is one. */
  addToAnswer(name: string, value: string): void {
    this.added ??= [];
    this.added.push(name, value);
  }

  /** To be called when the exchange is cut; at once when it was. */
  onAbort(cut: (error: MeshError) => void): void {
    if (this.error !== null) cut(this.error);
    else this.#onAbort.push(cut);
  }

  /** Ends it now, whatever it waits for: the client is gone, or it is not allowed any more. */
  abort(error: MeshError): void {
    if (this.isOver || this.error !== null) return;
    this.error = error;
    for (const cut of this.#onAbort.splice(0)) cut(error);
  }
}

/** First value of a field, null when it is absent. @param name lower case. */
export function field(fields: Fields, name: string): string | null {
  for (let i = 0; i + 1 < fields.length; i += 2) if (fields[i] === name) return fields[i + 1] ?? "";
  return null;
}
