/** Envoy's bootstrap for the two roles. Field names are Envoy's v3 API. */
import type { Leaf } from "../lab/authority.ts";
import { allowedPorts, cartIdentity, dbIdentity, everyPort, type Lab } from "../lab/lab.ts";
import { hbonePort } from "./subject.ts";

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

const tcpProxyType = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
const hcmType =
  "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/** Captured TCP in, one HBONE stream per connection out. */
export function envoyOutbound(lab: Lab, leaf: Leaf): Json {
  const { client, server } = lab.place;
  const listeners =
    lab.place.kind === "namespaces"
      ? [tunnelListener("0.0.0.0", 15001, "%DOWNSTREAM_LOCAL_ADDRESS%", true)]
      : everyPort.map((port) => tunnelListener(client.address, port, `${server.address}:${port}`, false));
  return {
    static_resources: {
      listeners,
      clusters: [
        {
          ...cluster("hbone", server.address, hbonePort),
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              explicit_http_config: { http2_protocol_options: { allow_connect: true } },
            },
          },
          transport_socket: {
            name: "envoy.transport_sockets.tls",
            typed_config: {
              "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
              common_tls_context: tlsContext(lab, leaf, { exact: dbIdentity }),
            },
          },
        },
      ],
    },
  };
}

function tunnelListener(address: string, port: number, authority: string, captured: boolean): Json {
  return {
    name: `outbound_${port}`,
    address: socketAddress(address, port),
    ...(captured
      ? {
          listener_filters: [
            {
              name: "envoy.filters.listener.original_dst",
              typed_config: {
                "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
              },
            },
          ],
        }
      : {}),
    filter_chains: [
      {
        filters: [
          {
            name: "envoy.filters.network.tcp_proxy",
            typed_config: {
              "@type": tcpProxyType,
              stat_prefix: "outbound",
              cluster: "hbone",
              idle_timeout: "0s",
              tunneling_config: { hostname: authority },
              access_log: [
                accessLog({
                  access: "outbound",
                  source: "%UPSTREAM_LOCAL_URI_SAN%",
                  destination: "%UPSTREAM_PEER_URI_SAN%",
                  target: "%DOWNSTREAM_LOCAL_ADDRESS%",
                  code: "%RESPONSE_CODE%",
                  flags: "%RESPONSE_FLAGS%",
                }),
              ],
            },
          },
        ],
      },
    ],
  };
}

/** HBONE in, TCP to the application out. */
export function envoyInbound(lab: Lab, leaf: Leaf): Json {
  const { server } = lab.place;
  const authority = (port: number): string => `${server.address}:${port}`;
  const manager: Json = {
    "@type": hcmType,
    stat_prefix: "inbound",
    codec_type: "HTTP2",
    stream_idle_timeout: "0s",
    http2_protocol_options: { allow_connect: true },
    upgrade_configs: [{ upgrade_type: "CONNECT" }],
    http_filters: [accessControl(allowedPorts.map(authority)), router()],
    route_config: {
      virtual_hosts: everyPort.map((port) => ({
        name: `app_${port}`,
        domains: [authority(port)],
        routes: [
          {
            match: { connect_matcher: {} },
            route: {
              cluster: `app_${port}`,
              timeout: "0s",
              upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }],
            },
          },
        ],
      })),
    },
    access_log: [
      accessLog({
        access: "inbound",
        source: "%DOWNSTREAM_PEER_URI_SAN%",
        destination: "%DOWNSTREAM_LOCAL_URI_SAN%",
        target: "%REQ(:AUTHORITY)%",
        code: "%RESPONSE_CODE%",
        flags: "%RESPONSE_FLAGS%",
      }),
    ],
  };
  return {
    static_resources: {
      listeners: [
        {
          name: "inbound",
          address: socketAddress(server.address, hbonePort),
          filter_chains: [
            {
              transport_socket: {
                name: "envoy.transport_sockets.tls",
                typed_config: {
                  "@type":
                    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                  require_client_certificate: true,
                  common_tls_context: tlsContext(lab, leaf, { prefix: "spiffe://cluster.local/" }),
                },
              },
              filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: manager }],
            },
          ],
        },
      ],
      clusters: everyPort.map((port) => cluster(`app_${port}`, server.address, port)),
    },
  };
}

/** What an AuthorizationPolicy says to the others: this caller, these ports. */
function accessControl(authorities: readonly string[]): Json {
  return {
    name: "envoy.filters.http.rbac",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
      rules: {
        action: "ALLOW",
        policies: {
          "db-only-cart": {
            principals: [{ authenticated: { principal_name: { exact: cartIdentity } } }],
            permissions: authorities.map((exact) => ({
              header: { name: ":authority", string_match: { exact } },
            })),
          },
        },
      },
    },
  };
}

function router(): Json {
  return {
    name: "envoy.filters.http.router",
    typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
  };
}

function tlsContext(
  lab: Lab,
  leaf: Leaf,
  spiffe: { readonly exact: string } | { readonly prefix: string },
): Json {
  return {
    // Envoy's client side stops at TLS 1.2 unless it is told.
    tls_params: { tls_minimum_protocol_version: "TLSv1_3", tls_maximum_protocol_version: "TLSv1_3" },
    alpn_protocols: ["h2"],
    tls_certificates: [
      { certificate_chain: { filename: leaf.certPath }, private_key: { filename: leaf.keyPath } },
    ],
    validation_context: {
      trusted_ca: { filename: lab.authority.certPath },
      match_typed_subject_alt_names: [{ san_type: "URI", matcher: { ...spiffe } }],
      ...(lab.crlPath === null ? {} : { crl: { filename: lab.crlPath } }),
    },
  };
}

function cluster(name: string, address: string, port: number): { readonly [key: string]: Json } {
  return {
    name,
    type: "STATIC",
    connect_timeout: "5s",
    // The defaults stop at 1,024; 5,000 idle connections are one of the measures.
    circuit_breakers: {
      thresholds: [{ max_connections: 100_000, max_pending_requests: 100_000, max_requests: 100_000 }],
    },
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(address, port) } }] }],
    },
  };
}

function socketAddress(address: string, port: number): Json {
  return { socket_address: { address, port_value: port } };
}

function accessLog(format: Readonly<Record<string, string>>): Json {
  return {
    name: "envoy.access_loggers.stdout",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
      log_format: { json_format: { ...format }, json_format_options: { sort_properties: false } },
    },
  };
}
