/** Rules as Envoy's RBAC filter has them, written as istiod writes them (`pilot/pkg/security/authz/model`), and tokens for `jwt_authn`. */
import type { JwtRule } from "../../../src/mesh/documents/security.ts";
import type { Layer7Policy, Layer7Rule, Test } from "../../../src/waypoint/auth/layer7_policy.ts";

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

const typed = (name: string) => `type.googleapis.com/envoy.extensions.${name}`;

/** Who the peer is said to be by `peerHeader`, as a waypoint's tunnel says it to Istio's filters. */
export const peerHeader = "x-test-peer";
const peerState = "io.istio.peer_principal";

export interface EnvoyListener {
  readonly port: number;
  readonly deny: readonly Layer7Policy[];
  readonly allow: readonly Layer7Policy[];
  readonly rules: readonly JwtRule[];
}

export function envoyConfig(listeners: readonly EnvoyListener[]): Json {
  return {
    static_resources: { listeners: listeners.map(listener), clusters: [] },
  };
}

function listener({ port, deny, allow, rules }: EnvoyListener): Json {
  const filters: Json[] = [
    {
      name: "peer",
      typed_config: {
        "@type": typed("filters.http.set_filter_state.v3.Config"),
        on_request_headers: [
          {
            object_key: peerState,
            factory_key: "envoy.string",
            format_string: { text_format_source: { inline_string: `%REQ(${peerHeader})%` } },
          },
        ],
      },
    },
    ...(rules.length === 0 ? [] : [jwtFilter(rules)]),
    ...(deny.length === 0 ? [] : [rbacFilter("DENY", deny)]),
    ...(allow.length === 0 ? [] : [rbacFilter("ALLOW", allow)]),
    { name: "router", typed_config: { "@type": typed("filters.http.router.v3.Router") } },
  ];
  return {
    name: `l${port}`,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: "hcm",
            typed_config: {
              "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
              stat_prefix: "h",
              normalize_path: true,
              use_remote_address: false,
              http_filters: filters,
              route_config: {
                virtual_hosts: [
                  {
                    name: "all",
                    domains: ["*"],
                    routes: [
                      {
                        match: { prefix: "/" },
                        direct_response: { status: 200, body: { inline_string: "ok" } },
                      },
                    ],
                  },
                ],
              },
            },
          },
        ],
      },
    ],
  };
}

/** One provider a rule; any of their tokens, or none, but never a bad one (istiod `convertToEnvoyJwtConfig`). */
function jwtFilter(rules: readonly JwtRule[]): Json {
  const providers = Object.fromEntries(
    rules.map((rule, index) => [
      `p${index}`,
      {
        issuer: rule.issuer,
        audiences: [...rule.audiences],
        local_jwks: { inline_string: rule.keys.kind === "inline" ? rule.keys.text : "" },
        from_headers: rule.fromHeaders.map(({ name, prefix }) => ({ name, value_prefix: prefix })),
        from_params: [...rule.fromParams],
        from_cookies: [...rule.fromCookies],
        forward: rule.forwardOriginalToken,
        payload_in_metadata: "payload",
        normalize_payload_in_metadata: { space_delimited_claims: [...rule.spaceDelimitedClaims] },
      },
    ]),
  );
  const names = Object.keys(providers);
  const each = names.map((name) => ({
    requires_any: { requirements: [{ provider_name: name }, { allow_missing: {} }] },
  }));
  const only = each[0] ?? {};
  const requires =
    each.length === 1
      ? only
      : {
          requires_any: {
            requirements: [
              ...names.map((name) => ({ provider_name: name })),
              { requires_all: { requirements: each } },
            ],
          },
        };
  return {
    name: "jwt",
    typed_config: {
      "@type": typed("filters.http.jwt_authn.v3.JwtAuthentication"),
      providers,
      bypass_cors_preflight: true,
      rules: [{ match: { prefix: "/" }, requires }],
    },
  };
}

function rbacFilter(action: "ALLOW" | "DENY", policies: readonly Layer7Policy[]): Json {
  const named: Record<string, Json> = {};
  for (const { key, rules } of policies)
    for (const rule of rules) named[`${key}-${rule.index}`] = policy(rule);
  return {
    name: `rbac_${action}`,
    typed_config: { "@type": typed("filters.http.rbac.v3.RBAC"), rules: { action, policies: named } },
  };
}

/** Each clause is one principal, whatever it is about: what istiod sorts into two lists is one AND. */
function policy({ clauses }: Layer7Rule): Json {
  const and = (ids: readonly Json[]): Json => (ids.length === 0 ? { any: true } : { and_ids: { ids } });
  const or = (ids: readonly Json[]): Json => ({ or_ids: { ids } });
  return {
    permissions: [{ any: true }],
    principals: [and(clauses.map((groups) => or(groups.map((tests) => and(tests.map(principal))))))],
  };
}

function principal(test: Test): Json {
  const id = positive(test);
  return test.negated ? { not_id: id } : id;
}

