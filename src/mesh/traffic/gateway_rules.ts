/** Routes of the Gateway API → rules of one port of a service, in the order that the specification gives (`HTTPRouteRule.matches`). */
import type { HttpRouteDocument, L4RouteDocument } from "../documents/document.ts";
import type { GatewayHttpRule } from "../documents/traffic_specs.ts";
import { type Service, serviceKey } from "../service.ts";
import type { Destinations } from "./destinations.ts";
import type { HttpAction, HttpMatch, HttpRule, TcpRule, TlsRule } from "./route_plan.ts";
import { byAge, type ServiceLookup } from "./service_lookup.ts";
import { mayRoute, type TrafficScope } from "./traffic_scope.ts";
import { retriesOf } from "./virtual_rules.ts";

export class GatewayRules {
  /** By the key of a service that is a parent. */
  readonly #http: ReadonlyMap<string, readonly Attachment<HttpRouteDocument>[]>;
  readonly #l4: ReadonlyMap<string, readonly Attachment<L4RouteDocument>[]>;
  readonly #scope: TrafficScope;
  readonly #destinations: Destinations;

  constructor(
    http: readonly HttpRouteDocument[],
    l4: readonly L4RouteDocument[],
    scope: TrafficScope,
    lookup: ServiceLookup,
    destinations: Destinations,
  ) {
    this.#http = attachments(byAge(http), lookup);
    this.#l4 = attachments(byAge(l4), lookup);
    this.#scope = scope;
    this.#destinations = destinations;
  }

  /** Those that are attached to the service and port, the oldest first. */
  httpRoutes(service: Service, port: number): readonly HttpRouteDocument[] {
    return this.#attached(this.#http, service, port);
  }

  http(documents: readonly HttpRouteDocument[]): readonly HttpRule[] {
    const ranked = documents.flatMap((document) =>
      document.spec.rules.flatMap((rule, index) =>
        this.#httpRules(document, rule, index).map((made) => ({ rule: made, rank: rankOf(document, made) })),
      ),
    );
    // Stable: of equals the older document's, and in it the first, comes first.
    return ranked.sort((a, b) => compareRanks(a.rank, b.rank)).map(({ rule }) => rule);
  }

  tcp(service: Service, port: number): readonly TcpRule[] {
    return this.#attached(this.#l4, service, port).flatMap((document) => {
      if (document.kind !== "TCPRoute") return [];
      return document.spec.rules.map((rule, index) => ({
        name: rule.name ?? `${document.metadata.namespace}/${document.metadata.name}.rules.${index}`,
        location: rule.at,
        matches: [],
        destinations: this.#destinations.weightedBackends(document, rule.backends, rule.at),
      }));
    });
  }

  tls(service: Service, port: number): readonly TlsRule[] {
    return this.#attached(this.#l4, service, port).flatMap((document) => {
      if (document.kind !== "TLSRoute") return [];
      const { hostnames, rules } = document.spec;
      return rules.map((rule, index) => ({
        name: rule.name ?? `${document.metadata.namespace}/${document.metadata.name}.rules.${index}`,
        location: rule.at,
        matches:
          hostnames.length === 0
            ? []
            : [
                {
                  sniHosts: hostnames.map(({ value }) => value),
                  destinationSubnets: [],
                  location: document.location,
                },
              ],
        destinations: this.#destinations.weightedBackends(document, rule.backends, rule.at),
      }));
    });
  }

  #attached<T extends HttpRouteDocument | L4RouteDocument>(
    all: ReadonlyMap<string, readonly Attachment<T>[]>,
    service: Service,
    port: number,
  ): readonly T[] {
    const found = new Set<T>();
    for (const attachment of all.get(serviceKey(service)) ?? []) {
      const { document } = attachment;
      if (attachment.port !== null && attachment.port !== port) continue;
      if (mayRoute(document.metadata.namespace, service, this.#scope)) found.add(document);
    }
    return [...found];
  }

  /** One for each match, since each has its own place in the order. */
  #httpRules(document: HttpRouteDocument, rule: GatewayHttpRule, index: number): readonly HttpRule[] {
    const action: HttpAction =
      rule.redirect !== null
        ? { kind: "redirect", redirect: rule.redirect }
        : {
            kind: "forward",
            destinations: this.#destinations.weightedBackends(document, rule.backends, rule.at),
          };
    const name = rule.name ?? `${document.metadata.namespace}/${document.metadata.name}.rules.${index}`;
    const common = {
      location: rule.at,
      action,
      rewrite: rule.rewrite,
      headers: rule.headers,
      timeoutMs: rule.timeoutMs,
      retries: retriesOf(rule.retries),
      fault: null,
      mirrors: rule.mirrors.flatMap(({ backend, percent }) => {
        const destination = this.#destinations.ofBackend(document, backend);
        return destination.missing === null && percent > 0 ? [{ destination, percent }] : [];
      }),
      cors: rule.cors,
      session: rule.session,
    };
    if (rule.matches.length === 0) return [{ ...common, name, matches: [] }];
    return rule.matches.map((match, i) => ({
      ...common,
      name: rule.matches.length === 1 ? name : `${name}.${i}`,
      matches: [match],
    }));
  }
}

