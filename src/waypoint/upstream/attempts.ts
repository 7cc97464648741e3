/**
 * The last stage: a request is sent on to one endpoint after another until there is an answer to pass on, within the bounds of its route's
 * time-outs and retries and of its destination's circuit. Whatever was taken (circuit, host, timer) is given back when the exchange ends.
 */
import { MeshError } from "../../base/errors.ts";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { Clock, Timer } from "../../host/host.ts";
import { serviceKey } from "../../mesh/service.ts";
import type { DestinationPolicy } from "../../mesh/traffic/destination_policy.ts";
import { type Destination, defaultRetryPolicy, type RetryPolicy } from "../../mesh/traffic/route_plan.ts";
import { type Endpoint, type Exchange, field, type LocalReply } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import type { Attempt, Forward, Outcome, Verdict } from "../stages.ts";
import type { Cluster } from "./cluster.ts";
import type { Clusters } from "./clusters.ts";
import type { Outcome as HostOutcome } from "./outlier.ts";
import { type AttemptEnd, mayRetry, retryDelayMs } from "./retry.ts";
import { type TimeLimit, timeLimit } from "./time_left.ts";
import type { UpstreamHost } from "./upstream_host.ts";

export interface AttemptsContext {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly clusters: Clusters;
  /** What the balancer hashes, 32 bits; null when the request has none of it. */
  readonly hash: (exchange: Exchange, policy: DestinationPolicy) => number | null;
  /** `UpstreamHost.key` of the host that has had the session so far; null for any. */
  readonly session: (exchange: Exchange) => string | null;
  /** An answer of the host is on its way to the client. */
  readonly answered: (exchange: Exchange, hostKey: string) => void;
  /** Copies that are sent beside. Before the first attempt. */
  readonly mirror: (exchange: Exchange, forward: Forward) => void;
}

/** What an exchange holds until its end. */
interface Holding {
  cluster: Cluster | null;
  /** The host of the attempt that is under way or was answered. */
  host: UpstreamHost | null;
  outcome: HostOutcome | null;
  overall: Timer | null;
  current: Attempt | null;
  /** The time is over; no further attempt is made. */
  isLate: boolean;
  wake: (() => void) | null;
}

export class Attempts {
  readonly #context: AttemptsContext;
  readonly #open = new Map<Exchange, Holding>();

  constructor(context: AttemptsContext) {
    this.#context = context;
  }

  /** Exchanges that hold something; 0 when none is open. */
  get size(): number {
    return this.#open.size;
  }

  /** The stage. Resolves when there is an answer, the upstream's or ours. */
  async run(exchange: Exchange, forward: Forward): Promise<Verdict> {
    const destination = destinationOf(exchange);
    if (destination?.missing != null)
      return localReply(destination.missing.status, "NR", "", destination.missing.detail);
    const cluster =
      destination === null ? null : this.#context.clusters.of(destination, exchange.downstream.waypoint);
    if (cluster === null && destination !== null)
      return noUpstream(`${destination.service}:${destination.port} has no endpoints`);
    if (cluster !== null && !cluster.circuit.take("requests")) return overflow("requests");
    const holding: Holding = {
      cluster,
      host: null,
      outcome: null,
      overall: null,
      current: null,
      isLate: false,
      wake: null,
    };
    this.#open.set(exchange, holding);
    const limit = timeLimit(exchange.rule?.timeoutMs ?? null, exchange.request, exchange.isGrpc);
    if (limit !== null) holding.overall = this.#startClock(exchange, holding, limit);
    exchange.onAbort(() => holding.wake?.());
    this.#context.mirror(exchange, forward);
    return await this.#attempts(exchange, holding, limit, forward);
  }

  /** The exchange is over, however it ended: gives back all that it held. */
  ended(exchange: Exchange): void {
    const holding = this.#open.get(exchange);
    if (holding === undefined) return;
    this.#open.delete(exchange);
    holding.overall?.cancel();
    this.#leave(holding);
    holding.cluster?.circuit.give("requests");
  }

