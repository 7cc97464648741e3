/**
 * Sends requests on: over connections to their endpoints that are kept and shared, HTTP/1.1 one request at a time, HTTP/2 many. A
 * connection belongs to one waypoint identity and one endpoint; what decides who sees whom was decided when it was dialled.
 */
import { faultOf, MeshError } from "../../base/errors.ts";
import { servingLimits } from "../../base/limits/serving.ts";
import type { Clock, Socket, Timer } from "../../host/host.ts";
import type { Downstream, Endpoint, Exchange } from "../exchange.ts";
import type { RequestPermit } from "../request_permit.ts";
import type { Attempt } from "../stages.ts";
import { H1Upstream } from "./h1_upstream.ts";
import { H2Upstream } from "./h2_upstream.ts";
import { PendingOutcome, upstreamGone } from "./pending_outcome.ts";

export type Connect = (endpoint: Endpoint, downstream: Downstream) => Promise<Socket>;

/** The connections to one endpoint. */
interface Pool {
  /** The last one to become idle is used first: the others come to their end. */
  readonly idle: H1Upstream[];
  readonly h1: Set<H1Upstream>;
  readonly h2: Set<H2Upstream>;
  /** An HTTP/2 connection that is being made, for all that wait for it. */
  opening: Promise<H2Upstream> | null;
}

export class Forwarder {
  readonly #clock: Clock;
  /** For what is carried unread. */
  readonly connect: Connect;
  readonly #pools = new Map<string, Pool>();
  #timer: Timer | null = null;
  #isDraining = false;

  constructor(clock: Clock, connect: Connect) {
    this.#clock = clock;
    this.connect = connect;
  }

  /** Connections that are open, for checks. */
  get size(): number {
    let size = 0;
    for (const pool of this.#pools.values()) size += pool.h1.size + pool.h2.size;
    return size;
  }

  /** @param _permit proof that the request may be sent. */
  forward(exchange: Exchange, endpoint: Endpoint, _permit: RequestPermit): Attempt {
    const attempt = new PendingOutcome(exchange, endpoint);
    if (attempt.cancelled !== null) return attempt;
    const pool = this.#poolOf(exchange.downstream, endpoint);
    if (speaksHttp2(exchange, endpoint)) void this.#overHttp2(pool, attempt);
    else this.#overHttp1(pool, attempt);
    return attempt;
  }

  /** Connections end as they become idle. */
  drain(): void {
    this.#isDraining = true;
    this.#closeAll();
  }

  /** New requests take new connections: another identity is shown by now. */
  retire(): void {
    this.#closeAll();
  }

  #closeAll(): void {
    for (const pool of this.#pools.values()) {
      for (const upstream of pool.idle.splice(0)) upstream.close();
      for (const upstream of [...pool.h1]) upstream.close();
      for (const upstream of [...pool.h2]) upstream.close();
    }
  }

