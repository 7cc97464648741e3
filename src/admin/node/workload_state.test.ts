import { expect, test } from "bun:test";
import { adminLimits } from "../../base/limits/admin.ts";
import type { ConnectionEntry } from "./sources.ts";
import { dumpWorkloadState } from "./workload_state.ts";

const info = (name: string) => ({
  name,
  namespace: "shop",
  trustDomain: "cluster.local",
  serviceAccount: `${name}-sa`,
});
const workloads = [
  { uid: "c//cart", ...info("cart") },
  { uid: "c//db", ...info("db") },
];

const outbound: ConnectionEntry = {
  id: 1,
  direction: "outbound",
  source: { address: "10.0.0.1:4000", workload: "shop/cart", identity: "spiffe://cart" },
  destination: {
    address: "10.0.0.2:15008",
    workload: "shop/db",
    identity: "spiffe://db",
    hboneAddress: "10.0.0.2:15432",
    service: "shop/db.shop",
  },
  ageMs: 1,
  bytesSent: 1,
  bytesReceived: 1,
  policy: null,
};
const inbound: ConnectionEntry = {
  ...outbound,
  direction: "inbound",
  destination: { ...outbound.destination, address: "10.0.0.2:15432", workload: "shop/db", identity: null },
};

test("each connection is with the workload of this host, and says both ends as ztunnel does", () => {
  const plainIn = { ...inbound, source: { ...inbound.source, identity: null } };
  const toInternet: ConnectionEntry = {
    ...outbound,
    destination: { ...outbound.destination, address: "192.0.2.9:80", workload: null, hboneAddress: null },
  };
  const foreign = { ...inbound, destination: { ...inbound.destination, workload: "shop/other" } };
  const unknown = { ...inbound, destination: { ...inbound.destination, workload: null } };
  expect(dumpWorkloadState(workloads, [outbound, inbound, plainIn, toInternet, foreign, unknown])).toEqual({
    "c//cart": {
      state: "Up",
      connections: {
        inbound: [],
        outbound: [
          {
            src: "10.0.0.1:4000",
            originalDst: "10.0.0.2:15432",
            actualDst: "10.0.0.2:15008",
            protocol: "HBONE",
          },
          { src: "10.0.0.1:4000", originalDst: "192.0.2.9:80", actualDst: "192.0.2.9:80", protocol: "TCP" },
        ],
      },
      info: info("cart"),
    },
    "c//db": {
      state: "Up",
      connections: {
        inbound: [
          {
            src: "10.0.0.1:4000",
            originalDst: "shop/db.shop",
            actualDst: "10.0.0.2:15432",
            protocol: "HBONE",
          },
          { src: "10.0.0.1:4000", originalDst: "shop/db.shop", actualDst: "10.0.0.2:15432", protocol: "TCP" },
        ],
        outbound: [],
      },
      info: info("db"),
    },
  });
});

test("as many connections are listed as elsewhere, and no more", () => {
  const most = adminLimits.maxListedConnections;
  const listed = (count: number) =>
    dumpWorkloadState(workloads, Array<ConnectionEntry>(count).fill(outbound))["c//cart"]?.connections
      .outbound.length;
  expect([listed(most), listed(most + 1)]).toEqual([most, most]);
});
