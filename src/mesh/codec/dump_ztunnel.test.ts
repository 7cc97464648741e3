import { expect, test } from "bun:test";
import { emptyMatch } from "../authorization.ts";
import { MeshStore } from "../store/store.ts";
import { gatewayAt, gatewayNamed, ip, member, service, workload } from "../testing/fixture.ts";
import { dumpMesh } from "./dump.ts";

/** Recorded: `/config_dump` of a real ztunnel (commit 62d826530e5c) that was given this mesh as LOCAL_XDS. */
const recorded = {
  workloads: [
    {
      applicationTunnel: { port: 15088, protocol: "PROXY" },
      authorizationPolicies: ["shop/db-only-cart"],
      canonicalName: "db",
      canonicalRevision: "latest",
      capacity: 2,
      clusterId: "c1",
      locality: { region: "r", subzone: "s", zone: "z" },
      name: "db",
      namespace: "shop",
      networkGateway: { destination: "/10.0.0.9", hboneMtlsPort: 15008 },
      networkMode: "Standard",
      node: "host-b",
      protocol: "HBONE",
      serviceAccount: "db",
      status: "Healthy",
      trustDomain: "cluster.local",
      uid: "c1//Pod/shop/db",
      waypoint: { destination: "shop/gate.shop", hboneMtlsPort: 15008 },
      workloadIps: ["10.77.0.2"],
      workloadName: "db",
      workloadType: "pod",
    },
  ],
  services: [
    {
      canonical: true,
      cidrVips: [{ cidr: "10.89.0.0/16", network: "" }],
      endpoints: {
        "c1//Pod/shop/db": { port: { "5432": 15432 }, status: "Healthy", workloadUid: "c1//Pod/shop/db" },
      },
      hostname: "db.shop",
      ipFamilies: "IPv6",
      loadBalancer: {
        healthPolicy: "OnlyHealthy",
        mode: "Failover",
        routingPreferences: ["Network", "Subzone"],
      },
      name: "db",
      namespace: "shop",
      ports: { "5432": 15432 },
      subjectAltNames: [],
      vips: ["/10.88.0.2"],
      visibility: "Namespace",
      waypoint: { destination: "/10.0.0.9", hboneMtlsPort: 15008 },
      weightedWaypoints: [{ destination: { destination: "/10.0.0.9", hboneMtlsPort: 15008 }, weight: 3 }],
    },
  ],
  policies: [
    {
      action: "Allow",
      dryRun: false,
      name: "db-only-cart",
      namespace: "shop",
      rules: [
        [
          [
            {
              namespaces: [{ Prefix: "a" }],
              notPrincipals: [{ Presence: [] }],
              principals: [{ Exact: "cluster.local/ns/shop/sa/cart" }],
              serviceAccounts: [{ namespace: "a", serviceAccount: "b" }],
              sourceIps: ["10.0.0.0/8", "10.0.0.1/32"],
            },
          ],
          [{ destinationPorts: [15432] }],
        ],
      ],
      scope: "WorkloadSelector",
    },
  ],
  stagedServices: {},
};

test("the same mesh looks the same here and in a real ztunnel", () => {
  const store = new MeshStore();
  store.apply({
    workloads: {
      upsert: [
        workload("db", {
          uid: "c1//Pod/shop/db",
          clusterId: "c1",
          addresses: [ip("10.77.0.2")],
          node: "host-b",
          locality: { region: "r", zone: "z", subzone: "s" },
          capacity: 2,
          applicationTunnel: { protocol: "PROXY", port: 15088 },
          waypoint: gatewayNamed("shop", "gate.shop"),
          networkGateway: gatewayAt("10.0.0.9"),
          authorizationPolicies: ["shop/db-only-cart"],
          services: member("shop/db.shop", { 5432: 15432 }),
        }),
      ],
    },
    services: {
      upsert: [
        service(
          "db",
          { 5432: 15432 },
          {
            addresses: [{ network: "", ip: ip("10.88.0.2") }],
            cidrAddresses: [{ network: "", prefix: { ip: ip("10.89.0.0"), length: 16 } }],
            canonical: true,
            waypoint: gatewayAt("10.0.0.9"),
            weightedWaypoints: [{ destination: gatewayAt("10.0.0.9"), weight: 3 }],
            loadBalancing: {
              routingPreferences: ["NETWORK", "SUBZONE"],
              mode: "FAILOVER",
              healthPolicy: "ONLY_HEALTHY",
            },
            ipFamilies: "IPV6_ONLY",
            visibility: "NAMESPACE",
          },
        ),
      ],
    },
    policies: {
      upsert: [
        {
          name: "db-only-cart",
          namespace: "shop",
          scope: "WORKLOAD_SELECTOR",
          action: "ALLOW",
          dryRun: false,
          location: null,
          rules: [
            {
              location: null,
              clauses: [
                {
                  matches: [
                    {
                      ...emptyMatch,
                      principals: [{ kind: "exact", value: "cluster.local/ns/shop/sa/cart" }],
                      notPrincipals: [{ kind: "presence" }],
                      namespaces: [{ kind: "prefix", value: "a" }],
                      serviceAccounts: [{ namespace: "a", serviceAccount: "b" }],
                      sourceIps: [
                        { ip: ip("10.0.0.0"), length: 8 },
                        { ip: ip("10.0.0.1"), length: 32 },
                      ],
                    },
                  ],
                },
                { matches: [{ ...emptyMatch, destinationPorts: [15432] }] },
              ],
            },
          ],
        },
      ],
    },
  });
  const dump = JSON.parse(JSON.stringify(dumpMesh(store)));
  // ztunnel fills this list from xDS alone; a mesh of LOCAL_XDS has it empty, so left out.
  expect(dump.workloads[0].services).toEqual(["shop/db.shop"]);
  delete dump.workloads[0].services;
  expect(dump).toEqual(recorded);
});
