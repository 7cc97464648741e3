import { describe, expect, test } from "bun:test";
import { formatSocketAddress } from "../../base/ip.ts";
import type { Service } from "../service.ts";
import { MeshStore } from "../store/store.ts";
import { gatewayAt, gatewayNamed, ip, member, service, workload } from "../testing/fixture.ts";
import type { Workload } from "../workload.ts";
import { type InboundRequest, type InboundRoute, resolveInbound } from "./inbound_route.ts";

const db = workload("db", { addresses: [ip("10.0.0.2")], services: member("shop/db.shop", { 5432: 15432 }) });
const dbService = service("db", { 5432: 0, 80: 8080 }, { addresses: [{ network: "", ip: ip("10.88.0.2") }] });
const legacy = workload("legacy", { addresses: [ip("10.0.0.3")], waypoint: gatewayAt("10.0.0.2") });

function resolve(
  authority: string,
  local: Workload = db,
  fields: Partial<InboundRequest> = {},
  others: { readonly workloads?: readonly Workload[]; readonly services?: readonly Service[] } = {},
): InboundRoute {
  const store = new MeshStore();
  const fronted = service(
    "fronted",
    { 80: 80 },
    { addresses: [{ network: "", ip: ip("10.88.0.4") }], waypoint: gatewayNamed("shop", "db.shop") },
  );
  store.apply({
    workloads: { upsert: [local, legacy, ...(others.workloads ?? [])] },
    services: { upsert: [dbService, fronted, ...(others.services ?? [])] },
  });
  return resolveInbound(store, {
    local,
    authority,
    tcpDestination: { ip: ip("10.0.0.2"), port: 15008 },
    isOwnListener: ({ port }) => [15001, 15006, 15008].includes(port),
    ...fields,
  });
}

function show(route: InboundRoute): string {
  if (route.kind === "refuse") return `${route.status} ${route.code}`;
  const proxy =
    route.proxyProtocol === null ? "" : ` PROXY ${formatSocketAddress(route.proxyProtocol.destination)}`;
  return `${formatSocketAddress(route.target)} ${route.service?.name ?? "-"}${proxy}`;
}

const proxying = { ...db, applicationTunnel: { protocol: "PROXY", port: 15088 } as const };

describe("the answers and decisions of ztunnel's build_inbound_request", () => {
  test.each([
    ["our own address", "10.0.0.2:9000", "10.0.0.2:9000 -"],
    ["a port that one of our services maps to", "10.0.0.2:15432", "10.0.0.2:15432 db"],
    ["another address", "10.0.0.77:80", "400 hbone_request"],
    ["a workload that has us as its waypoint: its port on our address", "10.0.0.3:80", "10.0.0.2:80 -"],
    ["a VIP whose waypoint is a service we are an endpoint of", "10.88.0.4:80", "10.0.0.2:80 -"],
    ["our service by name, this endpoint's map", "db.shop:5432", "10.0.0.2:15432 db"],
    ["our service by name, the service's map", "db.shop:80", "10.0.0.2:8080 db"],
    ["our service by name, no such port", "db.shop:443", "503 no_route"],
    ["an unknown name", "nobody.shop:80", "503 no_route"],
    ["our own tunnel", "10.0.0.2:15008", "503 self_call"],
    ["port 0", "10.0.0.2:0", "400 hbone_request"],
    ["no port", "10.0.0.2", "400 hbone_request"],
    ["no authority", "", "400 hbone_request"],
    ["a mapped address is not a name", "[::ffff:10.0.0.2]:80", "400 hbone_request"],
    ["IPv6 that is not ours", "[2001:db8::1]:80", "400 hbone_request"],
  ])("%s", (_name, authority, expected) => {
    expect(show(resolve(authority))).toBe(expected);
  });

  test("an application tunnel takes calls for anybody, on its own port, and is told what was called", () => {
    expect(show(resolve("10.9.9.9:80", proxying))).toBe("10.0.0.2:15088 - PROXY 10.9.9.9:80");
    expect(show(resolve("db.shop:80", proxying))).toBe("10.0.0.2:15088 db PROXY 10.88.0.2:80");
    const plain = { ...db, applicationTunnel: { protocol: "NONE", port: 0 } as const };
    expect(show(resolve("10.9.9.9:80", plain))).toBe("10.0.0.2:80 -");
    const self = { ...db, applicationTunnel: { protocol: "PROXY", port: 15008 } as const };
    expect(show(resolve("10.0.0.2:80", self))).toBe("503 self_call");
  });

  test("the service the client says it called is believed only when it is ours", () => {
    expect(show(resolve("10.0.0.2:9000", db, { forwardedHost: "db.shop" }))).toBe("10.0.0.2:9000 db");
    expect(show(resolve("10.0.0.2:9000", db, { forwardedHost: "bank.example" }))).toBe("10.0.0.2:9000 -");
  });

  test("of services with the same target port the first of the workload's is guessed", () => {
    const other = service("other", { 80: 9000 }, { addresses: [] });
    const first = service("first", { 81: 9000 }, { addresses: [] });
    const local = { ...db, services: new Map([...member("shop/first.shop"), ...member("shop/other.shop")]) };
    const both = { services: [other, first] };
    expect(show(resolve("10.0.0.2:9000", local, {}, both))).toBe("10.0.0.2:9000 first");
    const turned = { ...db, services: new Map([...member("shop/other.shop"), ...member("shop/first.shop")]) };
    expect(show(resolve("10.0.0.2:9000", turned, {}, both))).toBe("10.0.0.2:9000 other");
  });

  test("who is described twice is the same by identity and address, both", () => {
    // The gateway of the address that was called is another description of this host.
    const twin = { ...db, uid: "twin", name: "twin", services: member("shop/edge.shop") };
    const edge = service("edge", { 80: 80 }, { hostname: "edge.shop" });
    const called = {
      ...workload("called", { addresses: [ip("10.0.0.5")] }),
      waypoint: gatewayNamed("shop", "edge.shop"),
    };
    const at = (gateway: Workload): string =>
      show(resolve("10.0.0.5:80", db, {}, { workloads: [called, gateway], services: [edge] }));
    expect(at(twin)).toBe("10.0.0.2:80 -");
    const stranger = workload("stranger", { addresses: db.addresses, services: twin.services });
    expect(at({ ...stranger, uid: "stranger" })).toBe("400 hbone_request");
    expect(at({ ...twin, addresses: [ip("10.0.0.6")] })).toBe("400 hbone_request");
  });

  test("behind a PROXY header it is dialled at loopback of the same family, which may be ours as well", () => {
    const refusesAt = (own: string) => ({
      isOwnListener: ({ ip: at, port }: { readonly ip: { readonly text: string }; readonly port: number }) =>
        at.text === own && port === 15088,
    });
    expect(show(resolve("10.0.0.2:80", proxying, refusesAt("127.0.0.1")))).toBe("503 self_call");
    expect(show(resolve("10.0.0.2:80", proxying, refusesAt("::1")))).toBe(
      "10.0.0.2:15088 - PROXY 10.0.0.2:80",
    );
    const six = { ...proxying, addresses: [ip("2001:db8::2")] };
    const arrived = { tcpDestination: { ip: ip("2001:db8::2"), port: 15008 } };
    const call = (own: string) => show(resolve("[2001:db8::2]:80", six, { ...arrived, ...refusesAt(own) }));
    expect(call("::1")).toBe("503 self_call");
    expect(call("127.0.0.1")).toBe("[2001:db8::2]:15088 - PROXY [2001:db8::2]:80");
  });
});
