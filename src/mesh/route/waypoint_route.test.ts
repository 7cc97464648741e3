import { describe, expect, test } from "bun:test";
import { MeshStore } from "../store/store.ts";
import { gatewayAt, gatewayNamed, ip, member, service, workload } from "../testing/fixture.ts";
import { resolveThrough } from "./waypoint_route.ts";

const one = workload("one", {
  addresses: [ip("10.0.0.9")],
  serviceAccount: "gate",
  services: member("shop/gate.shop", {}),
});
const two = workload("two", {
  addresses: [ip("10.0.0.10")],
  serviceAccount: "gate",
  services: member("shop/gate.shop", {}),
});
const other = workload("other", { addresses: [ip("10.0.0.11")] });
const vip = (text: string) => [{ network: "", ip: ip(text) }];
const services = [
  service("gate", { 15008: 15008 }),
  service("byaddress", { 80: 8080 }, { addresses: vip("10.88.0.1"), waypoint: gatewayAt("10.0.0.9") }),
  service(
    "byname",
    { 80: 8080 },
    { addresses: vip("10.88.0.2"), waypoint: gatewayNamed("shop", "gate.shop") },
  ),
  service(
    "canary",
    { 80: 8080 },
    {
      addresses: vip("10.88.0.3"),
      weightedWaypoints: [
        { destination: gatewayAt("10.0.0.11"), weight: 90 },
        { destination: gatewayAt("10.0.0.9"), weight: 10 },
      ],
    },
  ),
  service("others", { 80: 8080 }, { addresses: vip("10.88.0.4"), waypoint: gatewayAt("10.0.0.11") }),
  service("none", { 80: 8080 }, { addresses: vip("10.88.0.5") }),
  service(
    "lost",
    { 80: 8080 },
    { addresses: vip("10.88.0.6"), waypoint: gatewayNamed("shop", "nowhere.shop") },
  ),
  // Two of one address: each caller's own namespace is called, and only one of them is bound.
  service("shared", { 80: 8080 }, { addresses: vip("10.88.0.7"), waypoint: gatewayAt("10.0.0.9") }),
  service(
    "shared",
    { 80: 8080 },
    { namespace: "evil", hostname: "shared.evil", addresses: vip("10.88.0.7") },
  ),
];
const workloads = [
  one,
  two,
  other,
  workload("bound", { addresses: [ip("10.0.0.20")], waypoint: gatewayAt("10.0.0.9") }),
  workload("free", { addresses: [ip("10.0.0.21")] }),
  // Its address is a VIP's as well: a workload's own address comes first, as where the call was routed.
  workload("both", { addresses: [ip("10.88.0.5")], waypoint: gatewayAt("10.0.0.9") }),
];

function resolve(authority: string, local = one, callerNamespace = "shop"): string {
  const store = new MeshStore();
  store.apply({ workloads: { upsert: workloads }, services: { upsert: services } });
  const [address] = local.addresses;
  const tcpDestination = { ip: address ?? ip("0.0.0.0"), port: 15008 };
  const called = resolveThrough(store, { local, authority, tcpDestination, callerNamespace });
  switch (called.kind) {
    case "own":
      return "own";
    case "refuse":
      return `${called.status} ${called.code}`;
    case "called":
      return `${called.service?.hostname ?? called.workload?.name} ${called.port}`;
  }
}

describe("what an authority calls through a waypoint", () => {
  test.each([
    ["a service bound by address", "10.88.0.1:80", "byaddress.shop 80"],
    ["a service bound by name", "10.88.0.2:80", "byname.shop 80"],
    ["by its host name, in any case", "ByName.Shop:80", "byname.shop 80"],
    ["a canary's share", "10.88.0.3:80", "canary.shop 80"],
    ["a workload that is bound", "10.0.0.20:9999", "bound 9999"],
    ["a workload before a VIP of the same address", "10.88.0.5:80", "both 80"],
    ["the waypoint's own address", "10.0.0.9:8080", "own"],
    ["another waypoint's service", "10.88.0.4:80", "400 hbone_request"],
    ["the same by name", "others.shop:80", "400 hbone_request"],
    ["a service without a waypoint, by name", "none.shop:80", "400 hbone_request"],
    ["a service whose waypoint is nowhere", "10.88.0.6:80", "400 hbone_request"],
    ["a workload without a waypoint", "10.0.0.21:80", "400 hbone_request"],
    ["an unknown address", "192.0.2.1:80", "400 hbone_request"],
    ["loopback", "127.0.0.1:80", "400 hbone_request"],
    ["a port that the service does not have", "10.88.0.1:81", "503 no_route"],
    ["port 0 of a workload", "10.0.0.20:0", "400 hbone_request"],
    ["an unknown name", "unknown.shop:80", "503 no_route"],
    ["no port", "10.88.0.1", "503 no_route"],
    ["nothing", "", "503 no_route"],
  ])("%s", (_name, authority, expected) => expect(resolve(authority)).toBe(expected));

  test("several instances behind one name take the same; one by address is that one alone", () => {
    expect(resolve("10.88.0.2:80", two)).toBe("byname.shop 80");
    expect(resolve("10.88.0.1:80", two)).toBe("400 hbone_request");
    expect(resolve("10.88.0.2:80", other)).toBe("400 hbone_request");
    expect(resolve("10.88.0.3:80", other)).toBe("canary.shop 80");
  });

  test("of two services with one address the caller's own namespace decides", () => {
    expect(resolve("10.88.0.7:80", one, "shop")).toBe("shared.shop 80");
    expect(resolve("10.88.0.7:80", one, "evil")).toBe("400 hbone_request");
  });
});
