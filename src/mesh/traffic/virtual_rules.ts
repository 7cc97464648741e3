/** VirtualServices → rules of one port of a service (Istio `waypointInboundRoute`, `TranslateRoute`, `getWaypointTCPRoutes`). */
import type { VirtualServiceDocument } from "../documents/document.ts";
import type { VirtualL4Route, VirtualScope } from "../documents/traffic_specs.ts";
import type { Service } from "../service.ts";
import { type OwnedRoute, withDelegates } from "./delegates.ts";
import type { Destinations } from "./destinations.ts";
import {
  defaultRetryPolicy,
  type HttpAction,
  type HttpMatch,
  type HttpRule,
  noHeaderChanges,
  type RetryPolicy,
  type Rewrite,
  type TcpRule,
  type TlsRule,
} from "./route_plan.ts";
import { byAge, HostIndex } from "./service_lookup.ts";
import { mayRoute, type TrafficReport, type TrafficScope } from "./traffic_scope.ts";

export class VirtualRules {
  readonly #all: readonly VirtualServiceDocument[];
  readonly #scope: TrafficScope;
  readonly #destinations: Destinations;
  readonly #report: TrafficReport;
  readonly #byHost: HostIndex<VirtualServiceDocument>;
  readonly #http = new Map<VirtualServiceDocument, Map<number, readonly HttpRule[]>>();
  readonly #routes = new Map<VirtualServiceDocument, readonly OwnedRoute[]>();

  constructor(
    documents: readonly VirtualServiceDocument[],
    scope: TrafficScope,
    destinations: Destinations,
    report: TrafficReport,
  ) {
    this.#all = byAge(documents);
    this.#byHost = new HostIndex(this.#all, ({ spec }) => spec.hosts.map(({ value }) => value));
    this.#scope = scope;
    this.#destinations = destinations;
    this.#report = report;
  }

