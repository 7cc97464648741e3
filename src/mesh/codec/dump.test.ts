import { expect, test } from "bun:test";
import { emptyMatch } from "../authorization.ts";
import { MeshStore } from "../store/store.ts";
import { gatewayAt, gatewayNamed, ip, member, service, workload } from "../testing/fixture.ts";
import { dumpMesh } from "./dump.ts";

test("the shape of ztunnel's config_dump", () => {
  const store = new MeshStore();
  store.apply({
    workloads: {
      upsert: [
        workload("db", {
          addresses: [ip("10.0.0.2")],
          services: new Map([...member("shop/db.shop", { 5432: 15432 }), ...member("shop/later.shop")]),
          waypoint: gatewayNamed("shop", "gate.shop"),
          applicationTunnel: { protocol: "PROXY", port: 15088 },
          authorizationPolicies: ["shop/p"],
        }),
        workload("bare", {
          tunnelProtocol: "NONE",
          status: "UNHEALTHY",
          networkMode: "HOST_NETWORK",
          clusterId: "",
        }),
      ],
    },
    services: {
      upsert: [
        service(
          "db",
          { 5432: 0 },
          {
            addresses: [{ network: "west", ip: ip("10.88.0.2") }],
            cidrAddresses: [{ network: "", prefix: { ip: ip("10.89.0.0"), length: 16 } }],
            waypoint: gatewayAt("10.0.0.9", "west"),
            weightedWaypoints: [{ destination: gatewayAt("10.0.0.8"), weight: 3 }],
            loadBalancing: {
              mode: "FAILOVER",
              routingPreferences: ["NETWORK", "SUBZONE"],
              healthPolicy: "ONLY_HEALTHY",
            },
            ipFamilies: "IPV6_ONLY",
            canonical: true,
            visibility: "NAMESPACE",
          },
        ),
      ],
    },
    policies: {
      upsert: [
        {
          name: "p",
          namespace: "shop",
          scope: "WORKLOAD_SELECTOR",
          action: "DENY",
          dryRun: true,
          rules: [
            {
              clauses: [
                {
                  matches: [
                    {
                      ...emptyMatch,
                      notPrincipals: [{ kind: "presence" }],
                      namespaces: [{ kind: "prefix", value: "a" }],
                      destinationPorts: [80],
                    },
                    emptyMatch,
                  ],
                },
              ],
              location: null,
            },
          ],
          location: null,
        },
      ],
    },
  });
  const uid = "test/networking.istio.io/WorkloadEntry/shop/db";
  expect(dumpMesh(store)).toEqual({
    workloads: [
      {
        workloadIps: [],
        protocol: "TCP",
        networkMode: "HostNetwork",
        uid: "test/networking.istio.io/WorkloadEntry/shop/bare",
        name: "bare",
        namespace: "shop",
        trustDomain: "cluster.local",
        serviceAccount: "bare",
        workloadName: "bare",
        workloadType: "pod",
        canonicalName: "bare",
        canonicalRevision: "latest",
        status: "Unhealthy",
        clusterId: "",
        capacity: 1,
      },
      {
        workloadIps: ["10.0.0.2"],
        waypoint: { destination: "shop/gate.shop", hboneMtlsPort: 15008 },
        protocol: "HBONE",
        networkMode: "Standard",
        uid,
        name: "db",
        namespace: "shop",
        trustDomain: "cluster.local",
        serviceAccount: "db",
        workloadName: "db",
        workloadType: "pod",
        canonicalName: "db",
        canonicalRevision: "latest",
        applicationTunnel: { protocol: "PROXY", port: 15088 },
        authorizationPolicies: ["shop/p"],
        status: "Healthy",
        clusterId: "test",
        services: ["shop/db.shop", "shop/later.shop"],
        capacity: 1,
      },
    ],
    services: [
      {
        name: "db",
        namespace: "shop",
        hostname: "db.shop",
        vips: ["west/10.88.0.2"],
        cidrVips: [{ network: "", cidr: "10.89.0.0/16" }],
        ports: { 5432: 0 },
        endpoints: { [uid]: { workloadUid: uid, port: { 5432: 15432 }, status: "Healthy" } },
        subjectAltNames: [],
        waypoint: { destination: "west/10.0.0.9", hboneMtlsPort: 15008 },
        weightedWaypoints: [{ destination: { destination: "/10.0.0.8", hboneMtlsPort: 15008 }, weight: 3 }],
        loadBalancer: {
          routingPreferences: ["Network", "Subzone"],
          mode: "Failover",
          healthPolicy: "OnlyHealthy",
        },
        ipFamilies: "IPv6",
        canonical: true,
        visibility: "Namespace",
      },
    ],
    policies: [
      {
        name: "p",
        namespace: "shop",
        scope: "WorkloadSelector",
        action: "Deny",
        rules: [
          [
            [
              { namespaces: [{ Prefix: "a" }], notPrincipals: [{ Presence: [] }], destinationPorts: [80] },
              {},
            ],
          ],
        ],
        dryRun: true,
      },
    ],
    stagedServices: { "shop/later.shop": { [uid]: { workloadUid: uid, port: {}, status: "Healthy" } } },
  });
});
