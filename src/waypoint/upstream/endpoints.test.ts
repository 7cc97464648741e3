import { describe, expect, test } from "bun:test";
import { MeshStore } from "../../mesh/store/store.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import { type DestinationPolicy, defaultDestinationPolicy } from "../../mesh/traffic/destination_policy.ts";
import type { Workload } from "../../mesh/workload.ts";
import { endpointsOf, localityMatches } from "./endpoints.ts";

const cart = service("cart", { 80: 8080 });
const outlier: DestinationPolicy["outlier"] = {
  consecutive5xx: 5,
  consecutiveGatewayErrors: 0,
  consecutiveLocalOriginFailures: 5,
  splitLocalOrigin: false,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 10,
  minHealthPercent: 0,
  httpErrorCodes: null,
};

let last = 0;
function at(name: string, place: string, fields: Partial<Workload> = {}): Workload {
  const [region = "", zone = "", subzone = ""] = place.split("/");
  return workload(name, {
    addresses: [ip(`10.0.0.${++last}`)],
    services: new Map([["shop/cart.shop", new Map()]]),
    locality: { region, zone, subzone },
    ...fields,
  });
}

const source = at("waypoint", "eu/a/1", { services: new Map() });

function found(
  policy: Partial<DestinationPolicy>,
  workloads: readonly Workload[],
  labels: Record<string, Record<string, string>> = {},
) {
  const store = new MeshStore();
  store.apply({ services: { upsert: [cart] }, workloads: { upsert: workloads } });
  return endpointsOf(store, {
    service: cart,
    port: 80,
    policy: { ...defaultDestinationPolicy, ...policy },
    source,
    inSubset: () => true,
    labels: ({ name }) => new Map(Object.entries(labels[name] ?? {})),
  });
}

const places = ["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "asia/a/1"];
const spread = places.map((place) => at(place, place));
const priorities = (endpoints: ReturnType<typeof found>) =>
  Object.fromEntries(endpoints.map(({ workload: { name }, priority }) => [name, priority]));

describe("levels by locality", () => {
  test("none without outlier detection, as in Istio", () => {
    expect(new Set(Object.values(priorities(found({}, spread))))).toEqual(new Set([0]));
  });

  test("subzone, zone, region, the rest", () => {
    expect(priorities(found({ outlier }, spread))).toEqual({
      "eu/a/1": 0,
      "eu/a/2": 1,
      "eu/b/1": 2,
      "us/a/1": 3,
      "asia/a/1": 3,
    });
  });

  test("a region to fail over to comes before the others", () => {
    const locality = { ...defaultDestinationPolicy.locality, failover: [{ from: "eu", to: "us" }] };
    const { "us/a/1": us, "asia/a/1": asia } = priorities(found({ outlier, locality }, spread));
    expect([us, asia]).toEqual([3, 4]);
  });

  test("by labels: those that agree from the first on; a value that is given is compared instead of the waypoint's own", () => {
    const locality = { ...defaultDestinationPolicy.locality, failoverPriority: ["rack", "version=v2"] };
    const endpoints = ["same", "rack-only", "version-only"].map((name) => at(name, ""));
    const labels = {
      waypoint: { rack: "r1", version: "v1" },
      same: { rack: "r1", version: "v2" },
      "rack-only": { rack: "r1", version: "v1" },
      "version-only": { rack: "r2", version: "v2" },
    };
    expect(priorities(found({ outlier, locality }, endpoints, labels))).toEqual({
      same: 0,
      "rack-only": 1,
      "version-only": 2,
    });
  });

  test("switched off", () => {
    const locality = { ...defaultDestinationPolicy.locality, enabled: false };
    expect(new Set(Object.values(priorities(found({ outlier, locality }, spread))))).toEqual(new Set([0]));
  });
});

test("a distribution gives each locality its share, whatever the number of its endpoints, and others nothing", () => {
  const distribute = [
    {
      from: "eu/*",
      to: new Map([
        ["eu/a/*", 80],
        ["us/*", 20],
      ]),
    },
  ];
  const locality = { ...defaultDestinationPolicy.locality, distribute };
  const endpoints = found({ locality }, [...spread, at("us/a/1b", "us/a/1")]);
  const weights = Object.fromEntries(endpoints.map(({ workload: { name }, weight }) => [name, weight]));
  expect(weights).toEqual({ "eu/a/1": 40, "eu/a/2": 40, "us/a/1": 10, "us/a/1b": 10 });
});

test("a port that the service does not have has no endpoints; an endpoint's own port wins", () => {
  const store = new MeshStore();
  const own = at("own", "", { services: new Map([["shop/cart.shop", new Map([[80, 9090]])]]) });
  store.apply({ services: { upsert: [cart] }, workloads: { upsert: [own] } });
  const query = {
    service: cart,
    policy: defaultDestinationPolicy,
    source,
    inSubset: () => true,
    labels: () => new Map<string, string>(),
  };
  expect(endpointsOf(store, { ...query, port: 81 })).toEqual([]);
  expect(endpointsOf(store, { ...query, port: 80 })[0]?.targetPort).toBe(9090);
  expect(endpointsOf(store, { ...query, port: 80, inSubset: () => false })).toEqual([]);
});

test("a pattern of a locality covers what is below it", () => {
  const here = { region: "eu", zone: "a", subzone: "1" };
  for (const pattern of ["*", "eu", "eu/*", "eu/a", "eu/a/*", "eu/a/1"])
    expect(localityMatches(pattern, here)).toBe(true);
  for (const pattern of ["us", "eu/b/*", "eu/a/2", "e"]) expect(localityMatches(pattern, here)).toBe(false);
});
