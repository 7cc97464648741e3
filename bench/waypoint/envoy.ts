/** Envoy in the waypoint's place, as istiod sets it up: CONNECT over mutual TLS in, HTTP through a route, CONNECT over mutual TLS out. */
import type { Leaf, TestAuthority } from "../../conformance/peer/lab/authority.ts";

import type { BenchToken } from "./token.ts";

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export interface EnvoyChain {
  readonly authority: TestAuthority;
  readonly leaf: Leaf;
  readonly listen: string;
  readonly hbonePort: number;
  readonly application: string;
  /** Routes before the one that takes all, and as many RBAC policies, of which the last lets the caller in; 0: neither. */
  readonly rules: number;
  /** What each request has to have; null: none. */
  readonly token: BenchToken | null;
  /** By service address and port: the application's port, and what it speaks. */
  readonly services: readonly {
    readonly called: string;
    readonly port: number;
    readonly protocol: "http1" | "http2";
  }[];
}

const type = (name: string) => `type.googleapis.com/envoy.${name}`;

export function envoyWaypoint(chain: EnvoyChain): Json {
  return {
    bootstrap_extensions: [
      {
        name: "envoy.bootstrap.internal_listener",
        typed_config: { "@type": type("extensions.bootstrap.internal_listener.v3.InternalListener") },
      },
    ],
    static_resources: {
      listeners: [
        terminate(chain),
        ...chain.services.flatMap((service) => [http(chain, service), originate(chain, service)]),
      ],
      clusters: [
        ...chain.services.flatMap((service) => [
          internal(`http_${service.port}`, null),
          internal(`originate_${service.port}`, service.protocol),
        ]),
        hbone(chain),
      ],
    },
  };
}

function terminate({ authority, leaf, listen, hbonePort, services }: EnvoyChain): Json {
  return {
    name: "connect_terminate",
    address: socketAddress(listen, hbonePort),
    filter_chains: [
      {
        transport_socket: {
          name: "envoy.transport_sockets.tls",
          typed_config: {
            "@type": type("extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            require_client_certificate: true,
            common_tls_context: tlsContext(authority, leaf),
          },
        },
        filters: [
          manager("terminate", "HTTP2", {
            http2_protocol_options: { allow_connect: true },
            upgrade_configs: [{ upgrade_type: "CONNECT" }],
            route_config: {
              virtual_hosts: services.map(({ called, port }) => ({
                name: called,
                domains: [called],
                routes: [
                  {
                    match: { connect_matcher: {} },
                    route: {
                      cluster: `http_${port}`,
                      timeout: "0s",
                      upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }],
                    },
                  },
                ],
              })),
            },
          }),
        ],
      },
    ],
  };
}

function http({ rules, token }: EnvoyChain, { port }: EnvoyChain["services"][number]): Json {
  const route = { cluster: `originate_${port}`, timeout: "0s" };
  const others = Array.from({ length: rules }, (_, i) => ({ match: { prefix: `/path${i}/` }, route }));
  return {
    name: `http_${port}`,
    internal_listener: {},
    filter_chains: [
      {
        filters: [
          manager("inbound", "AUTO", {
            route_config: {
              virtual_hosts: [
                {
                  name: "all",
                  domains: ["*"],
                  routes: [...others, { match: { prefix: "/" }, route }],
                },
              ],
            },
            http_filters: [
              ...(token === null ? [] : [jwt(token), userOfToken(token)]),
              ...(rules === 0 ? [] : [rbac(rules)]),
              router,
            ],
          }),
        ],
      },
    ],
  };
}

function originate({ application }: EnvoyChain, { port }: EnvoyChain["services"][number]): Json {
  return {
    name: `originate_${port}`,
    internal_listener: {},
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.tcp_proxy",
            typed_config: {
              "@type": type("extensions.filters.network.tcp_proxy.v3.TcpProxy"),
              stat_prefix: "originate",
              cluster: "hbone",
              idle_timeout: "0s",
              tunneling_config: { hostname: `${application}:${port}` },
            },
          },
        ],
      },
    ],
  };
}

function hbone({ authority, leaf, application, hbonePort }: EnvoyChain): Json {
  return {
    name: "hbone",
    type: "STATIC",
    connect_timeout: "5s",
    load_assignment: {
      cluster_name: "hbone",
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(application, hbonePort) } }] }],
    },
    circuit_breakers: limits,
    typed_extension_protocol_options: protocolOptions({ http2_protocol_options: { allow_connect: true } }),
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: {
        "@type": type("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
        common_tls_context: tlsContext(authority, leaf),
      },
    },
  };
}

