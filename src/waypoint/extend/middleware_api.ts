/**
 * What a middleware of a user sees. This file is the whole of it: a module's default export is a `MiddlewareFactory`, and what it makes is
 * Hono middleware (https://hono.dev/docs/guides/middleware) whose `c.var.mesh` is a `MeshRequest`. `import type` it; nothing is needed at
 * run time.
 */
import type { MiddlewareHandler } from "hono";

/** Who calls what, all of it verified. */
export interface MeshRequest {
  /**
   * The calling workload, by its certificate. Never null at a waypoint. In the tunnel of a workload (sidecar mode, `--l7`) it is null for a
   * request in plain text, where PeerAuthentication permits that: whoever decides by the peer has to refuse null.
   */
  readonly peer: {
    /** `spiffe://cluster.local/ns/shop/sa/web` */
    readonly uri: string;
    readonly trustDomain: string;
    readonly namespace: string;
    readonly serviceAccount: string;
  } | null;
  /** The end user, by a token that a RequestAuthentication verified; null without one. */
  readonly user: {
    readonly issuer: string;
    readonly subject: string;
    readonly audiences: readonly string[];
    readonly claims: Readonly<Record<string, unknown>>;
  } | null;
  /** `namespace/hostname`; null when a workload's own address is called. In sidecar mode it is told by the port, and may be one of several. */
  readonly service: string | null;
  readonly port: number;
  readonly sourceAddress: string;
  /** 32 hexadecimal digits; null without a trace. */
  readonly traceId: string | null;
  readonly requestId: string | null;
  /**
   * Of what is sent on: `c.req` shows the request as it came. Before `next()`. @param value null removes it.
   * @throws TypeError for what is no field of HTTP (RFC 9110 §5).
   */
  setRequestHeader(name: string, value: string | null): void;
  /** Adds to the counter `fairlead_middleware_events_total{middleware="ns/name",event="…"}`. */
  count(event: string, amount?: number): void;
  /** A line in the waypoint's log, with the middleware's name. */
  log(
    level: "info" | "warn" | "error",
    message: string,
    fields?: Readonly<Record<string, string | number | null>>,
  ): void;
}

export interface MiddlewareEnv {
  Variables: { mesh: MeshRequest };
}

export type Middleware = MiddlewareHandler<MiddlewareEnv>;

/** Called once for each document, and again when the file or the document changed. @param config of the document. */
export type MiddlewareFactory = (
  config: Readonly<Record<string, string>>,
) => Middleware | Promise<Middleware>;