  async #attempts(
    exchange: Exchange,
    holding: Holding,
    limit: TimeLimit | null,
    forward: Forward,
  ): Promise<Verdict> {
    const { rule } = exchange;
    const policy = rule === null ? defaultRetryPolicy : rule.retries;
    const tried: UpstreamHost[] = [];
    // Only what can be said again may be tried again; what is too long to keep is sent once.
    if (policy !== null && policy.attempts > 0) exchange.body?.keep(waypointLimits.retryBodyBytes);
    for (let attempt = 1; ; attempt++) {
      const endpoint = this.#next(exchange, holding, policy, tried);
      if (!("workload" in endpoint)) return endpoint;
      const end = await this.#once(exchange, holding, endpoint, policy, forward);
      if (exchange.error !== null) return null;
      if (holding.isLate)
        return limit?.isDeadline === true ? pastDeadline() : timedOut("the route's timeout is over");
      const again =
        policy !== null &&
        attempt <= policy.attempts &&
        mayRetry(policy, exchange.request.method, end) &&
        (exchange.body === null || exchange.body.rewind());
      if (!again) return this.#conclude(exchange, holding, end, policy !== null && attempt > policy.attempts);
      if (holding.cluster !== null && !holding.cluster.circuit.take("retries"))
        return this.#conclude(exchange, holding, end, false);
      if (end.kind === "answered") end.body?.cancel(null);
      if (holding.host !== null && policy.avoidTried) tried.push(holding.host);
      this.#leave(holding);
      await this.#pause(holding, retryDelayMs(policy, attempt, this.#context.random()));
      holding.cluster?.circuit.give("retries");
      if (exchange.error !== null) return null;
      if (holding.isLate)
        return limit?.isDeadline === true ? pastDeadline() : timedOut("the route's timeout is over");
    }
  }

  /** Which endpoint is next, and marks it as taken. */
  #next(
    exchange: Exchange,
    holding: Holding,
    policy: RetryPolicy | null,
    tried: readonly UpstreamHost[],
  ): Endpoint | LocalReply {
    const { clock, random, hash, session } = this.#context;
    const { cluster } = holding;
    const { downstream } = exchange;
    const destination = destinationOf(exchange);
    if (cluster === null || destination === null) {
      const { workload, destination: called } = downstream;
      if (workload === null) return noUpstream("neither a service nor a workload was called");
      return { workload, port: called.port, service: null, servicePort: called.port };
    }
    const held = tried.length === 0 ? session(exchange) : null;
    const host =
      (held === null ? null : cluster.usable(held)) ??
      cluster.choose({
        hash: hash(exchange, cluster.policy),
        tried,
        remoteLocalities: policy?.remoteLocalities === true && tried.length > 0,
        random,
        now: clock.now(),
      });
    if (host === null) {
      const { hosts, ejected } = cluster;
      return noUpstream(
        hosts.length === 0
          ? `${destination.service}:${destination.port} has no endpoints`
          : `${ejected} of ${hosts.length} endpoints of ${destination.service}:${destination.port} are ejected`,
      );
    }
    holding.host = host;
    holding.outcome = null;
    cluster.begun(host);
    const { workload, targetPort } = host.endpoint;
    const service = this.#context.clusters.serviceOf(destination.service);
    return {
      ...{ workload, port: targetPort, service, servicePort: destination.port },
      ...{ policy: cluster.policy, circuit: cluster.circuit },
    };
  }

  async #once(
    exchange: Exchange,
    holding: Holding,
    endpoint: Endpoint,
    policy: RetryPolicy | null,
    forward: Forward,
  ): Promise<AttemptEnd> {
    exchange.endpoint = endpoint;
    exchange.attempts++;
    const attempt = forward(exchange, endpoint);
    holding.current = attempt;
    const perTryMs = policy?.perTryTimeoutMs ?? null;
    const end =
      perTryMs === null || perTryMs === 0 ? await attempt.outcome : await this.#within(attempt, perTryMs);
    // A client that left says nothing of the host.
    if (exchange.error === null) holding.outcome = holding.isLate ? { local: "timeout" } : hostOutcome(end);
    // Nor does a bound of ours.
    if (end.kind === "failed" && end.flag === "UO") holding.outcome = null;
    return end;
  }

  async #within(attempt: Attempt, ms: number): Promise<AttemptEnd> {
    let isOver = false;
    const timer = this.#context.clock.setTimer(ms, () => {
      isOver = true;
      attempt.cancel(
        new MeshError("idle_timeout", "upstream", `the upstream did not answer within ${ms} ms`),
      );
    });
    const outcome = await attempt.outcome;
    timer.cancel();
    return isOver && outcome.kind === "failed" ? { kind: "timeout" } : outcome;
  }

  #conclude(exchange: Exchange, holding: Holding, end: AttemptEnd, isExhausted: boolean): Verdict {
    if (end.kind === "timeout") return timedOut("the time for one try is over");
    if (end.kind === "failed") return end.flag === "UO" ? overflow("connections") : failed(end, isExhausted);
    exchange.response = end.head;
    exchange.responseBody = end.body;
    if (holding.host !== null) this.#context.answered(exchange, holding.host.key);
    return null;
  }

  /** The whole exchange, its answer included. */
  #startClock(exchange: Exchange, holding: Holding, { ms }: TimeLimit): Timer {
    return this.#context.clock.setTimer(ms, () => {
      const error = new MeshError("idle_timeout", "upstream", `the request took longer than ${ms} ms`);
      // Once an answer is on its way there is nothing left to say but that it is cut.
      if (exchange.response !== null) return exchange.abort(error);
      holding.isLate = true;
      holding.current?.cancel(error);
      holding.wake?.();
    });
  }

  #pause(holding: Holding, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#context.clock.setTimer(ms, () => wake());
      const wake = () => {
        timer.cancel();
        holding.wake = null;
        resolve();
      };
      holding.wake = wake;
    });
  }

  #leave(holding: Holding): void {
    const { cluster, host, outcome } = holding;
    if (cluster !== null && host !== null) cluster.ended(host, outcome, this.#context.clock.now());
    holding.host = null;
    holding.current = null;
  }
}