  /** Those that route the service, in the order in which their rules follow each other: private ones first (Istio `SelectVirtualServices`). */
  of(service: Service): readonly VirtualServiceDocument[] {
    const { waypoint } = this.#scope;
    const mine = this.#byHost.of(service).filter(({ metadata, spec }) => {
      const isSeen =
        spec.exportTo === null || waypoint === null || spec.exportTo.includes(waypoint.namespace);
      return spec.appliesToMesh && isSeen && mayRoute(metadata.namespace, service, this.#scope);
    });
    const isPrivate = ({ spec }: VirtualServiceDocument) => spec.exportTo !== null;
    return [...mine.filter(isPrivate), ...mine.filter((document) => !isPrivate(document))];
  }

  /** The same list for every service that the document routes: a wildcard may stand for thousands. */
  http(root: VirtualServiceDocument, port: number): readonly HttpRule[] {
    const byPort = this.#http.get(root) ?? new Map<number, readonly HttpRule[]>();
    this.#http.set(root, byPort);
    const known = byPort.get(port);
    if (known !== undefined) return known;
    const rules = this.#httpRules(root, port);
    byPort.set(port, rules);
    return rules;
  }

  #httpRules(root: VirtualServiceDocument, port: number): readonly HttpRule[] {
    const rules: HttpRule[] = [];
    for (const [index, owned] of this.#routesOf(root).entries()) {
      const rule = this.#httpRule(root, owned, index, port);
      if (rule === null) continue;
      rules.push(rule);
      // What follows is never reached.
      if (rule.matches.length === 0) break;
    }
    return rules;
  }

  tcp(root: VirtualServiceDocument, port: number): readonly TcpRule[] {
    return root.spec.tcp.flatMap((route, index): TcpRule[] => {
      const matches = this.#l4Matches(route, port);
      if (matches === null) return [];
      return [
        {
          name: `${root.metadata.namespace}/${root.metadata.name}.tcp.${index}`,
          location: route.at,
          matches: matches.map(({ at, destinationSubnets }) => ({ destinationSubnets, location: at })),
          destinations: this.#destinations.weighted(root, route.route, port),
        },
      ];
    });
  }

  tls(root: VirtualServiceDocument, port: number): readonly TlsRule[] {
    return root.spec.tls.flatMap((route, index): TlsRule[] => {
      const matches = this.#l4Matches(route, port);
      if (matches === null) return [];
      return [
        {
          name: `${root.metadata.namespace}/${root.metadata.name}.tls.${index}`,
          location: route.at,
          matches: matches.map(({ at, sniHosts, destinationSubnets }) => ({
            sniHosts,
            destinationSubnets,
            location: at,
          })),
          destinations: this.#destinations.weighted(root, route.route, port),
        },
      ];
    });
  }

  #routesOf(root: VirtualServiceDocument): readonly OwnedRoute[] {
    const known = this.#routes.get(root);
    if (known !== undefined) return known;
    const routes = withDelegates(root, this.#all, this.#report);
    this.#routes.set(root, routes);
    return routes;
  }

  /** Null when none of its matches is for this port and waypoint. */
  #httpRule(
    root: VirtualServiceDocument,
    { route, document }: OwnedRoute,
    index: number,
    port: number,
  ): HttpRule | null {
    const applicable = route.matches.filter(({ scope }) => this.#applies(scope, port));
    if (route.matches.length > 0 && applicable.length === 0) return null;
    const matches = applicable.map(({ match }) => match);
    const everything = matches.some(isEverything);
    const destinations = this.#destinations.weighted(document, route.route, port);
    const action: HttpAction =
      route.redirect !== null
        ? { kind: "redirect", redirect: route.redirect }
        : route.answer !== null
          ? { kind: "answer", ...route.answer, contentType: "text/plain" }
          : { kind: "forward", destinations };
    return {
      name: route.name ?? `${root.metadata.namespace}/${root.metadata.name}.http.${index}`,
      location: route.at,
      matches: everything && matches.length === 1 ? [] : matches,
      action,
      rewrite: rewriteOf(route.rewrite, route.headers?.authority ?? null),
      headers:
        route.headers === null
          ? noHeaderChanges
          : { request: route.headers.request, response: route.headers.response },
      timeoutMs: route.timeoutMs,
      retries: retriesOf(route.retries),
      fault: route.fault,
      mirrors: (route.mirrors ?? []).flatMap(({ destination, percent }) => {
        const to = this.#destinations.ofVirtual(document, destination, port);
        return to.missing === null && percent > 0 ? [{ destination: to, percent }] : [];
      }),
      cors: route.cors,
      session: null,
    };
  }

  #isClient(wanted: VirtualScope["sourceLabels"]): boolean {
    const labels = this.#scope.waypoint?.client?.labels;
    if (labels === undefined) return wanted.size === 0;
    for (const [name, value] of wanted) if (labels.get(name) !== value) return false;
    return true;
  }

  #l4Matches({ matches }: VirtualL4Route, port: number): VirtualL4Route["matches"] | null {
    const applicable = matches.filter(({ scope }) => this.#applies(scope, port));
    return matches.length > 0 && applicable.length === 0 ? null : applicable;
  }

  /** As a waypoint of Istio's sees it: labels of clients are not known to it, but to their own tunnels, and `sourceNamespace` is compared with its own. */
  #applies(
    { port: wanted, appliesToMesh, sourceLabels, sourceNamespace }: VirtualScope,
    port: number,
  ): boolean {
    const { waypoint } = this.#scope;
    return (
      (wanted === null || wanted === port) &&
      appliesToMesh !== false &&
      this.#isClient(sourceLabels) &&
      (sourceNamespace === null || waypoint === null || sourceNamespace === waypoint.namespace)
    );
  }
}

/** A match that asks for nothing, or for a path as every path is (Istio `IsCatchAllRoute`). */
function isEverything(match: HttpMatch): boolean {
  const { path, method, scheme, authority, headers, withoutHeaders, query } = match;
  const anyPath = path === null || (path.kind === "prefix" && path.value === "");
  const others = [method, scheme, authority].every((one) => one === null);
  return anyPath && others && headers.length + withoutHeaders.length + query.length === 0;
}

function rewriteOf(rewrite: Rewrite | null, authority: string | null): Rewrite | null {
  if (authority === null) return rewrite;
  return { path: rewrite?.path ?? null, authority: rewrite?.authority ?? authority };
}

export function retriesOf(retries: RetryPolicy | null | "unset"): RetryPolicy | null {
  return retries === "unset" ? defaultRetryPolicy : retries;
}
