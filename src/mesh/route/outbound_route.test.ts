import { describe, expect, test } from "bun:test";
import { formatSocketAddress, type HostPort, type SocketAddress } from "../../base/ip.ts";
import type { Service } from "../service.ts";
import { MeshStore } from "../store/store.ts";
import { gatewayAt, gatewayNamed, ip, member, service, workload } from "../testing/fixture.ts";
import type { Workload } from "../workload.ts";
import { directRoute, resolveOutbound } from "./outbound_route.ts";
import { authorityFor, type OutboundRequest, type Route, type TcpRoute } from "./route.ts";

const cart = workload("cart", { addresses: [ip("10.0.0.1")] });
const db = workload("db", { addresses: [ip("10.0.0.2")], services: member("shop/db.shop") });
const waypoint = workload("waypoint", { addresses: [ip("10.0.0.9")] });
const dbService = service("db", { 5432: 15432 }, { addresses: [{ network: "", ip: ip("10.88.0.2") }] });

type Thing = Workload | Service;

function storeOf(...things: readonly Thing[]): MeshStore {
  const store = new MeshStore();
  const workloads = things.flatMap((thing) => ("uid" in thing ? [thing] : []));
  const services = things.flatMap((thing) => ("uid" in thing ? [] : [thing]));
  store.apply({ workloads: { upsert: workloads }, services: { upsert: services } });
  return store;
}

function to(text: string): SocketAddress | HostPort {
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, colon).replace(/^\[|\]$/g, "");
  const port = Number(text.slice(colon + 1));
  return /^[0-9.]+$|:/.test(host) ? { ip: ip(host), port } : { host, port };
}

function route(store: MeshStore, destination: string, fields: Partial<OutboundRequest> = {}): Route {
  const request = {
    source: cart,
    sourceIp: ip("10.0.0.1"),
    destination: to(destination),
    network: "",
    ...fields,
  };
  return resolveOutbound(store, request, () => 0);
}

function dialed(dial: TcpRoute["dial"]): string {
  if (dial.kind === "addresses") return dial.addresses.map(formatSocketAddress).join("|");
  return dial.kind === "address" ? formatSocketAddress(dial.address) : `${dial.hostname}:${dial.port}`;
}

/** One line that holds all a route says. */
function show(result: Route): string {
  if (result.protocol === "REFUSED") return `REFUSED ${result.code}`;
  if (result.protocol === "NAME") return `NAME ${result.hostname}:${result.port}`;
  const at = dialed(result.dial);
  if (result.protocol === "TCP")
    return `TCP ${at} ${result.destination?.name ?? "-"} ${result.service?.name ?? "-"}`;
  const expected = result.expectedIdentities
    .map((id) => id.uri.replace("spiffe://cluster.local/ns/", ""))
    .join(",");
  const inner =
    result.protocol === "DOUBLE_HBONE"
      ? `>${result.innerExpectedIdentities.map((id) => id.serviceAccount).join(",")}`
      : "";
  return `${result.protocol} ${at} ${result.authority} ${expected}${inner} ${result.via}`;
}