/** Without a route, what was called. Null for a workload's own address. */
function destinationOf({ destination, downstream }: Exchange): Destination | null {
  const { service, destination: called } = downstream;
  if (destination !== null || service === null) return destination;
  return { service: serviceKey(service), port: called.port, subset: null, missing: null };
}

/** What an attempt says of the host. A gRPC status in the head counts as the HTTP status that stands for it (Envoy `grpcToHttpStatus`). */
function hostOutcome(end: AttemptEnd): HostOutcome {
  if (end.kind === "timeout") return { local: "timeout" };
  if (end.kind === "failed") return { local: end.flag === "UF" ? "connect" : "reset" };
  const grpc = field(end.head.fields, "grpc-status");
  const status = grpc === null ? undefined : statusOfGrpc[grpc];
  return { status: status ?? end.head.status };
}

const statusOfGrpc: Readonly<Record<string, number>> = {
  "4": 504,
  "13": 500,
  "14": 503,
  "15": 500,
  "2": 500,
};

function failed({ error, flag }: Extract<Outcome, { kind: "failed" }>, isExhausted: boolean): LocalReply {
  const message =
    flag === "UT" ? "upstream request timeout" : "upstream connect error or disconnect/reset before headers";
  return localReply(
    flag === "UT" ? 504 : flag === "UPE" ? 502 : 503,
    isExhausted ? `${flag},URX` : flag,
    message,
    error.message,
  );
}

function timedOut(detail: string): LocalReply {
  return localReply(504, "UT", "upstream request timeout", detail);
}

/** The client's own: gRPC's DEADLINE_EXCEEDED. */
function pastDeadline(): LocalReply {
  return localReply(504, "UT", "deadline exceeded", "the client's grpc-timeout is over", 4);
}

function noUpstream(detail: string): LocalReply {
  return localReply(503, "UH", "no healthy upstream", detail);
}

function overflow(kind: string): LocalReply {
  const reply = localReply(
    503,
    "UO",
    "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    `connectionPool: as many ${kind} as may be are under way`,
  );
  return { ...reply, fields: [...reply.fields, "x-envoy-overloaded", "true"] };
}
