/**
 * The stages that follow from what documents say of traffic, put together: telemetry, users' middleware, routes, rate limits, rewrites,
 * faults, attempts. Who may call what is decided by others (`auth/`).
 */
import type { Logger } from "../base/log.ts";
import type { MetricRegistry } from "../base/metrics.ts";
import type { Clock, Files, Process, Random } from "../host/host.ts";
import type { MiddlewareDocument } from "../mesh/documents/document.ts";
import { serviceKey } from "../mesh/service.ts";
import type { MeshStore } from "../mesh/store/store.ts";
import type { RateLimit } from "../mesh/traffic/rate_limit.ts";
import { noTraffic, type TrafficPlan } from "../mesh/traffic/traffic_plan.ts";
import type { Workload } from "../mesh/workload.ts";
import { enforcedServices } from "./auth/enforced_services.ts";
import type { Downstream, Endpoint, Exchange, LocalReply } from "./exchange.ts";
import { type AppliesTo, Middlewares, type MiddlewaresOptions } from "./extend/middlewares.ts";
import { RateLimits, type RateLimitsContext } from "./guard/rate_limits.ts";
import { localReply } from "./local_reply.ts";
import { Affinity } from "./match/affinity.ts";
import { chooseMirrors } from "./match/chance.ts";
import { requestMatcher } from "./match/route_index.ts";
import { RouteStages } from "./match/route_stages.ts";
import { streamDestination } from "./match/stream_route.ts";
import type { AuthStages, Stages } from "./stages.ts";
import type { AccessFormat } from "./telemetry/access_format.ts";
import { RequestTelemetry, type RequestTelemetryOptions } from "./telemetry/request_telemetry.ts";
import type { TelemetryRules } from "./telemetry_rules.ts";
import { Attempts } from "./upstream/attempts.ts";
import { Clusters } from "./upstream/clusters.ts";
import { Mirrors } from "./upstream/mirrors.ts";

export interface TrafficOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
  readonly process: Pick<Process, "loadModule">;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly store: MeshStore;
  readonly labels: (workload: Workload) => ReadonlyMap<string, string>;
  readonly middleware: Pick<MiddlewaresOptions, "folder" | "reply"> & { readonly applies: AppliesTo };
  readonly shared: RateLimitsContext["shared"];
  readonly rules: TelemetryRules;
  readonly accessFormat: AccessFormat | null;
  readonly logs: RequestTelemetryOptions["logs"];
  readonly tracing: RequestTelemetryOptions["tracing"];
}

type TrafficStages = Omit<Stages, keyof AuthStages>;

export class Traffic {
  readonly stages: TrafficStages;
  readonly clusters: Clusters;
  readonly attempts: Attempts;
  readonly mirrors: Mirrors;
  readonly middlewares: Middlewares;
  readonly #options: TrafficOptions;
  readonly #routes: RouteStages;
  readonly #limits: RateLimits;
  readonly #telemetry: RequestTelemetry;
  #plan: TrafficPlan = noTraffic;
  /** By service key; "" for what is of all services. Made of the plan. */
  #limitsOf = new Map<string, readonly RateLimit[]>();