describe("the decisions of ztunnel's build_request", () => {
  const bothWaypoints = [
    cart,
    waypoint,
    { ...db, waypoint: gatewayAt("10.0.0.9") },
    { ...dbService, waypoint: gatewayAt("10.0.0.9") },
  ] as const;
  const workloadWaypoint = [cart, waypoint, { ...db, waypoint: gatewayAt("10.0.0.9") }, dbService] as const;
  const cases: readonly [string, readonly Thing[], string, string][] = [
    [
      "a VIP with a service waypoint goes there, the authority untranslated",
      bothWaypoints,
      "10.88.0.2:5432",
      "HBONE 10.0.0.9:15008 10.88.0.2:5432 shop/sa/waypoint service_waypoint",
    ],
    [
      "a VIP without one goes direct, past the workload's waypoint",
      workloadWaypoint,
      "10.88.0.2:5432",
      "HBONE 10.0.0.2:15008 10.0.0.2:15432 shop/sa/db direct",
    ],
    [
      "a workload's address goes through its waypoint",
      bothWaypoints,
      "10.0.0.2:15432",
      "HBONE 10.0.0.9:15008 10.0.0.2:15432 shop/sa/waypoint workload_waypoint",
    ],
    [
      "a workload's address without a waypoint goes direct",
      [cart, db],
      "10.0.0.2:80",
      "HBONE 10.0.0.2:15008 10.0.0.2:80 shop/sa/db direct",
    ],
    ["an unknown address passes through", [cart, db], "192.0.2.1:443", "TCP 192.0.2.1:443 - -"],
    [
      "a workload without a tunnel is dialled in the clear, on the target port",
      [cart, { ...db, tunnelProtocol: "NONE" }, dbService],
      "10.88.0.2:5432",
      "TCP 10.0.0.2:15432 db db",
    ],
    [
      "a port that the service does not have",
      [cart, db, dbService],
      "10.88.0.2:80",
      "REFUSED no_healthy_upstream",
    ],
    [
      "a service whose endpoints are all unhealthy",
      [cart, { ...db, status: "UNHEALTHY" }, dbService],
      "10.88.0.2:5432",
      "REFUSED no_healthy_upstream",
    ],
    ["a service without endpoints", [cart, dbService], "10.88.0.2:5432", "REFUSED no_healthy_upstream"],
    [
      "an address that is both a workload's and a VIP without endpoints never goes out in the clear",
      [cart, waypoint, { ...dbService, addresses: [{ network: "", ip: ip("10.0.0.9") }] }],
      "10.0.0.9:5432",
      "REFUSED no_healthy_upstream",
    ],
    [
      "a passthrough service",
      [cart, db, { ...dbService, loadBalancing: { ...dbService.loadBalancing, mode: "PASSTHROUGH" } }],
      "10.88.0.2:5432",
      "TCP 10.88.0.2:5432 - db",
    ],
    [
      "a waypoint that is not there is no reason to go direct",
      [cart, db, { ...dbService, waypoint: gatewayAt("10.9.9.9") }],
      "10.88.0.2:5432",
      "REFUSED no_route",
    ],
    [
      "nor is a workload waypoint",
      [cart, { ...db, waypoint: gatewayNamed("shop", "gone.shop") }],
      "10.0.0.2:80",
      "REFUSED no_route",
    ],
  ];
  test.each(cases)("%s", (_name, things, destination, expected) => {
    expect(show(route(storeOf(...things), destination))).toBe(expected);
  });

  test("the waypoint's own calls go direct: its identity and its address, both", () => {
    const store = storeOf(...bothWaypoints);
    const direct = "HBONE 10.0.0.2:15008 10.0.0.2:15432 shop/sa/db direct";
    const via = "HBONE 10.0.0.9:15008 10.0.0.2:15432 shop/sa/waypoint workload_waypoint";
    expect(show(route(store, "10.0.0.2:15432", { source: waypoint, sourceIp: ip("10.0.0.9") }))).toBe(direct);
    expect(show(route(store, "10.0.0.2:15432", { source: waypoint, sourceIp: ip("10.0.0.8") }))).toBe(via);
    expect(show(route(store, "10.0.0.2:15432", { source: cart, sourceIp: ip("10.0.0.9") }))).toBe(via);
  });

  test("a waypoint's call to a workload that was chosen goes where it is by now, and nowhere once it is gone", () => {
    const chosen = { workload: db, port: 15432, service: dbService };
    const moved = { ...db, addresses: [ip("10.0.0.7")] };
    const said = (store: MeshStore) => show(directRoute(store, waypoint, chosen));
    expect(said(storeOf(db))).toBe("HBONE 10.0.0.2:15008 10.0.0.2:15432 shop/sa/db direct");
    expect(said(storeOf(moved))).toBe("HBONE 10.0.0.7:15008 10.0.0.7:15432 shop/sa/db direct");
    expect(said(storeOf(cart))).toBe("REFUSED no_route");
    expect(show(directRoute(storeOf(db), { ...waypoint, network: "far" }, chosen))).toBe("REFUSED no_route");
  });

  test("our own ports on loopback are refused, others and other addresses are not", () => {
    const isOwnListener = (target: SocketAddress) => target.ip.isLoopback && target.port === 15008;
    expect(show(route(storeOf(cart), "127.0.0.1:15008", { isOwnListener }))).toBe("REFUSED self_call");
    expect(show(route(storeOf(cart), "[::1]:15008", { isOwnListener }))).toBe("REFUSED self_call");
    expect(show(route(storeOf(cart), "127.0.0.1:80", { isOwnListener }))).toBe("TCP 127.0.0.1:80 - -");
    expect(show(route(storeOf(cart), "192.0.2.1:15008", { isOwnListener }))).toBe("TCP 192.0.2.1:15008 - -");
  });
});

