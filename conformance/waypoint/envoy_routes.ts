/** A route plan as Envoy's own configuration, field by field as istiod translates it (`pilot/pkg/networking/core/route/route.go`). */
import type {
  CorsPolicy,
  HeaderChanges,
  HeaderValue,
  HttpMatch,
  HttpRule,
  PathRewrite,
  Redirect,
  RoutePlan,
  TextMatch,
  WeightedDestination,
} from "../../src/mesh/traffic/route_plan.ts";

type Json = { readonly [name: string]: unknown };

export interface EnvoyPlace {
  readonly plan: RoutePlan;
  readonly port: number;
}

/** @param clusterOf null: none, which Envoy answers with 503. */
export function envoyConfig(
  places: readonly EnvoyPlace[],
  address: string,
  clusters: Readonly<Record<string, { readonly address: string; readonly port: number }>>,
  clusterOf: (destination: WeightedDestination) => string | null,
): Json {
  return {
    static_resources: {
      listeners: places.map(({ plan, port }) => ({
        name: plan.service,
        address: { socket_address: { address, port_value: port } },
        filter_chains: [{ filters: [connectionManager(plan, clusterOf)] }],
      })),
      clusters: Object.entries(clusters).map(([name, { address: host, port }]) => ({
        name,
        type: "STATIC",
        connect_timeout: "2s",
        load_assignment: {
          cluster_name: name,
          endpoints: [
            {
              lb_endpoints: [
                { endpoint: { address: { socket_address: { address: host, port_value: port } } } },
              ],
            },
          ],
        },
      })),
    },
  };
}

const types = {
  manager:
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  router: "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
  fault: "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
  cors: "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors",
  corsPolicy: "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
} as const;

function connectionManager(plan: RoutePlan, clusterOf: (to: WeightedDestination) => string | null): Json {
  return {
    name: "envoy.filters.network.http_connection_manager",
    typed_config: {
      "@type": types.manager,
      stat_prefix: "routes",
      normalize_path: true,
      route_config: {
        validate_clusters: false,
        virtual_hosts: [
          { name: "all", domains: ["*"], routes: plan.http.flatMap((rule) => routesOf(rule, clusterOf)) },
        ],
      },
      http_filters: [
        { name: "envoy.filters.http.fault", typed_config: { "@type": types.fault } },
        { name: "envoy.filters.http.cors", typed_config: { "@type": types.cors } },
        { name: "envoy.filters.http.router", typed_config: { "@type": types.router } },
      ],
    },
  };
}

function routesOf(rule: HttpRule, clusterOf: (to: WeightedDestination) => string | null): readonly Json[] {
  const matches = rule.matches.length === 0 ? [null] : rule.matches;
  return matches.map((match) => {
    const perFilter = {
      ...(rule.cors === null ? {} : { "envoy.filters.http.cors": cors(rule.cors) }),
      ...(rule.fault?.abort == null
        ? {}
        : {
            "envoy.filters.http.fault": {
              "@type": types.fault,
              abort: {
                http_status: rule.fault.abort.httpStatus,
                percentage: { numerator: rule.fault.abort.percent * 10_000, denominator: "MILLION" },
              },
            },
          }),
    };
    return {
      match: matchOf(match),
      ...actionOf(rule, match, clusterOf),
      ...headers(rule.headers),
      typed_per_filter_config: perFilter,
    };
  });
}

function matchOf(match: HttpMatch | null): Json {
  if (match === null) return { prefix: "/" };
  const named = (name: string, text: TextMatch, more: Json = {}): Json => ({
    name,
    ...textOf(text),
    ...more,
  });
  const whole = (name: string, text: TextMatch | null) => (text === null ? [] : [named(name, text)]);
  return {
    ...pathOf(match),
    case_sensitive: !match.ignorePathCase,
    headers: [
      ...match.headers.map((one) => named(one.name, one.match)),
      ...match.withoutHeaders.map((one) =>
        named(one.name, one.match, {
          invert_match: true,
          ...(one.match.kind === "present" ? {} : { treat_missing_header_as_empty: true }),
        }),
      ),
      ...whole(":method", match.method),
      ...whole(":authority", match.authority),
      ...whole(":scheme", match.scheme),
    ],
    query_parameters: match.query.map(({ name, match: text }) =>
      text.kind === "present" ? { name, present_match: true } : { name, string_match: stringOf(text) },
    ),
  };
}

function pathOf({ path }: HttpMatch): Json {
  if (path === null) return { prefix: "/" };
  switch (path.kind) {
    case "exact":
      return { path: path.value };
    case "prefix":
      return { prefix: path.value };
    case "regex":
      return { safe_regex: { regex: path.value } };
    case "segments":
      return path.value === "/" ? { prefix: "/" } : { path_separated_prefix: path.value.replace(/\/$/, "") };
  }
}

function textOf(text: TextMatch): Json {
  return text.kind === "present" ? { present_match: true } : { string_match: stringOf(text) };
}

function stringOf(text: Exclude<TextMatch, { readonly kind: "present" }>): Json {
  return text.kind === "regex" ? { safe_regex: { regex: text.value } } : { [text.kind]: text.value };
}