interface Attachment<T> {
  readonly document: T;
  /** Null: every port. */
  readonly port: number | null;
}

function attachments<T extends HttpRouteDocument | L4RouteDocument>(
  documents: readonly T[],
  lookup: ServiceLookup,
): ReadonlyMap<string, readonly Attachment<T>[]> {
  const all = new Map<string, Attachment<T>[]>();
  for (const document of documents)
    for (const parent of document.spec.parents)
      for (const service of lookup.byRef(parent, document.metadata.namespace)) {
        const list = all.get(serviceKey(service)) ?? [];
        all.set(serviceKey(service), list);
        list.push({ document, port: parent.port });
      }
  return all;
}

const ranks = { exact: 3, segments: 2, prefix: 2, regex: 1 } as const;
/** No match at all is the prefix `/`. */
const everything = { path: null, method: null, headers: [], query: [] } as const;

type Rank = readonly number[];

/** By what the specification compares, in its order; a larger number comes first. */
function rankOf({ kind }: HttpRouteDocument, { matches }: HttpRule): Rank {
  const { path, method, headers, query } = matches[0] ?? everything;
  const byPath = kind === "GRPCRoute" ? grpcPathRank(path) : httpPathRank(path);
  return [...byPath, method === null ? 0 : 1, headers.length, query.length];
}

/** Of a regular expression the length is no measure of how much it takes, but the specification leaves it open, and Istio goes by it. */
function httpPathRank(path: HttpMatch["path"]): Rank {
  return [ranks[path?.kind ?? "segments"], path?.value.length ?? 1, 0];
}

/** `GRPCRouteRule.matches`: characters of the service, then of the method. What names neither takes every call, and comes last. */
function grpcPathRank(path: HttpMatch["path"]): Rank {
  if (path === null) return [0, 0, 0];
  const { service, method } = /^\/(?<service>.*)\/(?<method>.*)$/.exec(path.value)?.groups ?? {};
  const anyName = "[^/]+";
  const lengthOf = (name = "") => (name === anyName ? 0 : name.length);
  // The slash within `[^/]+` is not the one between the two.
  if (path.kind === "regex" && path.value.endsWith(`/${anyName}`))
    return [ranks.regex, path.value.length - anyName.length - 2, 0];
  return [ranks[path.kind], lengthOf(service), lengthOf(method)];
}

function compareRanks(a: Rank, b: Rank): number {
  for (const [index, one] of a.entries()) {
    const other = b[index] ?? 0;
    if (one !== other) return other - one;
  }
  return 0;
}
