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
import { type Downstream, type Endpoint, type Exchange, field, type LocalReply } from "../exchange.ts";
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

export class Attempts {
  readonly #context: AttemptsContext;
  /** Exchanges that hold something. */
  #open = 0;
  /** What is called without a route, of connections: so that their requests make nothing of it. */
  readonly #called = new WeakMap<Downstream, Destination>();

  constructor(context: AttemptsContext) {
    this.#context = context;
  }

  /** Exchanges that hold something; 0 when none is open. */
  get size(): number {
    return this.#open;
  }

  /** The stage. Resolves when there is an answer, the upstream's or ours. */
  run(exchange: Exchange, forward: Forward): Promise<Verdict> {
    const destination = exchange.destination ?? this.#calledBy(exchange.downstream);
    if (destination?.missing != null)
      return Promise.resolve(localReply(destination.missing.status, "NR", "", destination.missing.detail));
    const cluster =
      destination === null ? null : this.#context.clusters.of(destination, exchange.downstream.waypoint);
    if (cluster === null && destination !== null)
      return Promise.resolve(noUpstream(`${destination.service}:${destination.port} has no endpoints`));
    if (cluster !== null && !cluster.circuit.take("requests")) return Promise.resolve(overflow("requests"));
    const to = destination === null || cluster === null ? null : { destination, cluster };
    const tries = new Tries(this.#context, exchange, to, forward);
    exchange.taken = tries;
    this.#open++;
    return new Promise((resolve, reject) => tries.start(resolve, reject));
  }

  /** The exchange is over, however it ended: gives back all that it held. */
  ended(exchange: Exchange): void {
    const { taken } = exchange;
    if (taken === null) return;
    exchange.taken = null;
    this.#open--;
    taken.giveBack();
  }

  /** Null for a workload's own address. */
  #calledBy(downstream: Downstream): Destination | null {
    const { service, destination: called } = downstream;
    if (service === null) return null;
    let destination = this.#called.get(downstream);
    if (destination === undefined) {
      destination = { service: serviceKey(service), port: called.port, subset: null, missing: null };
      this.#called.set(downstream, destination);
    }
    return destination;
  }
}

/** Where an exchange goes: a choice of endpoints. */
interface Target {
  readonly destination: Destination;
  readonly cluster: Cluster;
}

/**
 * One exchange on its way, and what it holds until its end. Nothing is waited for but what each attempt comes to: most exchanges have one, and
 * pay for no more.
 */
class Tries {
  readonly #context: AttemptsContext;
  readonly #exchange: Exchange;
  /** Null for a workload's own address. */
  readonly #to: Target | null;
  readonly #forward: Forward;
  readonly #policy: RetryPolicy | null;
  #limit: TimeLimit | null = null;
  #attempt = 0;
  #tried: readonly UpstreamHost[] = noHosts;
  /** The host of the attempt that is under way or was answered. */
  #host: UpstreamHost | null = null;
  #hostOutcome: HostOutcome | null = null;
  #overall: Timer | null = null;
  /** For one try. */
  #perTry: Timer | null = null;
  #isTryLate = false;
  #current: Attempt | null = null;
  /** The time is over; no further attempt is made. */
  #isLate = false;
  #wake: (() => void) | null = null;
  #resolve: (verdict: Verdict) => void = () => {};
  #reject: (bug: unknown) => void = () => {};

  constructor(context: AttemptsContext, exchange: Exchange, to: Target | null, forward: Forward) {
    this.#context = context;
    this.#exchange = exchange;
    this.#to = to;
    this.#forward = forward;
    this.#policy = exchange.rule === null ? defaultRetryPolicy : exchange.rule.retries;
  }

