/**
 * Sends requests on: over connections to their endpoints that are kept and shared, HTTP/1.1 one request at a time, HTTP/2 many. A
 * connection belongs to one waypoint identity and one endpoint; what decides who sees whom was decided when it was dialled.
 */
import { faultOf, MeshError } from "../../base/errors.ts";
import { servingLimits } from "../../base/limits/serving.ts";
import type { Clock, Socket, Timer } from "../../host/host.ts";
import { defaultConnectionPool } from "../../mesh/traffic/destination_policy.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { ConnectionCircuit, Downstream, Endpoint, Exchange } from "../exchange.ts";
import type { RequestPermit } from "../request_permit.ts";
import type { Attempt } from "../stages.ts";
import { mayBeSentAgain, openingKey, speaksHttp2 } from "./forward_rules.ts";
import { H1Upstream } from "./h1_upstream.ts";
import { H2Upstream } from "./h2_upstream.ts";
import { PendingOutcome, upstreamGone } from "./pending_outcome.ts";
import { newPool, type Pool, sweepAfterMs, sweepPool } from "./pool.ts";

/** What the connection is for: TLS has to name it. */
export interface Wanted {
  /** Null for what is not read. */
  readonly http: 1 | 2 | null;
  /** Of the request; "" without one. */
  readonly authority: string;
}

/** @throws MeshError when the endpoint cannot be reached as its policy says. */
export type Connect = (endpoint: Endpoint, downstream: Downstream, wanted: Wanted) => Promise<Socket>;

export class Forwarder {
  readonly #clock: Clock;
  /** For what is carried unread. */
  readonly connect: Connect;
  readonly #pools = new Map<string, Pool>();
  /** Endpoints are the same values from request to request (`Cluster.endpointFor`): most find their pool without its name. */
  readonly #known = new WeakMap<Endpoint, { readonly waypoint: Workload; readonly pool: Pool }>();
  #timer: Timer | null = null;
  #sweepAtMs = 0;
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
    const pool = this.#poolOf(exchange, endpoint);
    if (speaksHttp2(exchange, endpoint, pool.limits.http)) {
      if (!this.#isSentHttp2(pool, attempt)) void this.#overHttp2(pool, attempt);
    } else this.#overHttp1(pool, attempt);
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
    if (upstream === undefined) this.#admitHttp1(pool, attempt);
    else this.#sendHttp1(pool, upstream, attempt);
  }

