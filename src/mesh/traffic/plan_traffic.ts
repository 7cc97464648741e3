/** Documents and services → what one waypoint does with traffic, as istiod makes it for Istio's waypoints. Pure. */

import { inSteps } from "../../base/turns/steps.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type {
  DestinationRuleDocument,
  HttpRouteDocument,
  L4RouteDocument,
  MeshDocument,
  RateLimitDocument,
  VirtualServiceDocument,
} from "../documents/document.ts";
import { formatLocation } from "../location.ts";
import { type Service, serviceKey } from "../service.ts";
import { sameValue } from "../store/change.ts";
import { DestinationPlans } from "./destination_plans.ts";
import type { DestinationPlan, DestinationPolicy } from "./destination_policy.ts";
import { Destinations } from "./destinations.ts";
import { GatewayRules } from "./gateway_rules.ts";
import type { RateLimit, RateLimitTarget } from "./rate_limit.ts";
import type { HttpRule, RoutePlan } from "./route_plan.ts";
import { ServiceLookup } from "./service_lookup.ts";
import { noTraffic, routeKey, type TrafficPlan } from "./traffic_plan.ts";
import type { TrafficReport, TrafficScope } from "./traffic_scope.ts";
import { VirtualRules } from "./virtual_rules.ts";

/**
 * @param documents all that were accepted, whatever their kind.
 * @param previous what did not change is the same value as in it: what is compiled of it, and what is known of endpoints, stays.
 */
export function planTraffic(
  documents: readonly MeshDocument[],
  services: readonly Service[],
  scope: TrafficScope,
  report: TrafficReport,
  previous: TrafficPlan = noTraffic,
): TrafficPlan {
  return runSteps(planTrafficInSteps(documents, services, scope, report, previous));
}

/** The same, in steps short enough to let connections have their turn in between. */
export function* planTrafficInSteps(
  documents: readonly MeshDocument[],
  services: readonly Service[],
  scope: TrafficScope,
  report: TrafficReport,
  previous: TrafficPlan,
): Generator<void, TrafficPlan> {
  const lookup = new ServiceLookup(services, documents);
  const of = <Kind extends MeshDocument["kind"]>(...kinds: readonly Kind[]) =>
    documents.filter((document): document is Extract<MeshDocument, { kind: Kind }> =>
      kinds.some((kind) => kind === document.kind),
    );
  const virtualServices = of("VirtualService");
  const httpRoutes = documents.filter(isHttpRoute);
  const l4Routes = documents.filter(isL4Route);
  const rules = of("DestinationRule");
  yield;
  warnUnattached(virtualServices, [...httpRoutes, ...l4Routes], rules, lookup, scope, report);
  yield;
  const plans = new DestinationPlans(rules, of("BackendTLSPolicy"), scope, lookup, report);
  yield;
  const destinations = new Destinations(lookup, plans.of, of("ReferenceGrant"), report);
  const virtual = new VirtualRules(virtualServices, scope, destinations, report);
  yield;
  const gateway = new GatewayRules(httpRoutes, l4Routes, scope, lookup, destinations);
  const keeper = new Keeper();
  const routes = new Map<string, RoutePlan>();
  const both = new Set<HttpRouteDocument>();
  for (const service of services) {
    if (!scope.serves(service)) continue;
    yield;
    const mine = virtual.of(service);
    for (const port of service.ports.keys()) {
      const key = routeKey(serviceKey(service), port);
      const attached = gateway.httpRoutes(service, port);
      warnBoth(mine, attached, service, both, report);
      const lists: (readonly HttpRule[])[] = [];
      for (const document of mine) {
        yield;
        lists.push(virtual.http(document, port));
      }
      lists.push(gateway.http(attached));
      const plan: RoutePlan = {
        service: serviceKey(service),
        port,
        http: joined(lists),
        tls: [...mine.flatMap((document) => virtual.tls(document, port)), ...gateway.tls(service, port)],
        tcp: [...mine.flatMap((document) => virtual.tcp(document, port)), ...gateway.tcp(service, port)],
      };
      if (plan.http.length + plan.tls.length + plan.tcp.length > 0)
        routes.set(key, keeper.plan(previous.routes.get(key), plan));
    }
  }
  const destinationPlans = new Map<string, DestinationPlan>();
  const plan = (service: Service): void => {
    const made = plans.of(service);
    if (made.locations.length > 0 || [...made.ports.values()].some(({ tls }) => tls !== null))
      destinationPlans.set(made.service, keptPlan(previous.destinations.get(made.service), made));
  };
  yield* inSteps(services, plan, servicesPerStep);
  const before = new Map(previous.rateLimits.map((limit) => [limit.key, limit]));
  const limits: RateLimit[] = [];
  yield* inSteps(of("RateLimit"), (document) => {
    const limit = rateLimitOf(document, lookup, scope, report);
    if (limit !== null) limits.push(kept(before.get(limit.key), limit));
  });
  return { routes, destinations: destinationPlans, rateLimits: limits };
}

/** What is planned of one may be some milliseconds. */
const servicesPerStep = 10;

/** One list alone stays what it is: whatever is compiled of it serves all services that have it. */
function joined(lists: readonly (readonly HttpRule[])[]): readonly HttpRule[] {
  const [only, second] = lists.filter((list) => list.length > 0);
  return second === undefined ? (only ?? []) : lists.flat();
}