function positive(test: Test): Json {
  const any = (ids: readonly Json[]): Json => ({ or_ids: { ids } });
  switch (test.about) {
    case "source_ip":
    case "remote_ip":
      return any(
        test.prefixes.map(({ ip, length }) => ({
          [test.about === "source_ip" ? "direct_remote_ip" : "remote_ip"]: {
            address_prefix: ip.text,
            prefix_len: length,
          },
        })),
      );
    case "principal":
      return any(test.texts.map((text) => peer(prefixed(text))));
    case "namespace":
      return any(test.texts.map((text) => peer(regex(`.*/ns/${text.replaceAll("*", ".*")}/.*`))));
    case "service_account":
      return any(
        test.texts.map((text) => {
          const [namespace, account] = text.split("/");
          return peer(regex(`spiffe://.+/ns/${namespace}/(.+/|)sa/${account}(/.+)?`));
        }),
      );
    case "trust_domain":
      return any(test.texts.map((text) => peer(regex(`spiffe://${text.replaceAll("*", "[^/]*")}/.*`))));
    case "host":
      return any(test.texts.map((text) => header(":authority", text, true)));
    case "method":
      return any(test.texts.map((text) => header(":method", text, false)));
    case "header":
      return any(test.texts.map((text) => header(test.name, text, false)));
    case "path":
      return any(test.texts.map(path));
    case "request_principal":
      return any(test.texts.map(requestPrincipal));
    case "audience":
      return claim(["aud"], test.texts);
    case "presenter":
      return claim(["azp"], test.texts);
    case "claim":
      return claim(test.path, test.texts);
    default:
      throw new Error(`${test.about} is not said to Envoy here`);
  }
}

function path(text: string): Json {
  if (!/\{\*\*?\}/.test(text)) return { url_path: { path: match(text) } };
  const template = text.replaceAll("{**}", "**").replaceAll("{*}", "*");
  return {
    // A principal has no templates: the same matcher as in a permission, on the same path.
    header: {
      name: ":path",
      string_match: regex(templateRegex(template)),
    },
  };
}

/** `uri_template_internal.cc`, `toRegexPattern`; the query is not looked at. */
function templateRegex(template: string): string {
  const literal = "a-zA-Z0-9-._~%!$&'()+,;:@=";
  return `${template
    .split("/")
    .map((segment) =>
      segment === "**" ? `[${literal}/]*` : segment === "*" ? `[${literal}]+` : quoted(segment),
    )
    .join("/")}(\\?.*)?`;
}

function requestPrincipal(text: string): Json {
  const slash = text.lastIndexOf("/");
  const has = slash >= 0;
  const issuer = has ? text.slice(0, slash) : text;
  const subject = has ? text.slice(slash + 1) : "";
  const any = regex(".+");
  let iss: Json = { exact: issuer };
  let sub: Json = { exact: subject };
  if (text === "*") [iss, sub] = [any, any];
  else if (text.startsWith("*"))
    [iss, sub] = has
      ? [issuer === "*" ? any : { suffix: issuer.slice(1) }, sub]
      : [any, { suffix: text.slice(1) }];
  else if (text.endsWith("*"))
    [iss, sub] = has
      ? [iss, subject === "*" ? any : { prefix: subject.slice(0, -1) }]
      : [{ prefix: text.slice(0, -1) }, any];
  return {
    and_ids: { ids: [metadata(["iss"], { string_match: iss }), metadata(["sub"], { string_match: sub })] },
  };
}

function claim(names: readonly string[], texts: readonly string[]): Json {
  const ids = texts.flatMap((text) => [
    metadata(names, { string_match: match(text) }),
    metadata(names, { list_match: { one_of: { string_match: match(text) } } }),
  ]);
  return { or_ids: { ids } };
}

function metadata(names: readonly string[], value: Json): Json {
  const keys = ["payload", ...names].map((key) => ({ key }));
  return { metadata: { filter: "envoy.filters.http.jwt_authn", path: keys, value } };
}

function peer(stringMatch: Json): Json {
  return { filter_state: { key: peerState, string_match: stringMatch } };
}

function header(name: string, text: string, ignoreCase: boolean): Json {
  if (text === "*") return { header: { name, present_match: true } };
  const found = match(text);
  return { header: { name, string_match: ignoreCase ? { ...(found as object), ignore_case: true } : found } };
}

function match(text: string): Json {
  if (text === "*") return regex(".+");
  if (text.startsWith("*")) return { suffix: text.slice(1) };
  return text.endsWith("*") ? { prefix: text.slice(0, -1) } : { exact: text };
}

function prefixed(text: string): Json {
  if (text === "*") return regex(".+");
  if (text.startsWith("*")) return regex(`spiffe://.*${quoted(text.slice(1))}`);
  return text.endsWith("*") ? { prefix: `spiffe://${text.slice(0, -1)}` } : { exact: `spiffe://${text}` };
}

function regex(text: string): Json {
  return { safe_regex: { regex: text } };
}

function quoted(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