  /** As Envoy does it: an endpoint without any connection gets one whatever the bound, or it would never be asked. */
  #admitHttp1(pool: Pool, attempt: PendingOutcome): void {
    const { circuit } = attempt.endpoint;
    if (circuit?.take("connections") !== false) void this.#dialHttp1(pool, attempt, circuit ?? null);
    else if (pool.h1.size + pool.dialling === 0) void this.#dialHttp1(pool, attempt, null);
    else if (circuit.take("pending")) {
      pool.waiting.push(attempt);
      attempt.onCancel = () => {
        const at = pool.waiting.indexOf(attempt);
        if (at === -1) return;
        pool.waiting.splice(at, 1);
        circuit.give("pending");
      };
    } else attempt.fail(tooMany(), "UO", false);
  }

  /** The one that has waited longest, off the list. */
  #nextWaiting(pool: Pool): PendingOutcome | null {
    const attempt = pool.waiting.shift() ?? null;
    if (attempt === null) return null;
    attempt.onCancel = null;
    attempt.endpoint.circuit?.give("pending");
    return attempt;
  }

  /** A connection is gone, or was not made: there may be room for another. */
  #roomHttp1(pool: Pool, circuit: ConnectionCircuit | null): void {
    circuit?.give("connections");
    const next = this.#nextWaiting(pool);
    if (next !== null) this.#admitHttp1(pool, next);
  }

  #sendHttp1(pool: Pool, upstream: H1Upstream, attempt: PendingOutcome): void {
    // The endpoint may be closing the connection just now, without having seen the request (RFC 9112 §9.3.1): once more, on a new one.
    if (upstream.uses > 0 && mayBeSentAgain(attempt.exchange))
      attempt.onUnanswered = () => this.#admitHttp1(pool, attempt);
    upstream.send(attempt);
  }

  /** @param circuit that counts the connection, and is given it back. */
  async #dialHttp1(pool: Pool, attempt: PendingOutcome, circuit: ConnectionCircuit | null): Promise<void> {
    pool.dialling++;
    const socket = await this.#dial(pool, attempt);
    pool.dialling--;
    if (socket === null) {
      this.#roomHttp1(pool, circuit);
      return;
    }
    const upstream: H1Upstream = new H1Upstream(socket, this.#clock.now(), {
      onIdle: (idle) => this.#keep(pool, idle),
      onGone: (gone) => {
        pool.h1.delete(gone);
        const at = pool.idle.indexOf(gone);
        if (at !== -1) pool.idle.splice(at, 1);
        this.#roomHttp1(pool, circuit);
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
    const { maxRequestsPerConnection, maxConnectionDurationMs } = pool.limits;
    const isUsedUp =
      (maxRequestsPerConnection > 0 && upstream.uses >= maxRequestsPerConnection) ||
      (maxConnectionDurationMs !== null && this.#clock.now() - upstream.madeAtMs >= maxConnectionDurationMs);
    if (this.#isDraining || isUsedUp || pool.idle.length >= servingLimits.maxIdleUpstreams) {
      upstream.close();
      return;
    }
    const next = this.#nextWaiting(pool);
    if (next !== null) {
      this.#sendHttp1(pool, upstream, next);
      return;
    }
    const now = this.#clock.now();
    upstream.idleSinceMs = now;
    pool.idle.push(upstream);
    this.#arm(pool, now);
  }

  /** By a connection that is there. Most requests have one, and wait for nothing. */
  #isSentHttp2(pool: Pool, attempt: PendingOutcome): boolean {
    try {
      for (const upstream of pool.h2)
        if (this.#hasRoom(pool, upstream) && upstream.send(attempt)) return true;
      return false;
    } catch (thrown) {
      attempt.fail(faultOf(thrown), "UF", false);
      return true;
    }
  }

  async #overHttp2(pool: Pool, attempt: PendingOutcome): Promise<void> {
    try {
      for (let turn = 1; turn <= maxTurns; turn++) {
        if (turn > 1 && this.#isSentHttp2(pool, attempt)) return;
        const opening = pool.opening ?? this.#openHttp2(pool, attempt);
        if (opening === null) {
          attempt.fail(tooMany(), "UO", false);
          return;
        }
        pool.opening = opening;
        await opening;
        if (attempt.cancelled !== null) return;
      }
      const message = "the endpoint has no room for a stream";
      attempt.fail(new MeshError("h2_refused", "upstream", message), "UR", false);
    } catch (thrown) {
      attempt.fail(faultOf(thrown), "UF", false);
    }
  }

  /** One that has done its share takes no more. */
  #hasRoom({ limits }: Pool, upstream: H2Upstream): boolean {
    const { maxRequestsPerConnection, maxConnectionDurationMs, maxConcurrentStreams } = limits;
    const isUsedUp =
      (maxRequestsPerConnection > 0 && upstream.uses >= maxRequestsPerConnection) ||
      (maxConnectionDurationMs !== null && this.#clock.now() - upstream.madeAtMs >= maxConnectionDurationMs);
    if (isUsedUp) upstream.close();
    return !isUsedUp && upstream.hasRoom && upstream.openStreams < maxConcurrentStreams;
  }

  /** @returns null when as many as may be are open. */
  #openHttp2(pool: Pool, { endpoint, exchange }: PendingOutcome): Promise<H2Upstream> | null {
    const isCounted = endpoint.circuit?.take("connections") === true;
    if (!isCounted && endpoint.circuit !== undefined && pool.h2.size > 0) return null;
    const circuit = isCounted ? endpoint.circuit : undefined;
    const wanted = { http: 2, authority: exchange.request.authority } as const;
    const dialled = this.#inTime(pool, this.connect(endpoint, exchange.downstream, wanted));
    const opening = dialled.then((socket) => {
      const keepAlive = pool.limits.http2Keepalive;
      const upstream = new H2Upstream(this.#clock, socket, keepAlive, (gone) => {
        pool.h2.delete(gone);
        circuit?.give("connections");
      });
      pool.h2.add(upstream);
      upstream.idleSinceMs = this.#clock.now();
      this.#arm(pool, upstream.idleSinceMs);
      if (this.#isDraining) upstream.idleSinceMs = 0;
      return upstream;
    });
    const over = () => {
      if (pool.opening === opening) pool.opening = null;
    };
    opening.then(over, () => {
      over();
      circuit?.give("connections");
    });
    return opening;
  }

  /** @returns null when it cannot be reached, or is not needed any more; the attempt has been told. */
  async #dial(pool: Pool, attempt: PendingOutcome): Promise<Socket | null> {
    const { downstream, request } = attempt.exchange;
    try {
      const dialled = this.connect(attempt.endpoint, downstream, { http: 1, authority: request.authority });
      const socket = await this.#inTime(pool, dialled);
      if (attempt.cancelled === null) return socket;
      socket.close();
    } catch (thrown) {
      attempt.fail(faultOf(thrown), "UF", false);
    }
    return null;
  }

  /** @throws MeshError `connect_timeout`. What comes later is closed. */
  #inTime({ limits }: Pool, dialled: Promise<Socket>): Promise<Socket> {
    return new Promise((resolve, reject) => {
      let isLate = false;
      const timer = this.#clock.setTimer(limits.connectTimeoutMs, () => {
        isLate = true;
        const message = `the endpoint was not connected within ${limits.connectTimeoutMs} ms`;
        reject(new MeshError("connect_timeout", "upstream", message));
      });
      dialled.then(
        (socket) => {
          timer.cancel();
          if (isLate) socket.close();
          else resolve(socket);
        },
        (error) => {
          timer.cancel();
          reject(error);
        },
      );
    });
  }

  /** A connection is shared by those alone who would have made the same one. */
  #poolOf({ downstream, request }: Exchange, endpoint: Endpoint): Pool {
    const { policy } = endpoint;
    const limits = policy?.pool ?? defaultConnectionPool;
    // Without a name of its own the server is asked for by the request's; a PROXY header tells of one client.
    const isOfRequest = policy !== undefined && (policy.tls?.sni === "" || policy.proxyProtocol !== null);
    const { waypoint } = downstream;
    const known = isOfRequest ? undefined : this.#known.get(endpoint);
    if (known?.waypoint === waypoint && !known.pool.isGone) {
      known.pool.limits = limits;
      return known.pool;
    }
    const opening = policy === undefined ? "" : openingKey(policy, request.authority, downstream);
    const pool = this.#findPool(waypoint, endpoint, opening);
    pool.limits = limits;
    if (!isOfRequest) this.#known.set(endpoint, { waypoint, pool });
    return pool;
  }

  #findPool(waypoint: Workload, { workload, port, service, policy }: Endpoint, tls: string): Pool {
    const key = `${waypoint.uid}|${waypoint.identity.uri}|${workload.uid}|${workload.identity.uri}|${port}|${service?.hostname ?? ""}|${tls}`;
    const known = this.#pools.get(key);
    if (known !== undefined) return known;
    const pool = newPool(policy?.pool ?? defaultConnectionPool);
    this.#pools.set(key, pool);
    this.#arm(pool, this.#clock.now());
    return pool;
  }

  /** @param pool that may need to be looked at sooner than the others. @param now monotonic milliseconds. */
  #arm(pool: Pool, now: number): void {
    const atMs = now + sweepAfterMs(pool);
    if (this.#timer !== null && this.#sweepAtMs <= atMs) return;
    this.#timer?.cancel();
    this.#sweepAtMs = atMs;
    this.#timer = this.#clock.setTimer(sweepAfterMs(pool), () => {
      this.#timer = null;
      const now = this.#clock.now();
      for (const [key, each] of this.#pools) if (!sweepPool(each, now)) this.#pools.delete(key);
      for (const each of this.#pools.values()) this.#arm(each, now);
    });
  }
}

function tooMany(): MeshError {
  return new MeshError("limit_reached", "upstream", "as many connections as may be are open");
}

const maxTurns = 4;