  start(resolve: (verdict: Verdict) => void, reject: (bug: unknown) => void): void {
    this.#resolve = resolve;
    this.#reject = reject;
    const exchange = this.#exchange;
    this.#limit = timeLimit(exchange.rule?.timeoutMs ?? null, exchange.request, exchange.isGrpc);
    if (this.#limit !== null) this.#overall = this.#startClock(this.#limit);
    this.#context.mirror(exchange, this.#forward);
    // Only what can be said again may be tried again; what is too long to keep is sent once.
    if (this.#policy !== null && this.#policy.attempts > 0)
      exchange.body?.keep(waypointLimits.retryBodyBytes);
    this.#once();
  }

  giveBack(): void {
    this.#overall?.cancel();
    this.#leave();
    this.#to?.cluster.circuit.give("requests");
  }

  #once(): void {
    const exchange = this.#exchange;
    const endpoint = this.#next();
    if (!("workload" in endpoint)) {
      this.#resolve(endpoint);
      return;
    }
    this.#attempt++;
    exchange.endpoint = endpoint;
    exchange.attempts++;
    const attempt = this.#forward(exchange, endpoint);
    this.#current = attempt;
    const perTryMs = this.#policy?.perTryTimeoutMs ?? null;
    if (perTryMs !== null && perTryMs !== 0) this.#boundTry(attempt, perTryMs);
    attempt.tell((outcome) => this.#carefully(() => this.#onOutcome(outcome)));
  }

  /** What is thrown here is a bug of ours, and has the request answered. */
  #carefully(work: () => void): void {
    try {
      work();
    } catch (bug) {
      this.#reject(bug);
    }
  }

  #boundTry(attempt: Attempt, ms: number): void {
    this.#perTry = this.#context.clock.setTimer(ms, () => {
      this.#perTry = null;
      this.#isTryLate = true;
      attempt.cancel(
        new MeshError("idle_timeout", "upstream", `the upstream did not answer within ${ms} ms`),
      );
    });
  }

  #onOutcome(outcome: Outcome): void {
    const exchange = this.#exchange;
    const end: AttemptEnd = this.#isTryLate && outcome.kind === "failed" ? { kind: "timeout" } : outcome;
    this.#perTry?.cancel();
    this.#perTry = null;
    this.#isTryLate = false;
    // A client that left says nothing of the host, nor does a bound of ours.
    if (exchange.error === null && !(end.kind === "failed" && end.flag === "UO"))
      this.#hostOutcome = this.#isLate ? { local: "timeout" } : hostOutcome(end);
    if (this.#isOver()) return;
    const policy = this.#policy;
    const isExhausted = policy !== null && this.#attempt > policy.attempts;
    const again =
      policy !== null &&
      !isExhausted &&
      mayRetry(policy, exchange.request.method, end) &&
      (exchange.body === null || exchange.body.rewind());
    if (!again) this.#conclude(end, isExhausted);
    else if (this.#to?.cluster.circuit.take("retries") === false) this.#conclude(end, false);
    else this.#again(policy, end);
  }

  /** The client is gone, or the time is: told then. */
  #isOver(): boolean {
    if (this.#exchange.error !== null) this.#resolve(null);
    else if (this.#isLate)
      this.#resolve(
        this.#limit?.isDeadline === true ? pastDeadline() : timedOut("the route's timeout is over"),
      );
    else return false;
    return true;
  }

  #again(policy: RetryPolicy, end: AttemptEnd): void {
    if (end.kind === "answered") end.body?.cancel(null);
    if (this.#host !== null && policy.avoidTried) this.#tried = [...this.#tried, this.#host];
    this.#leave();
    this.#pause(retryDelayMs(policy, this.#attempt, this.#context.random()), () => {
      this.#to?.cluster.circuit.give("retries");
      if (!this.#isOver()) this.#once();
    });
  }

  /** Which endpoint is next, and marks it as taken. */
  #next(): Endpoint | LocalReply {
    const { clock, random, hash, session, clusters } = this.#context;
    const exchange = this.#exchange;
    if (this.#to === null) {
      const { workload, destination: called } = exchange.downstream;
      if (workload === null) return noUpstream("neither a service nor a workload was called");
      return { workload, port: called.port, service: null, servicePort: called.port };
    }
    const { cluster, destination } = this.#to;
    const tried = this.#tried;
    const held = tried.length === 0 ? session(exchange) : null;
    const host =
      (held === null ? null : cluster.usable(held)) ??
      cluster.choose({
        hash: hash(exchange, cluster.policy),
        tried,
        remoteLocalities: this.#policy?.remoteLocalities === true && tried.length > 0,
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
    this.#host = host;
    this.#hostOutcome = null;
    cluster.begun(host);
    return cluster.endpointFor(host, clusters.serviceOf(destination.service), destination.port);
  }

  #conclude(end: AttemptEnd, isExhausted: boolean): void {
    const exchange = this.#exchange;
    if (end.kind === "timeout") this.#resolve(timedOut("the time for one try is over"));
    else if (end.kind === "failed")
      this.#resolve(end.flag === "UO" ? overflow("connections") : failed(end, isExhausted));
    else {
      exchange.response = end.head;
      exchange.responseBody = end.body;
      if (this.#host !== null) this.#context.answered(exchange, this.#host.key);
      this.#resolve(null);
    }
  }

  /** The whole exchange, its answer included. */
  #startClock({ ms }: TimeLimit): Timer {
    return this.#context.clock.setTimer(ms, () => {
      const error = new MeshError("idle_timeout", "upstream", `the request took longer than ${ms} ms`);
      // Once an answer is on its way there is nothing left to say but that it is cut.
      if (this.#exchange.response !== null) return this.#exchange.abort(error);
      this.#isLate = true;
      this.#current?.cancel(error);
      this.#wake?.();
    });
  }

  /** Shorter when the exchange ends, or its time. */
  #pause(ms: number, then: () => void): void {
    const wake = () => {
      if (this.#wake !== wake) return;
      timer.cancel();
      this.#wake = null;
      this.#carefully(then);
    };
    const timer = this.#context.clock.setTimer(ms, wake);
    this.#wake = wake;
    this.#exchange.onAbort(wake);
  }

  #leave(): void {
    if (this.#to !== null && this.#host !== null)
      this.#to.cluster.ended(this.#host, this.#hostOutcome, this.#context.clock.now());
    this.#host = null;
    this.#current = null;
  }
}

const noHosts: readonly UpstreamHost[] = [];

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
