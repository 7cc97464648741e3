/**
 * How a service's endpoints are reached: what DestinationRules and BackendTLSPolicies say of it, put together.
 * Every field has its value: defaults are filled in, and overrides by port and subset are applied.
 */
import { servingLimits } from "../../base/limits/serving.ts";
import type { Location } from "../location.ts";

/** Of one service that a waypoint may send to. */
export interface DestinationPlan {
  /** `namespace/hostname`. */
  readonly service: string;
  /** Of each of its ports, for all endpoints. */
  readonly ports: ReadonlyMap<number, DestinationPolicy>;
  readonly subsets: ReadonlyMap<string, DestinationSubset>;
  /** The DestinationRules it comes of, the first one first. Empty: defaults. */
  readonly locations: readonly Location[];
}

export interface DestinationSubset {
  readonly name: string;
  /** A workload is in the subset when it has all of these. Empty: every workload. */
  readonly labels: ReadonlyMap<string, string>;
  /** By service port. */
  readonly ports: ReadonlyMap<number, DestinationPolicy>;
  readonly location: Location;
}

export interface DestinationPolicy {
  readonly loadBalancer: LoadBalancer;
  readonly locality: LocalityPolicy;
  /** Null: a new endpoint gets its share at once. */
  readonly warmup: Warmup | null;
  readonly pool: ConnectionPool;
  /** Null: endpoints are never ejected for what they answer. */
  readonly outlier: OutlierDetection | null;
  /** Null: as the endpoint is reached (HBONE, or plain text). */
  readonly tls: UpstreamTls | null;
  readonly proxyProtocol: 1 | 2 | null;
  /** Null: `pool.maxRetries` bounds retries that are under way at one time. */
  readonly retryBudget: RetryBudget | null;
}

export type LoadBalancer =
  | { readonly kind: "round-robin" | "least-request" | "random" }
  /** The address that was called is dialled. */
  | { readonly kind: "passthrough" }
  | {
      readonly kind: "consistent-hash";
      readonly key: HashKey;
      readonly table:
        | { readonly kind: "ring"; readonly minimumRingSize: number }
        | { readonly kind: "maglev"; readonly tableSize: number };
    };

export type HashKey =
  /** Lower case. */
  | { readonly kind: "header"; readonly name: string }
  | {
      readonly kind: "cookie";
      readonly name: string;
      readonly path: string;
      /** Null: no cookie is made when there is none. 0: one of the browser's session. */
      readonly ttlMs: number | null;
      readonly attributes: readonly { readonly name: string; readonly value: string }[];
    }
  | { readonly kind: "source" }
  | { readonly kind: "query"; readonly name: string };

export interface LocalityPolicy {
  readonly enabled: boolean;
  /** Exclude each other; both empty: the nearest locality first, as far as endpoints there are healthy. */
  readonly distribute: readonly LocalityShare[];
  readonly failover: readonly { readonly from: string; readonly to: string }[];
  /** Names of labels, or `name=value`: the more of them (from the first on) an endpoint shares with the waypoint, the sooner it is used. */
  readonly failoverPriority: readonly string[];
}

/** `region/zone/subzone`, `*` at the end for all below. The weights add up to 100. */
export interface LocalityShare {
  readonly from: string;
  readonly to: ReadonlyMap<string, number>;
}

/** Slow start (Envoy `SlowStartConfig`). */
export interface Warmup {
  readonly durationMs: number;
  /** Of its weight, to begin with, in percent. */
  readonly minimumPercent: number;
  /** 1: linear. */
  readonly aggression: number;
}

export interface ConnectionPool {
  /** Open TCP connections (or HBONE streams that stand for one) to the service, of all endpoints. */
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  /** Null: the host's. */
  readonly keepalive: {
    readonly probes: number | null;
    readonly timeMs: number | null;
    readonly intervalMs: number | null;
  } | null;
  /** Null: without end. */
  readonly maxConnectionDurationMs: number | null;
  /** Of TCP that is copied. */
  readonly tcpIdleTimeoutMs: number | null;
  /** Requests that wait for a connection. */
  readonly maxPendingRequests: number;
  /** Requests under way. */
  readonly maxRequests: number;
  /** 0: as many as there are. */
  readonly maxRequestsPerConnection: number;
  /** Retries under way at one time. */
  readonly maxRetries: number;
  /** Of connections without a request. */
  readonly httpIdleTimeoutMs: number;
  /** HTTP/2 to endpoints of ports that are HTTP: `UPGRADE`; HTTP/1.1: `DO_NOT_UPGRADE`; as the client: `useClientProtocol`. */
  readonly http: "upgrade" | "as-port" | "as-client";
  /** Of one HTTP/2 connection. */
  readonly maxConcurrentStreams: number;
  readonly http2Keepalive: { readonly intervalMs: number; readonly timeoutMs: number } | null;
}

export interface OutlierDetection {
  /** 0: off, for each. */
  readonly consecutive5xx: number;
  readonly consecutiveGatewayErrors: number;
  readonly consecutiveLocalOriginFailures: number;
  readonly splitLocalOrigin: boolean;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionPercent: number;
  /** Below this share of healthy endpoints all of them are used (panic). */
  readonly minHealthPercent: number;
  /** Answers with these count as 5xx do. Null: 500 to 599. */
  readonly httpErrorCodes: readonly { readonly from: number; readonly to: number }[] | null;
}

export interface UpstreamTls {
  /** Of the document that says it: whose files are meant. */
  readonly namespace: string;
  readonly mode: "simple" | "mutual";
  /** "": the authority of the request for HTTP, the destination's host name else. */
  readonly sni: string;
  /** Files. Null roots: the system's own. */
  readonly caCertificates: string | null;
  readonly caCrl: string | null;
  readonly clientCertificate: string | null;
  readonly privateKey: string | null;
  /** Empty: the name by which it is called must be in the certificate. */
  readonly subjectAltNames: readonly string[];
  readonly insecureSkipVerify: boolean;
  readonly location: Location;
}

export interface RetryBudget {
  /** Of the requests of the last interval. */
  readonly percent: number;
  /** Retries that are always allowed at one time. */
  readonly minConcurrency: number;
  readonly intervalMs: number;
}

/** Envoy's and Istio's, where no document says otherwise. */
export const defaultConnectionPool: ConnectionPool = {
  // Istio sets "as many as there are" (2^32 - 1) for all of Envoy's circuit breakers (`getDefaultCircuitBreakerThresholds`).
  maxConnections: 4_294_967_295,
  // Istio's mesh `connectTimeout`.
  connectTimeoutMs: 10_000,
  keepalive: null,
  maxConnectionDurationMs: null,
  tcpIdleTimeoutMs: 3_600_000,
  maxPendingRequests: 4_294_967_295,
  maxRequests: 4_294_967_295,
  maxRequestsPerConnection: 0,
  maxRetries: 4_294_967_295,
  // Envoy has an hour; of a waypoint for many services that would be many descriptors.
  httpIdleTimeoutMs: servingLimits.upstreamIdleMs,
  http: "as-port",
  maxConcurrentStreams: 2_147_483_647,
  http2Keepalive: null,
};

export const defaultDestinationPolicy: DestinationPolicy = {
  loadBalancer: { kind: "least-request" },
  locality: { enabled: true, distribute: [], failover: [], failoverPriority: [] },
  warmup: null,
  pool: defaultConnectionPool,
  outlier: null,
  tls: null,
  proxyProtocol: null,
  retryBudget: null,
};