function actionOf(
  rule: HttpRule,
  match: HttpMatch | null,
  clusterOf: (to: WeightedDestination) => string | null,
): Json {
  const { action } = rule;
  if (action.kind === "answer") {
    const body =
      action.body.length === 0 ? {} : { body: { inline_string: new TextDecoder().decode(action.body) } };
    return { direct_response: { status: action.status, ...body } };
  }
  if (action.kind === "redirect") return { redirect: redirectOf(action.redirect, match) };
  const [only] = action.destinations;
  const route: Json = {
    ...(action.destinations.length === 1 && only !== undefined
      ? { cluster: clusterOf(only) ?? "nowhere" }
      : {
          weighted_clusters: {
            clusters: action.destinations.map((to) => ({
              name: clusterOf(to) ?? "nowhere",
              weight: to.weight,
            })),
          },
        }),
    ...(rule.rewrite?.path == null ? {} : rewriteOf(rule.rewrite.path, match)),
    ...(rule.rewrite?.authority == null ? {} : { host_rewrite_literal: rule.rewrite.authority }),
    timeout: "0s",
  };
  return { route };
}

function rewriteOf(rewrite: PathRewrite, match: HttpMatch | null): Json {
  switch (rewrite.kind) {
    case "prefix":
      return { prefix_rewrite: rewrite.value };
    case "regex":
      return { regex_rewrite: { pattern: { regex: rewrite.pattern }, substitution: rewrite.substitution } };
    case "full":
      return { regex_rewrite: { pattern: { regex: "^.*$" }, substitution: rewrite.value } };
    case "segments": {
      // As istiod: a prefix that is taken away leaves the slash.
      const prefix = (match?.path?.kind === "segments" ? match.path.value : "").replace(/\/$/, "");
      const value = rewrite.value.replace(/\/$/, "");
      if (value !== "") return { prefix_rewrite: value };
      return { regex_rewrite: { pattern: { regex: `^${prefix}(/?)(.*)` }, substitution: "/\\2" } };
    }
  }
}

const redirectCodes = {
  301: "MOVED_PERMANENTLY",
  302: "FOUND",
  303: "SEE_OTHER",
  307: "TEMPORARY_REDIRECT",
  308: "PERMANENT_REDIRECT",
} as const;

function redirectOf(redirect: Redirect, match: HttpMatch | null): Json {
  const scheme = redirect.scheme ?? "http";
  const asked = redirect.port === "request" ? 80 : typeof redirect.port === "number" ? redirect.port : 0;
  const port = (asked === 80 && scheme === "http") || (asked === 443 && scheme === "https") ? 0 : asked;
  const { path } = redirect;
  return {
    response_code: redirectCodes[redirect.status],
    ...(redirect.scheme === null ? {} : { scheme_redirect: redirect.scheme }),
    ...(redirect.host === null ? {} : { host_redirect: redirect.host }),
    ...(port === 0 ? {} : { port_redirect: port }),
    ...(path === null
      ? {}
      : path.kind === "full"
        ? { path_redirect: path.value }
        : path.kind === "regex"
          ? {}
          : rewriteOf(path, match)),
  };
}

/** Variables are Envoy's own. */
function formatOf(value: HeaderValue): string {
  const parts = typeof value === "string" ? [value] : value;
  return parts.map((part) => (typeof part === "string" ? part.replaceAll("%", "%%") : part.text)).join("");
}

function headers({ request, response }: HeaderChanges): Json {
  const option =
    (action: string) =>
    ([key, value]: readonly [string, HeaderValue]) => ({
      header: { key, value: formatOf(value) },
      append_action: action,
    });
  const set = option("OVERWRITE_IF_EXISTS_OR_ADD");
  const add = option("APPEND_IF_EXISTS_OR_ADD");
  return {
    request_headers_to_add: [...request.set.map(set), ...request.add.map(add)],
    request_headers_to_remove: request.remove,
    response_headers_to_add: [...response.set.map(set), ...response.add.map(add)],
    response_headers_to_remove: response.remove,
  };
}

function cors(policy: CorsPolicy): Json {
  return {
    "@type": types.corsPolicy,
    allow_origin_string_match: policy.allowOrigins.flatMap((origin) =>
      origin.kind === "present" ? [] : [stringOf(origin)],
    ),
    ...(policy.allowMethods.length === 0 ? {} : { allow_methods: policy.allowMethods.join(",") }),
    ...(policy.allowHeaders.length === 0 ? {} : { allow_headers: policy.allowHeaders.join(",") }),
    ...(policy.exposeHeaders.length === 0 ? {} : { expose_headers: policy.exposeHeaders.join(",") }),
    ...(policy.maxAgeSeconds === null ? {} : { max_age: String(policy.maxAgeSeconds) }),
    allow_credentials: policy.allowCredentials,
    forward_not_matching_preflights: policy.unmatchedPreflights === "forward",
    filter_enabled: { default_value: { numerator: 100, denominator: "HUNDRED" } },
  };
}
