/**
 * The endpoints of one destination (service, port, subset) and the choice among them: nearest first, those that fail left out, and the rest by
 * the policy's balancer. It counts what is under way toward each.
 */
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { Service } from "../../mesh/service.ts";
import type { DestinationPolicy } from "../../mesh/traffic/destination_policy.ts";
import type { Endpoint } from "../exchange.ts";
import { Circuit } from "./circuit.ts";
import { countOutcome, type EjectionCause, eject, type Outcome, sweep } from "./outlier.ts";
import { makePicker, type Picker } from "./picker.ts";
import { hostKey, type UpstreamEndpoint, UpstreamHost } from "./upstream_host.ts";

export interface ChooseRequest {
  /** Of whatever the policy hashes; null for none. */
  readonly hash: number | null;
  /** Hosts that have had an attempt of this request, and are avoided while there are others. */
  readonly tried: readonly UpstreamHost[];
  /** A retry may leave the nearest locality although that is healthy. */
  readonly remoteLocalities: boolean;
  readonly random: () => number;
  /** Monotonic milliseconds. */
  readonly now: number;
}

export interface ClusterEvents {
  onEjected(host: UpstreamHost, cause: EjectionCause, untilMs: number): void;
  onReturned(host: UpstreamHost): void;
}

interface Level {
  readonly hosts: readonly UpstreamHost[];
  readonly healthy: readonly UpstreamHost[];
  /** Of all requests, 0 to 1. */
  share: number;
  /** Too few are healthy: all are used. */
  panic: boolean;
  picker: Picker | null;
}

export class Cluster {
  readonly circuit: Circuit;
  readonly #policy: DestinationPolicy;
  readonly #events: ClusterEvents;
  #hosts = new Map<string, UpstreamHost>();
  #levels: readonly Level[] | null = null;
  #ejected = 0;
  #sweptAt: number | null = null;
  #warmUntil = Number.NEGATIVE_INFINITY;
  #warmedAt = Number.NEGATIVE_INFINITY;

  constructor(policy: DestinationPolicy, events: ClusterEvents) {
    this.#policy = policy;
    this.#events = events;
    this.circuit = new Circuit(policy);
  }

  get policy(): DestinationPolicy {
    return this.#policy;
  }

