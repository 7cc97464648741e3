/**
 * What a waypoint does with the traffic of one port of a service: the rules in the order in which the first that matches wins.
 * VirtualServices and the routes of the Gateway API are both brought into this shape; whoever reads it need not know which it was.
 * Everything is resolved and checked: a host is a service's key, a duration is a number, a pattern is known to compile.
 */
import type { IpPrefix } from "../../base/prefix.ts";
import type { Location } from "../location.ts";

export interface RoutePlan {
  /** `namespace/hostname` of the service that is called. */
  readonly service: string;
  /** The service's port. */
  readonly port: number;
  /** For HTTP and gRPC. A request that none matches is answered 404 (Envoy: `NR`), unless there are none: then it goes to the service. */
  readonly http: readonly HttpRule[];
  /** For TLS that is passed on unread, looked at before `tcp`. */
  readonly tls: readonly TlsRule[];
  /** For everything else. Without one that matches, the service itself is dialled. */
  readonly tcp: readonly TcpRule[];
}

/** Which string is right. Patterns are RE2's and match the whole value, as in Istio; `segments` is the Gateway API's `PathPrefix`. */
export type TextMatch =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "regex"; readonly value: string }
  /** Any value, the empty one too. */
  | { readonly kind: "present" };

export type PathMatch =
  | Exclude<TextMatch, { readonly kind: "present" }>
  /** Whole segments: `/a` matches `/a`, `/a/` and `/a/b`, never `/ab`. Without a slash at its end, but for `/` itself. */
  | { readonly kind: "segments"; readonly value: string };

/** All that is given must fit. */
export interface HttpMatch {
  /** Of the path without its query. Null: any. */
  readonly path: PathMatch | null;
  readonly ignorePathCase: boolean;
  readonly method: TextMatch | null;
  readonly scheme: TextMatch | null;
  readonly authority: TextMatch | null;
  /** By name, in lower case. */
  readonly headers: readonly { readonly name: string; readonly match: TextMatch }[];
  /** None of these may fit; an absent header does not fit. */
  readonly withoutHeaders: readonly { readonly name: string; readonly match: TextMatch }[];
  /** Of the first parameter of that name. */
  readonly query: readonly { readonly name: string; readonly match: TextMatch }[];
  readonly location: Location;
}

export interface HttpRule {
  /** For logs, metrics and rate limits: the rule's own name, else its document and place (`cart-routes.http.2`). Unique in its plan. */
  readonly name: string;
  readonly location: Location;
  /** Empty: every request. Otherwise any of them. */
  readonly matches: readonly HttpMatch[];
  readonly action: HttpAction;
  readonly rewrite: Rewrite | null;
  readonly headers: HeaderChanges;
  /** Of the whole exchange, all attempts and the answer's body included. 0 or null: none. */
  readonly timeoutMs: number | null;
  /** Null: never again. Where the document says nothing this is Istio's default policy, not null. */
  readonly retries: RetryPolicy | null;
  readonly fault: Fault | null;
  readonly mirrors: readonly Mirror[];
  readonly cors: CorsPolicy | null;
  readonly session: SessionPersistence | null;
}

export type HttpAction =
  | { readonly kind: "forward"; readonly destinations: readonly WeightedDestination[] }
  | { readonly kind: "redirect"; readonly redirect: Redirect }
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly body: Uint8Array;
      readonly contentType: string;
    };

/** Where traffic goes: what the upstream part is asked for. */
export interface Destination {
  /** `namespace/hostname` of a service of the mesh. */
  readonly service: string;
  /** Its service port. */
  readonly port: number;
  /** A name in the service's `DestinationPlan`; null for all its endpoints. */
  readonly subset: string | null;
  /**
   * Not null when the destination is known to be none (no such service, port or subset, or not permitted): it takes its weight of the
   * requests and answers them 503 (Istio), 500 (the Gateway API, "BackendNotFound").
   */
  readonly missing: { readonly status: 500 | 503; readonly detail: string } | null;
}

export interface WeightedDestination extends Destination {
  /** Relative to the others of its rule. All 0: answered 500 (Gateway API) or 503. */
  readonly weight: number;
  /** Beside the rule's own, after them. */
  readonly headers: HeaderChanges;
  /** The new `Host` or `:authority`, where the rule itself has none. */
  readonly authority?: string;
}

export interface HeaderChanges {
  readonly request: HeaderOps;
  readonly response: HeaderOps;
}

/** Names in lower case. In this order: removed, set, added, as Envoy does it. */
export interface HeaderOps {
  readonly remove: readonly string[];
  /** Replaces every value. */
  readonly set: readonly (readonly [name: string, value: HeaderValue])[];
  /** Beside what is there. */
  readonly add: readonly (readonly [name: string, value: HeaderValue])[];
}

/** A text, or one with variables in it. */
export type HeaderValue = string | readonly (string | HeaderVariable)[];

/** Envoy's operators that are known when a head is changed (Envoy "Custom request/response headers"). */
export const requestOperators = [
  "REQ",
  "PROTOCOL",
  "DOWNSTREAM_REMOTE_ADDRESS",
  "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
  "DOWNSTREAM_LOCAL_ADDRESS",
  "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
  "DOWNSTREAM_LOCAL_PORT",
  "DOWNSTREAM_PEER_URI_SAN",
  "REQUESTED_SERVER_NAME",
] as const;
/** And of answers. */
export const answerOperators = [...requestOperators, "RESP", "RESPONSE_CODE", "UPSTREAM_HOST"] as const;