const limits: Json = {
  thresholds: [{ max_connections: 100_000, max_pending_requests: 100_000, max_requests: 100_000 }],
};

function internal(name: string, protocol: "http1" | "http2" | null): Json {
  return {
    name,
    type: "STATIC",
    circuit_breakers: limits,
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: [
            { endpoint: { address: { envoy_internal_address: { server_listener_name: name } } } },
          ],
        },
      ],
    },
    ...(protocol === null
      ? {}
      : {
          typed_extension_protocol_options: protocolOptions(
            protocol === "http2" ? { http2_protocol_options: {} } : { http_protocol_options: {} },
          ),
        }),
  };
}

function protocolOptions(explicit: Json): Json {
  return {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": type("extensions.upstreams.http.v3.HttpProtocolOptions"),
      explicit_http_config: explicit,
    },
  };
}

function manager(name: string, codec: string, more: { readonly [key: string]: Json }): Json {
  return {
    name: "envoy.filters.network.http_connection_manager",
    typed_config: {
      "@type": type("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
      stat_prefix: name,
      codec_type: codec,
      stream_idle_timeout: "0s",
      http_filters: [router],
      ...more,
    },
  };
}

const router: Json = {
  name: "envoy.filters.http.router",
  typed_config: { "@type": type("extensions.filters.http.router.v3.Router") },
};

/** What a listener inside Envoy is called by has no certificate: callers are told apart by a header in the place of it. */
function rbac(count: number): Json {
  const header = (name: string, exact: string) => ({ name, string_match: { exact } });
  const permission = {
    and_rules: {
      rules: [{ header: header(":method", "GET") }, { url_path: { path: { prefix: "/" } } }],
    },
  };
  const policies = Array.from({ length: count }, (_, i) => [
    `p${i}`,
    {
      permissions: [permission],
      principals: [i === count - 1 ? { any: true } : { header: header("x-caller", `other${i}`) }],
    },
  ]);
  return {
    name: "envoy.filters.http.rbac",
    typed_config: {
      "@type": type("extensions.filters.http.rbac.v3.RBAC"),
      rules: { action: "ALLOW", policies: Object.fromEntries(policies) },
    },
  };
}

/** As istiod writes it: the payload goes to the metadata that RBAC reads. What was verified once is kept, as a waypoint of ours keeps it. */
function jwt({ issuer, keys }: BenchToken): Json {
  const provider = {
    issuer,
    local_jwks: { inline_string: keys },
    payload_in_metadata: "payload",
    jwt_cache_config: { jwt_cache_size: 100 },
  };
  return {
    name: "envoy.filters.http.jwt_authn",
    typed_config: {
      "@type": type("extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
      providers: { bench: provider },
      rules: [{ match: { prefix: "/" }, requires: { provider_name: "bench" } }],
    },
  };
}

function userOfToken({ subject }: BenchToken): Json {
  const user = {
    metadata: {
      filter: "envoy.filters.http.jwt_authn",
      path: [{ key: "payload" }, { key: "sub" }],
      value: { string_match: { exact: subject } },
    },
  };
  return {
    name: "envoy.filters.http.rbac",
    typed_config: {
      "@type": type("extensions.filters.http.rbac.v3.RBAC"),
      rules: { action: "ALLOW", policies: { user: { permissions: [{ any: true }], principals: [user] } } },
    },
  };
}

function tlsContext(authority: TestAuthority, leaf: Leaf): Json {
  return {
    tls_params: { tls_minimum_protocol_version: "TLSv1_3", tls_maximum_protocol_version: "TLSv1_3" },
    alpn_protocols: ["h2"],
    tls_certificates: [
      { certificate_chain: { filename: leaf.certPath }, private_key: { filename: leaf.keyPath } },
    ],
    validation_context: {
      trusted_ca: { filename: authority.certPath },
      match_typed_subject_alt_names: [{ san_type: "URI", matcher: { prefix: "spiffe://cluster.local/" } }],
    },
  };
}

function socketAddress(address: string, port: number): Json {
  return { socket_address: { address, port_value: port } };
}