  get hosts(): readonly UpstreamHost[] {
    return [...this.#hosts.values()];
  }

  get ejected(): number {
    return this.#ejected;
  }

  /** Takes the endpoints that there are now. What is known of those that stay is kept. */
  update(endpoints: readonly UpstreamEndpoint[], now: number): void {
    const isFirst = this.#hosts.size === 0;
    const next = new Map<string, UpstreamHost>();
    for (const endpoint of endpoints) {
      const known = this.#hosts.get(hostKey(endpoint));
      // The first endpoints have no one to take their share meanwhile: there is nothing to warm up beside.
      const host = known ?? new UpstreamHost(endpoint, isFirst ? Number.NEGATIVE_INFINITY : now);
      host.endpoint = endpoint;
      next.set(host.key, host);
      const warmup = this.#policy.warmup;
      if (known === undefined && warmup !== null && !isFirst) this.#warmUntil = now + warmup.durationMs;
    }
    this.#hosts = next;
    this.#ejected = [...next.values()].filter((host) => host.isEjected).length;
    this.#levels = null;
  }

  /** The host of that key, if it is there and not ejected. */
  usable(key: string): UpstreamHost | null {
    const host = this.#hosts.get(key);
    return host === undefined || host.isEjected ? null : host;
  }

  /** @returns null when no host is there, or none that may be used (Envoy's flag UH). */
  choose(request: ChooseRequest): UpstreamHost | null {
    this.#sweep(request.now);
    this.#warm(request.now);
    const levels = this.#levels ?? this.#makeLevels(request);
    const level = this.#drawLevel(levels, request);
    if (level === null) return null;
    const chosen = this.#pick(level, request);
    if (chosen === null || !request.remoteLocalities || !request.tried.includes(chosen)) return chosen;
    // All of this level have been tried.
    const remote = levels
      .filter((other) => other !== level)
      .flatMap(({ healthy }) => healthy)
      .filter((host) => !request.tried.includes(host) && host.endpoint.weight > 0);
    return remote[Math.floor(request.random() * remote.length)] ?? chosen;
  }

  /** The host as an endpoint of that service's port: the same value as long as nothing of it has changed. */
  endpointFor(host: UpstreamHost, service: Service | null, servicePort: number): Endpoint {
    const { workload, targetPort } = host.endpoint;
    const known = host.as;
    if (
      known !== null &&
      known.workload === workload &&
      known.port === targetPort &&
      known.service === service &&
      known.servicePort === servicePort &&
      known.circuit === this.circuit
    )
      return known;
    const endpoint: Endpoint = {
      ...{ workload, port: targetPort, service, servicePort },
      ...{ policy: this.#policy, circuit: this.circuit },
    };
    host.as = endpoint;
    return endpoint;
  }

  /** A request is on its way to the host; `ended` follows on every way out. */
  begun(host: UpstreamHost): void {
    host.active++;
  }

  /** @param outcome null when it says nothing of the host: the client went away, or another attempt was preferred. */
  ended(host: UpstreamHost, outcome: Outcome | null, now: number): void {
    if (host.active > 0) host.active--;
    const policy = this.#policy.outlier;
    if (outcome === null || policy === null || this.#hosts.get(host.key) !== host) return;
    const cause = countOutcome(policy, host.ejection, outcome);
    if (cause === null) return;
    if (this.#hosts.size > waypointLimits.maxHostStates) return;
    if (!eject(policy, host.ejection, { ejected: this.#ejected, hosts: this.#hosts.size, now })) return;
    this.#ejected++;
    this.#levels = null;
    this.#events.onEjected(host, cause, host.ejection.ejectedUntil ?? now);
  }

  #sweep(now: number): void {
    const policy = this.#policy.outlier;
    if (policy === null) return;
    this.#sweptAt ??= now;
    if (now - this.#sweptAt < policy.intervalMs) return;
    this.#sweptAt = now;
    for (const host of this.#hosts.values()) {
      if (!sweep(host.ejection, now)) continue;
      this.#ejected--;
      this.#levels = null;
      this.#events.onReturned(host);
    }
  }

  /** While hosts warm up, what rests on their weights is made again once in a while. */
  #warm(now: number): void {
    if (this.#warmedAt >= this.#warmUntil || now - this.#warmedAt < warmStepMs) return;
    this.#warmedAt = now;
    this.#levels = null;
  }

  #makeLevels({ now }: ChooseRequest): readonly Level[] {
    const byPriority = new Map<number, UpstreamHost[]>();
    for (const host of this.#hosts.values()) {
      const level = byPriority.get(host.endpoint.priority);
      if (level === undefined) byPriority.set(host.endpoint.priority, [host]);
      else level.push(host);
    }
    const levels = [...byPriority]
      .sort(([a], [b]) => a - b)
      .map(([, hosts]): Level => {
        const healthy = hosts.filter((host) => !host.isEjected);
        return { hosts, healthy, share: 0, panic: false, picker: null };
      });
    shareOut(levels, this.#policy.outlier?.minHealthPercent ?? 0);
    this.#levels = levels;
    this.#warmedAt = now;
    return levels;
  }

  #drawLevel(levels: readonly Level[], { random }: ChooseRequest): Level | null {
    const [only] = levels;
    if (levels.length === 1 && only !== undefined) return only.share > 0 ? only : null;
    let left = random();
    let last: Level | null = null;
    for (const level of levels) {
      if (level.share <= 0) continue;
      last = level;
      left -= level.share;
      if (left < 0) return level;
    }
    return last;
  }

  #pick(level: Level, request: ChooseRequest): UpstreamHost | null {
    const usable = level.panic ? level.hosts : level.healthy;
    level.picker ??= makePicker(
      this.#policy.loadBalancer,
      usable,
      (host) => this.#weight(host, request.now),
      request.random,
    );
    const { tried } = request;
    let chosen: UpstreamHost | null = null;
    for (let attempt = tried.length; attempt < tried.length + maxPicks; attempt++) {
      chosen = level.picker({ hash: request.hash, attempt, random: request.random });
      if (chosen === null || !tried.includes(chosen)) return chosen;
    }
    // Chance had it that the same came up each time; whatever has not been tried is better.
    const fresh = usable.filter((host) => !tried.includes(host) && host.endpoint.weight > 0);
    return fresh[Math.floor(request.random() * fresh.length)] ?? chosen;
  }

  /** Slow start (Envoy `SlowStartConfig`): weight × max(minimum, (time ÷ window)^(1 ÷ aggression)). */
  #weight(host: UpstreamHost, now: number): number {
    const { warmup } = this.#policy;
    const { weight } = host.endpoint;
    const age = now - host.since;
    if (warmup === null || age >= warmup.durationMs) return weight;
    const grown = (Math.max(age, 1) / warmup.durationMs) ** (1 / warmup.aggression);
    return weight * Math.max(warmup.minimumPercent / 100, grown);
  }
}

/** Envoy's overprovisioning factor: a level is relied on as long as it is healthy to five sevenths. */
const overprovisioning = 1.4;
/** As Istio sets `host_selection_retry_max_attempts`. */
const maxPicks = 5;
const warmStepMs = 1_000;

/** How Envoy spreads requests over priority levels (`LoadBalancerBase::recalculatePerPriorityState`). @param threshold percent of healthy hosts below which a level panics. */
function shareOut(levels: readonly Level[], threshold: number): void {
  const health = levels.map(({ hosts, healthy }) =>
    hosts.length === 0 ? 0 : Math.min(1, (healthy.length / hosts.length) * overprovisioning),
  );
  const total = Math.min(
    1,
    health.reduce((sum, each) => sum + each, 0),
  );
  let left = 1;
  levels.forEach((level, index) => {
    // With all levels healthy together, none panics; Envoy looks at each level's own share of hosts only when they are not.
    level.panic = total < 1 && (100 * level.healthy.length) / level.hosts.length < threshold;
    if (total > 0) level.share = Math.min(left, (health[index] ?? 0) / total);
    left -= level.share;
  });
  if (total > 0) return;
  // None is healthy anywhere: those that panic take all of it, by their number of hosts.
  const panicking = levels.filter(({ panic }) => panic);
  const hosts = panicking.reduce((sum, level) => sum + level.hosts.length, 0);
  for (const level of panicking) level.share = level.hosts.length / hosts;
}