export interface HeaderVariable {
  readonly operator: (typeof answerOperators)[number];
  /** Of REQ and RESP, in lower case: the first that is there counts. */
  readonly names: readonly string[];
  readonly maxLength: number | null;
  /** As it was written. */
  readonly text: string;
}

export interface Rewrite {
  readonly path: PathRewrite | null;
  /** The new `Host` or `:authority`. */
  readonly authority: string | null;
}

export type PathRewrite =
  /** The path without query becomes this. */
  | { readonly kind: "full"; readonly value: string }
  /** What the match's prefix covered becomes this; of an exact match the whole path (Istio's `rewrite.uri`). */
  | { readonly kind: "prefix"; readonly value: string }
  /** The same by segments (the Gateway API's `ReplacePrefixMatch`: slashes are neither doubled nor lost). */
  | { readonly kind: "segments"; readonly value: string }
  /** Each place the pattern fits is replaced; `\1` is a group (RE2's syntax of `Replace`). */
  | { readonly kind: "regex"; readonly pattern: string; readonly substitution: string };

export interface Redirect {
  readonly status: 301 | 302 | 303 | 307 | 308;
  /** Null: as the request has it. */
  readonly scheme: "http" | "https" | null;
  /** With a port where the document gives it one. Null: as the request has it. */
  readonly host: string | null;
  /** `request`: the one that was called; `scheme`: the scheme's own, which is not written. Null: none with another host, else the request's. */
  readonly port: number | "request" | "scheme" | null;
  readonly path: PathRewrite | null;
}

export type RetryCondition =
  | "5xx"
  | "gateway-error"
  | "reset"
  | "reset-before-request"
  | "connect-failure"
  | "envoy-ratelimited"
  | "retriable-4xx"
  | "refused-stream"
  | "retriable-headers"
  | "http3-post-connect-failure"
  /** gRPC statuses. */
  | "cancelled"
  | "deadline-exceeded"
  | "internal"
  | "resource-exhausted"
  | "unavailable";

export interface RetryPolicy {
  /** Beyond the first. */
  readonly attempts: number;
  /** Null: as long as the rule's timeout lasts. */
  readonly perTryTimeoutMs: number | null;
  readonly retryOn: readonly RetryCondition[];
  /** HTTP statuses named in `retryOn`. */
  readonly retriableStatuses: readonly number[];
  /** Null: 25 ms base and ten times it at most, as Envoy. */
  readonly backoff: { readonly baseMs: number; readonly maxMs: number } | null;
  /** Endpoints that were tried are avoided while there are others (`retryIgnorePreviousHosts`; Istio's default is true). */
  readonly avoidTried: boolean;
  /** Also endpoints of other localities (`retryRemoteLocalities`). */
  readonly remoteLocalities: boolean;
}

export interface Fault {
  readonly delay: { readonly ms: number; readonly percent: number } | null;
  /** Exactly one of the statuses is given. */
  readonly abort: {
    readonly httpStatus: number | null;
    readonly grpcStatus: number | null;
    readonly percent: number;
  } | null;
}

export interface Mirror {
  readonly destination: Destination;
  /** 0 to 100, fractions too. */
  readonly percent: number;
}

export interface CorsPolicy {
  readonly allowOrigins: readonly TextMatch[];
  /** Empty: not said. `*` where the document says it. */
  readonly allowMethods: readonly string[];
  readonly allowHeaders: readonly string[];
  readonly exposeHeaders: readonly string[];
  readonly maxAgeSeconds: number | null;
  readonly allowCredentials: boolean;
  /** A preflight of an origin that is not allowed goes to the upstream (`FORWARD`), or is answered 200 without permission (`IGNORE`). */
  readonly unmatchedPreflights: "forward" | "ignore";
}

/** The Gateway API's `sessionPersistence` (GEP-1619): a caller stays with the endpoint it was first given. */
export interface SessionPersistence {
  readonly name: string;
  readonly type: "cookie" | "header";
  /** From the session's first request. Null: without end. */
  readonly absoluteTimeoutMs: number | null;
  readonly idleTimeoutMs: number | null;
  /** A cookie with `Max-Age`, or one of the browser's session. */
  readonly lifetime: "permanent" | "session";
  /** `Path` of the cookie. */
  readonly cookiePath: string;
}

/** Any of `matches`; empty: all. */
export interface TcpRule {
  readonly name: string;
  readonly location: Location;
  readonly matches: readonly {
    readonly destinationSubnets: readonly IpPrefix[];
    readonly location: Location;
  }[];
  readonly destinations: readonly WeightedDestination[];
}

export interface TlsRule {
  readonly name: string;
  readonly location: Location;
  readonly matches: readonly {
    /** Lower case, `*.example.com` covers every name below it. Empty: any. */
    readonly sniHosts: readonly string[];
    readonly destinationSubnets: readonly IpPrefix[];
    readonly location: Location;
  }[];
  readonly destinations: readonly WeightedDestination[];
}

export const noHeaderOps: HeaderOps = { remove: [], set: [], add: [] };
export const noHeaderChanges: HeaderChanges = { request: noHeaderOps, response: noHeaderOps };

/**
 * Istio's, for rules that say nothing of retries (`pilot/pkg/networking/core/route/retry/retry.go`, `DefaultPolicy`).
 */
export const defaultRetryPolicy: RetryPolicy = {
  attempts: 2,
  perTryTimeoutMs: null,
  retryOn: ["connect-failure", "refused-stream", "unavailable", "cancelled", "reset-before-request"],
  retriableStatuses: [],
  backoff: null,
  avoidTried: true,
  remoteLocalities: false,
};