  #overHttp1(pool: Pool, attempt: PendingOutcome): void {
    const upstream = pool.idle.pop();
    if (upstream === undefined) void this.#dialHttp1(pool, attempt);
    else this.#sendHttp1(pool, upstream, attempt);
  }

  #sendHttp1(pool: Pool, upstream: H1Upstream, attempt: PendingOutcome): void {
    const wasUsed = upstream.uses > 0;
    if (!wasUsed || !mayBeSentAgain(attempt)) {
      upstream.send(attempt);
      return;
    }
    // The endpoint may be closing the connection just now, without having seen the request (RFC 9112 §9.3.1): once more, on a new one.
    const first = new PendingOutcome(attempt.exchange, attempt.endpoint);
    attempt.onCancel = (error) => first.cancel(error);
    upstream.send(first);
    void first.outcome.then((outcome) => {
      if (outcome.kind === "failed" && outcome.flag === "UC" && attempt.cancelled === null) {
        attempt.onCancel = null;
        void this.#dialHttp1(pool, attempt);
      } else attempt.adopt(outcome);
    });
  }

  async #dialHttp1(pool: Pool, attempt: PendingOutcome): Promise<void> {
    const socket = await this.#dial(attempt);
    if (socket === null) return;
    const upstream: H1Upstream = new H1Upstream(socket, {
      onIdle: (idle) => this.#keep(pool, idle),
      onGone: (gone) => {
        pool.h1.delete(gone);
        const at = pool.idle.indexOf(gone);
        if (at !== -1) pool.idle.splice(at, 1);
      },
    });
    pool.h1.add(upstream);
    if (upstream.isGone) {
      pool.h1.delete(upstream);
      attempt.fail(upstreamGone(), "UC", false);
    } else if (attempt.cancelled === null) upstream.send(attempt);
    else this.#keep(pool, upstream);
  }

  #keep(pool: Pool, upstream: H1Upstream): void {
    if (this.#isDraining || pool.idle.length >= servingLimits.maxIdleUpstreams) {
      upstream.close();
      return;
    }
    upstream.idleSinceMs = this.#clock.now();
    pool.idle.push(upstream);
    this.#arm();
  }

  async #overHttp2(pool: Pool, attempt: PendingOutcome): Promise<void> {
    try {
      for (let turn = 1; turn <= maxTurns; turn++) {
        for (const upstream of pool.h2) if (upstream.hasRoom && upstream.send(attempt)) return;
        const opening = pool.opening ?? this.#openHttp2(pool, attempt);
        pool.opening = opening;
        await opening;
        if (attempt.cancelled !== null) return;
      }
      attempt.fail(
        new MeshError("h2_refused", "upstream", "the endpoint has no room for a stream"),
        "UR",
        false,
      );
    } catch (thrown) {
      attempt.fail(faultOf(thrown), "UF", false);
    }
  }

  #openHttp2(pool: Pool, { endpoint, exchange }: PendingOutcome): Promise<H2Upstream> {
    const opening = this.connect(endpoint, exchange.downstream).then((socket) => {
      const upstream = new H2Upstream(this.#clock, socket, (gone) => pool.h2.delete(gone));
      pool.h2.add(upstream);
      upstream.idleSinceMs = this.#clock.now();
      this.#arm();
      if (this.#isDraining) upstream.idleSinceMs = 0;
      return upstream;
    });
    const over = () => {
      if (pool.opening === opening) pool.opening = null;
    };
    opening.then(over, over);
    return opening;
  }

  /** @returns null when it cannot be reached, or is not needed any more; the attempt has been told. */
  async #dial(attempt: PendingOutcome): Promise<Socket | null> {
    try {
      const socket = await this.connect(attempt.endpoint, attempt.exchange.downstream);
      if (attempt.cancelled === null) return socket;
      socket.close();
    } catch (thrown) {
      attempt.fail(faultOf(thrown), "UF", false);
    }
    return null;
  }

  #poolOf({ waypoint }: Downstream, { workload, port, service }: Endpoint): Pool {
    const key = `${waypoint.uid}|${waypoint.identity.uri}|${workload.uid}|${workload.identity.uri}|${port}|${service?.hostname ?? ""}`;
    const known = this.#pools.get(key);
    if (known !== undefined) return known;
    const pool: Pool = { idle: [], h1: new Set(), h2: new Set(), opening: null };
    this.#pools.set(key, pool);
    this.#arm();
    return pool;
  }

  #arm(): void {
    if (this.#timer !== null) return;
    this.#timer = this.#clock.setTimer(servingLimits.upstreamIdleMs / 4, () => {
      this.#timer = null;
      this.#sweep(this.#clock.now() - servingLimits.upstreamIdleMs);
      if (this.#pools.size > 0) this.#arm();
    });
  }

  #sweep(idleSinceMs: number): void {
    for (const [key, pool] of this.#pools) {
      // The oldest are first.
      while ((pool.idle[0]?.idleSinceMs ?? Number.POSITIVE_INFINITY) <= idleSinceMs)
        pool.idle.shift()?.close();
      for (const upstream of [...pool.h2]) {
        if (upstream.openStreams > 0) upstream.idleSinceMs = this.#clock.now();
        else if (upstream.idleSinceMs <= idleSinceMs) upstream.close();
      }
      if (pool.h1.size === 0 && pool.h2.size === 0 && pool.opening === null) this.#pools.delete(key);
    }
  }
}

const maxTurns = 4;
const idempotent: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/** RFC 9110 §9.2.2, and nothing of it would be missing. */
function mayBeSentAgain({ exchange }: PendingOutcome): boolean {
  return exchange.body === null && idempotent.has(exchange.request.method);
}

/** By the service's port; where it says nothing, as the client speaks (Istio's `useClientProtocol` for detected protocols). gRPC has no other. */
function speaksHttp2(exchange: Exchange, { service, servicePort }: Endpoint): boolean {
  const { request } = exchange;
  switch (service?.ports.get(servicePort)?.protocol ?? "UNKNOWN") {
    case "HTTP2":
    case "GRPC":
      return true;
    case "HTTP11":
      return exchange.isGrpc;
    default:
      return request.version === "2";
  }
}
