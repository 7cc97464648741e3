/** `fairlead.dev/v1 RateLimit`: how many requests of whom a service takes in a time. */
import type { Location } from "../location.ts";
import type { UpstreamTls } from "./destination_policy.ts";
import type { HttpMatch } from "./route_plan.ts";

export interface RateLimit {
  /** `namespace/name`. */
  readonly key: string;
  readonly location: Location;
  readonly targets: readonly RateLimitTarget[];
  readonly rules: readonly RateLimitRule[];
  readonly store: RateLimitStore;
  /** Counted, told and let through. */
  readonly dryRun: boolean;
  /** `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers, and `Retry-After` when refused. */
  readonly headers: boolean;
}

export type RateLimitTarget =
  /** Every service that the waypoint is for. */
  | { readonly kind: "waypoint" }
  /** `namespace/hostname`. */
  | { readonly kind: "service"; readonly service: string };

/** Each rule that matches takes its tokens; the first that has none refuses with 429, and what the others took is given back where it is local. */
export interface RateLimitRule {
  /** In `RateLimit-Policy` and the log. Unique in its document. */
  readonly name: string;
  readonly location: Location;
  /** Empty: every request. Otherwise any of them. */
  readonly matches: readonly HttpMatch[];
  /** Names of route rules (`HttpRule.name`). Empty: any. */
  readonly routes: readonly string[];
  /** Requests with the same values of all of these share a bucket. Empty: all requests share one. */
  readonly keys: readonly RateLimitKey[];
  readonly limit: TokenLimit;
}

/** A header or claim that is absent is a value of its own: to leave it out is no way around the limit. */
export type RateLimitKey =
  /** The peer's SPIFFE identity. */
  | { readonly by: "peer" }
  | { readonly by: "service" }
  | { readonly by: "route" }
  | { readonly by: "source-address" }
  /** Lower case. */
  | { readonly by: "header"; readonly name: string }
  /** A path into the verified token's claims: `sub`, `org.tenant`. */
  | { readonly by: "claim"; readonly path: readonly string[] };

export interface TokenLimit {
  /** In each period, 1 at least. */
  readonly requests: number;
  readonly periodMs: number;
  /** Tokens of a full bucket: `requests` and what the document allows beyond. */
  readonly burst: number;
}

export type RateLimitStore =
  /** Each waypoint instance counts for itself. */
  | { readonly kind: "local" }
  | {
      readonly kind: "redis";
      readonly address: { readonly host: string; readonly port: number };
      /** Null: in plain text. */
      readonly tls: UpstreamTls | null;
      /** A file that holds the password; null for none. */
      readonly passwordFile: string | null;
      readonly database: number;
      readonly timeoutMs: number;
      readonly whenAway: WhenAway;
    }
  /** Envoy's `envoy.service.ratelimit.v3.RateLimitService`. */
  | {
      readonly kind: "rls";
      readonly address: { readonly host: string; readonly port: number };
      readonly tls: UpstreamTls | null;
      readonly domain: string;
      readonly timeoutMs: number;
      readonly whenAway: WhenAway;
    };

/** What is done while the store cannot be asked: counted locally meanwhile, let through, or refused with 429. */
export type WhenAway = "local" | "allow" | "deny";