  constructor(options: TrafficOptions) {
    this.#options = options;
    const { clock, random, logger, metrics, store, labels } = options;
    const dice = () => random.float();
    this.#routes = new RouteStages(noTraffic, clock, random);
    this.#telemetry = new RequestTelemetry({
      clock,
      random,
      logger,
      metrics,
      format: options.accessFormat,
      rule: (downstream) => options.rules.of(downstream),
      logs: options.logs,
      tracing: options.tracing,
    });
    this.clusters = new Clusters({
      clock,
      store,
      labels,
      plan: (service) => this.#plan.destinations.get(service) ?? null,
      events: ejections(logger, metrics),
    });
    const affinity = new Affinity(clock, random);
    this.mirrors = new Mirrors({
      clock,
      random: dice,
      clusters: this.clusters,
      chosen: ({ rule }) => (rule === null ? [] : chooseMirrors(rule.mirrors, dice)),
    });
    this.attempts = new Attempts({
      clock,
      random: dice,
      clusters: this.clusters,
      hash: (exchange, policy) => affinity.hash(exchange, policy),
      session: (exchange) => affinity.session(exchange),
      answered: (exchange, hostKey) => affinity.answered(exchange, hostKey),
      mirror: (exchange, forward) => this.mirrors.send(exchange, forward),
    });
    this.#limits = new RateLimits({
      clock,
      logger,
      limits: (exchange) => this.#limitsFor(exchange),
      matches: requestMatcher,
      shared: options.shared,
    });
    this.middlewares = new Middlewares({
      ...options.middleware,
      clock,
      logger,
      metrics,
      files: options.files,
      process: options.process,
      traceId: (exchange) => this.#telemetry.traceId(exchange),
    });
    this.stages = this.#makeStages();
  }

  /** Requests that are under way go on by what they began with. */
  update(plan: TrafficPlan, middleware: readonly MiddlewareDocument[]): void {
    this.#plan = plan;
    this.#routes.update(plan);
    this.#limits.keepOnly(plan.rateLimits);
    this.#limitsOf = byTarget(plan.rateLimits);
    void this.middlewares.update(middleware);
  }

  close(): void {
    this.middlewares.close();
  }

  #makeStages(): TrafficStages {
    const { applies } = this.#options.middleware;
    return {
      begin: (exchange) => this.#telemetry.begin(exchange),
      end: (exchange) => {
        this.attempts.ended(exchange);
        this.#telemetry.end(exchange);
      },
      middleware: (exchange) => this.middlewares.chain(exchange, applies),
      route: this.#routes.route,
      limit: (exchange) => this.#limits.stage(exchange),
      rewrite: this.#routes.rewrite,
      fault: this.#routes.fault,
      attempt: (exchange, forward) => this.attempts.run(exchange, forward),
      respond: (exchange) => {
        this.#routes.respond(exchange);
        exchange.response?.fields.push(...(exchange.permit?.grounds.responseFields ?? []));
        this.#telemetry.answering(exchange);
      },
      connect: (downstream) => this.#connect(downstream),
    };
  }

  #limitsFor({ downstream }: Exchange): readonly RateLimit[] {
    if (this.#limitsOf.size === 0) return noLimits;
    const { service, place } = downstream;
    if (place.side !== "waypoint") {
      const keys = enforcedServices(downstream).map(serviceKey);
      return keys.length === 0
        ? noLimits
        : [...new Set(keys.flatMap((key) => this.#limitsOf.get(key) ?? []))];
    }
    const ofAll = this.#limitsOf.get("") ?? noLimits;
    const own = service === null ? noLimits : (this.#limitsOf.get(serviceKey(service)) ?? noLimits);
    return ofAll.length === 0 ? own : own.length === 0 ? ofAll : [...ofAll, ...own];
  }

  /** A connection that is not HTTP: one endpoint, chosen once. */
  #connect(downstream: Downstream): Endpoint | LocalReply {
    const { service, workload, destination: called, waypoint } = downstream;
    if (workload !== null) return { workload, port: called.port, service: null, servicePort: called.port };
    const destination = streamDestination(this.#plan, downstream, () => this.#options.random.float());
    if (destination === null)
      return localReply(
        503,
        "UH",
        "",
        `no route of ${service?.hostname ?? "?"}:${called.port} leads anywhere`,
      );
    const cluster = this.clusters.of(destination, waypoint);
    const host = cluster?.choose({
      hash: null,
      tried: [],
      remoteLocalities: false,
      random: () => this.#options.random.float(),
      now: this.#options.clock.now(),
    });
    if (host === undefined || host === null)
      return localReply(503, "UH", "", `no healthy endpoint for ${destination.service}:${destination.port}`);
    const { workload: chosen, targetPort } = host.endpoint;
    const target = this.clusters.serviceOf(destination.service);
    return {
      ...{ workload: chosen, port: targetPort, service: target, servicePort: destination.port },
      ...(cluster === null ? {} : { policy: cluster.policy, circuit: cluster.circuit }),
    };
  }
}

const noLimits: readonly RateLimit[] = [];

function byTarget(limits: readonly RateLimit[]): Map<string, readonly RateLimit[]> {
  const found = new Map<string, RateLimit[]>();
  for (const limit of limits)
    for (const target of limit.targets) {
      const key = target.kind === "service" ? target.service : "";
      const list = found.get(key) ?? [];
      if (!list.includes(limit)) list.push(limit);
      found.set(key, list);
    }
  return found;
}

function ejections(logger: Logger, metrics: MetricRegistry) {
  const counted = metrics.counter(
    "fairlead_waypoint_ejections",
    "Endpoints left out for what they answered",
    ["cause"],
  );
  return {
    onEjected: ({ endpoint }: { readonly endpoint: { readonly workload: Workload } }, cause: string) => {
      counted.with({ cause }).add(1);
      const { namespace, name } = endpoint.workload;
      logger.log("warn", "outlier", "an endpoint is left out for a while", {
        workload: `${namespace}/${name}`,
        cause,
      });
    },
    onReturned: ({ endpoint }: { readonly endpoint: { readonly workload: Workload } }) => {
      const { namespace, name } = endpoint.workload;
      logger.log("info", "outlier", "an endpoint is used again", { workload: `${namespace}/${name}` });
    },
  };
}