/** Compares lists of rules once for all services that share them. */
class Keeper {
  readonly #lists = new Map<
    readonly HttpRule[],
    { before: readonly HttpRule[]; kept: readonly HttpRule[] }
  >();

  plan(before: RoutePlan | undefined, now: RoutePlan): RoutePlan {
    if (before === undefined) return now;
    const known = this.#lists.get(now.http);
    const http = known?.before === before.http ? known.kept : kept(before.http, now.http);
    this.#lists.set(now.http, { before: before.http, kept: http });
    const isSame = http === before.http && sameValue(before.tls, now.tls) && sameValue(before.tcp, now.tcp);
    return isSame ? before : { ...now, http };
  }
}

function isHttpRoute(document: MeshDocument): document is HttpRouteDocument {
  return document.kind === "HTTPRoute" || document.kind === "GRPCRoute";
}

function isL4Route(document: MeshDocument): document is L4RouteDocument {
  return document.kind === "TCPRoute" || document.kind === "TLSRoute";
}

function kept<T>(before: T | undefined, now: T): T {
  return before !== undefined && sameValue(before, now) ? before : now;
}

/** Policies each by themselves: a subset that comes must not make all others' endpoints be learned again. */
function keptPlan(before: DestinationPlan | undefined, now: DestinationPlan): DestinationPlan {
  if (before === undefined) return now;
  const ports = keptPolicies(before.ports, now.ports);
  const subsets = new Map(
    [...now.subsets].map(([name, subset]) => {
      const old = before.subsets.get(name);
      return [
        name,
        old === undefined ? subset : kept(old, { ...subset, ports: keptPolicies(old.ports, subset.ports) }),
      ];
    }),
  );
  return kept(before, { ...now, ports, subsets });
}

function keptPolicies(
  before: ReadonlyMap<number, DestinationPolicy>,
  now: ReadonlyMap<number, DestinationPolicy>,
): ReadonlyMap<number, DestinationPolicy> {
  return new Map([...now].map(([port, policy]) => [port, kept(before.get(port), policy)]));
}

/** Null when no target of it is this waypoint's. */
function rateLimitOf(
  document: RateLimitDocument,
  lookup: ServiceLookup,
  scope: TrafficScope,
  report: TrafficReport,
): RateLimit | null {
  const { namespace, name } = document.metadata;
  const { waypoint } = scope;
  const targets = document.spec.targets.flatMap(({ value, at }): RateLimitTarget[] => {
    const [kind = "", target = ""] = value.split(" ");
    const isOurs =
      waypoint !== null &&
      (kind === "Gateway"
        ? waypoint.gateways.includes(`${namespace}/${target}`)
        : namespace === scope.rootNamespace && target === "istio-waypoint");
    if (kind === "Gateway" || kind === "GatewayClass") return isOurs ? [{ kind: "waypoint" }] : [];
    const services = lookup.byName(namespace, target);
    if (services.length === 0)
      report.warn(document, "Unresolved", `there is no ${kind} ${namespace}/${target}`, at);
    return services
      .filter(waypoint?.client?.limits ?? scope.serves)
      .map((service) => ({ kind: "service", service: serviceKey(service) }));
  });
  if (targets.length === 0) return null;
  const { rules, store, headers, dryRun } = document.spec;
  return { key: `${namespace}/${name}`, location: document.location, targets, rules, store, headers, dryRun };
}

function warnUnattached(
  virtualServices: readonly VirtualServiceDocument[],
  routes: readonly (HttpRouteDocument | L4RouteDocument)[],
  rules: readonly DestinationRuleDocument[],
  lookup: ServiceLookup,
  scope: TrafficScope,
  report: TrafficReport,
): void {
  // Once, by who checks documents, and not by each waypoint again.
  if (scope.waypoint !== null) return;
  for (const document of virtualServices) {
    const { namespace } = document.metadata;
    for (const { value, at } of document.spec.hosts)
      if (!lookup.covers(value, namespace))
        report.warn(document, "Unresolved", `no service is called ${value}`, at);
  }
  for (const document of rules) {
    const { host } = document.spec;
    if (!lookup.covers(host.value, document.metadata.namespace))
      report.warn(document, "Unresolved", `no service is called ${host.value}`, host.at);
  }
  for (const document of routes)
    for (const parent of document.spec.parents)
      if (lookup.byRef(parent, document.metadata.namespace).length === 0)
        report.warn(
          document,
          "Unresolved",
          `there is no ${parent.kind} ${parent.namespace ?? document.metadata.namespace}/${parent.name}`,
          parent.at,
        );
}

function warnBoth(
  virtual: readonly VirtualServiceDocument[],
  routes: readonly HttpRouteDocument[],
  service: Service,
  told: Set<HttpRouteDocument>,
  report: TrafficReport,
): void {
  const first = virtual.find(({ spec }) => spec.http.length > 0);
  if (first === undefined) return;
  for (const route of routes) {
    if (told.has(route)) continue;
    told.add(route);
    report.warn(
      route,
      "Ignored",
      `${service.hostname} has routes of ${first.metadata.key} too (${formatLocation(first.location)}), and those come first`,
    );
  }
}