describe("waypoints", () => {
  const waypointService = service(
    "waypoint",
    { 15008: 15108 },
    { hostname: "waypoint.shop", subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/gate", "bad"] },
  );
  const behind = { ...waypoint, services: member("shop/waypoint.shop") };

  test("by host name: its service is balanced, the port mapped, its names accepted; a bad name matches no peer", () => {
    const store = storeOf(cart, db, behind, waypointService, {
      ...dbService,
      waypoint: gatewayNamed("shop", "waypoint.shop"),
    });
    expect(show(route(store, "10.88.0.2:5432"))).toBe(
      "HBONE 10.0.0.9:15108 10.88.0.2:5432 shop/sa/waypoint,shop/sa/gate service_waypoint",
    );
  });

  test("by a workload's host name", () => {
    const named = { ...waypoint, hostname: "gate.example", addresses: [] };
    const store = storeOf(cart, db, named, { ...dbService, waypoint: gatewayNamed("shop", "gate.example") });
    expect(show(route(store, "10.88.0.2:5432"))).toBe(
      "HBONE gate.example:15008 10.88.0.2:5432 shop/sa/waypoint service_waypoint",
    );
  });

  test("a waypoint with an application tunnel needs no mapping for its port", () => {
    const tunnel = { ...behind, applicationTunnel: { protocol: "PROXY", port: 15088 } as const };
    const store = storeOf(
      cart,
      db,
      tunnel,
      { ...waypointService, ports: new Map() },
      { ...dbService, waypoint: gatewayNamed("shop", "waypoint.shop") },
    );
    expect(show(route(store, "10.88.0.2:5432"))).toStartWith("HBONE 10.0.0.9:15008 ");
    const without = storeOf(
      cart,
      db,
      behind,
      { ...waypointService, ports: new Map() },
      { ...dbService, waypoint: gatewayNamed("shop", "waypoint.shop") },
    );
    expect(show(route(without, "10.88.0.2:5432"))).toBe("REFUSED no_route");
  });

  test("weighted waypoints are drawn by weight", () => {
    const canary = workload("canary", { addresses: [ip("10.0.0.8")] });
    const weighted = [
      { destination: gatewayAt("10.0.0.9"), weight: 90 },
      { destination: gatewayAt("10.0.0.8"), weight: 10 },
    ];
    const store = storeOf(cart, db, waypoint, canary, {
      ...dbService,
      waypoint: gatewayAt("10.0.0.9"),
      weightedWaypoints: weighted,
    });
    const request = {
      source: cart,
      sourceIp: ip("10.0.0.1"),
      destination: to("10.88.0.2:5432"),
      network: "",
    };
    expect(show(resolveOutbound(store, request, () => 0.89))).toStartWith("HBONE 10.0.0.9:15008");
    expect(show(resolveOutbound(store, request, () => 0.91))).toStartWith("HBONE 10.0.0.8:15008");
  });
});

describe("other networks", () => {
  const far = workload("far", {
    network: "west",
    networkGateway: gatewayAt("10.0.0.7"),
    services: member("shop/db.shop"),
  });
  const gateway = workload("gateway", { addresses: [ip("10.0.0.7")], namespace: "istio-system" });
  const named = { ...dbService, subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/db"] };

  test("an endpoint there is reached through its gateway, by the service's name in both layers", () => {
    expect(show(route(storeOf(cart, far, gateway, named), "10.88.0.2:5432"))).toBe(
      "DOUBLE_HBONE 10.0.0.7:15008 db.shop:5432 istio-system/sa/gateway>db network_gateway",
    );
  });

  test("refused without a gateway, with an unknown one, and without names to expect at the far end", () => {
    const addressed = { ...far, networkGateway: null, addresses: [ip("10.0.0.50")] };
    expect(show(route(storeOf(cart, addressed, named), "10.88.0.2:5432"))).toBe("REFUSED no_route");
    expect(show(route(storeOf(cart, far, named), "10.88.0.2:5432"))).toBe("REFUSED no_route");
    expect(show(route(storeOf(cart, far, gateway, dbService), "10.88.0.2:5432"))).toBe("REFUSED no_route");
  });

  test("a service waypoint there is expected by its own service's names", () => {
    const farWaypoint = {
      ...workload("w", { network: "west", networkGateway: gatewayAt("10.0.0.7") }),
      services: member("shop/w.shop"),
    };
    const wService = service(
      "w",
      { 15008: 15008 },
      { subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/w"] },
    );
    const store = storeOf(cart, farWaypoint, wService, gateway, {
      ...named,
      waypoint: gatewayNamed("shop", "w.shop"),
    });
    expect(show(route(store, "10.88.0.2:5432"))).toBe(
      "DOUBLE_HBONE 10.0.0.7:15008 db.shop:5432 istio-system/sa/gateway>w network_gateway",
    );
  });
});

describe("host names", () => {
  test("a service is found by name and answered as if its VIP was called", () => {
    expect(show(route(storeOf(cart, db, dbService), "db.shop:5432"))).toBe(
      "HBONE 10.0.0.2:15008 10.0.0.2:15432 shop/sa/db direct",
    );
    const store = storeOf(cart, db, waypoint, { ...dbService, waypoint: gatewayAt("10.0.0.9") });
    expect(show(route(store, "DB.shop.:5432"))).toBe(
      "HBONE 10.0.0.9:15008 10.88.0.2:5432 shop/sa/waypoint service_waypoint",
    );
  });

  test("a service without a VIP works by name alone", () => {
    const headless = { ...dbService, addresses: [], waypoint: gatewayAt("10.0.0.9") };
    expect(show(route(storeOf(cart, db, { ...headless, waypoint: null }), "db.shop:5432"))).toBe(
      "HBONE 10.0.0.2:15008 10.0.0.2:15432 shop/sa/db direct",
    );
    expect(show(route(storeOf(cart, db, waypoint, headless), "db.shop:5432"))).toBe(
      "HBONE 10.0.0.9:15008 db.shop:5432 shop/sa/waypoint service_waypoint",
    );
  });

  test("a name that is an address, a wildcard, a stranger, and a service of another namespace only", () => {
    const wildcard = service(
      "web",
      {},
      {
        hostname: "*.example.com",
        loadBalancing: { routingPreferences: [], mode: "PASSTHROUGH", healthPolicy: "ALLOW_ALL" },
      },
    );
    const hidden = service(
      "hidden",
      { 80: 80 },
      { namespace: "other", hostname: "hidden.other", visibility: "NAMESPACE" },
    );
    const store = storeOf(cart, db, wildcard, hidden);
    expect(show(route(store, "10.0.0.2:80"))).toStartWith("HBONE 10.0.0.2:15008");
    expect(
      show(
        resolveOutbound(
          store,
          {
            source: cart,
            sourceIp: ip("10.0.0.1"),
            destination: { host: "10.0.0.2", port: 80 },
            network: "",
          },
          () => 0,
        ),
      ),
    ).toStartWith("HBONE 10.0.0.2:15008");
    expect(show(route(store, "a.b.example.com:443"))).toBe("TCP a.b.example.com:443 - web");
    expect(show(route(store, "nobody.invalid:80"))).toBe("NAME nobody.invalid:80");
    expect(show(route(store, "hidden.other:80"))).toBe("REFUSED no_route");
  });

  test("a service without balancing, called by name, is where its addresses of this network are", () => {
    const external = service(
      "external",
      { 443: 443 },
      {
        addresses: [
          { network: "", ip: ip("192.0.2.7") },
          { network: "far", ip: ip("192.0.2.8") },
          { network: "", ip: ip("2001:db8::7") },
        ],
        loadBalancing: { routingPreferences: [], mode: "PASSTHROUGH", healthPolicy: "ALLOW_ALL" },
      },
    );
    expect(show(route(storeOf(cart, external), "external.shop:443"))).toBe(
      "TCP 192.0.2.7:443|[2001:db8::7]:443 - external",
    );
    expect(show(route(storeOf(cart, { ...external, addresses: [] }), "external.shop:443"))).toBe(
      "TCP external.shop:443 - external",
    );
  });

  test("a workload known by name: the authority is the address it resolved to", () => {
    const named = { ...db, addresses: [], hostname: "db.internal" };
    const result = route(storeOf(cart, named, dbService), "10.88.0.2:5432");
    expect(show(result)).toBe("HBONE db.internal:15008 db.internal:15432 shop/sa/db direct");
    expect(result.protocol === "HBONE" && authorityFor(result, ip("10.7.7.7"))).toBe("10.7.7.7:15432");
    expect(result.protocol === "HBONE" && result.dial.kind === "hostname" && result.dial.family).toBe("IPV4");
  });
});
