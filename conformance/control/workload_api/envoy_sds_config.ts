/** Envoy's bootstrap for a listener whose certificate and roots come by secret discovery. Field names are Envoy's v3 API. */

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/** How Envoy asks: its own service or ADS, state of the world or delta. */
export const sdsWays = ["GRPC", "DELTA_GRPC", "ADS", "DELTA_ADS"] as const;
export type SdsWay = (typeof sdsWays)[number];

/** HTTP over mutual TLS on `port`: 200 for every client whose identity is of the trust domain. */
export function envoySdsBootstrap(way: SdsWay, socketPath: string, port: number): Json {
  return {
    node: { id: "envoy", cluster: "conformance" },
    ...(way.endsWith("ADS") ? { dynamic_resources: { ads_config: ads(way) } } : {}),
    static_resources: {
      listeners: [
        {
          name: "mutual_tls",
          address: { socket_address: { address: "127.0.0.1", port_value: port } },
          filter_chains: [{ transport_socket: downstreamTls(way), filters: [always200()] }],
        },
      ],
      clusters: [identityCluster(socketPath)],
    },
  };
}

function downstreamTls(way: SdsWay): Json {
  const secret = (name: string): Json => ({ name, sds_config: sdsConfig(way) });
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
      require_client_certificate: true,
      common_tls_context: {
        tls_certificate_sds_secret_configs: [secret("default")],
        combined_validation_context: {
          default_validation_context: {
            match_typed_subject_alt_names: [
              { san_type: "URI", matcher: { prefix: "spiffe://cluster.local/" } },
            ],
          },
          validation_context_sds_secret_config: secret("ROOTCA"),
        },
      },
    },
  };
}

function sdsConfig(way: SdsWay): Json {
  const base = { resource_api_version: "V3", initial_fetch_timeout: "0s" };
  if (way.endsWith("ADS")) return { ...base, ads: {} };
  return { ...base, api_config_source: apiConfig(way) };
}

function ads(way: SdsWay): Json {
  return apiConfig(way === "ADS" ? "GRPC" : "DELTA_GRPC");
}

function apiConfig(apiType: string): Json {
  return {
    api_type: apiType,
    transport_api_version: "V3",
    grpc_services: [{ envoy_grpc: { cluster_name: "identity" } }],
  };
}

function identityCluster(socketPath: string): Json {
  return {
    name: "identity",
    type: "STATIC",
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    load_assignment: {
      cluster_name: "identity",
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path: socketPath } } } }] }],
    },
  };
}

function always200(): Json {
  return {
    name: "envoy.filters.network.http_connection_manager",
    typed_config: {
      "@type":
        "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
      stat_prefix: "mutual_tls",
      route_config: {
        virtual_hosts: [
          {
            name: "all",
            domains: ["*"],
            routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }],
          },
        ],
      },
      http_filters: [
        {
          name: "envoy.filters.http.router",
          typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        },
      ],
    },
  };
}
