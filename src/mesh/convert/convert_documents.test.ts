import { describe, expect, test } from "bun:test";
import { readFile } from "node:fs/promises";
import { formatSocketAddress } from "../../base/ip.ts";
import { parseDocuments } from "../documents/parse.ts";
import { context, convert, document, refusalsOf, warningsOf } from "../testing/convert_text.ts";
import type { GatewayAddress, Workload } from "../workload.ts";
import { convertDocuments } from "./convert_documents.ts";

function only<T>(items: readonly T[]): T {
  expect(items).toHaveLength(1);
  const [item] = items;
  if (item === undefined) throw new Error("none");
  return item;
}

const hbone = "annotations: {ambient.istio.io/redirection: enabled}";

describe("WorkloadEntry", () => {
  test("every field, as istiod fills it", () => {
    const text = document(
      "WorkloadEntry",
      "shop/cart-1",
      `${hbone}, labels: {app: basket, team: a} | {address: 10.0.0.1, serviceAccount: cart, network: west, locality: r/z/s, weight: 5, labels: {version: v2, team: b}}`,
    );
    expect(only(convert([text]).workloads)).toMatchObject({
      uid: "c1/networking.istio.io/WorkloadEntry/shop/cart-1",
      name: "cart-1",
      namespace: "shop",
      hostname: "",
      network: "west",
      tunnelProtocol: "HBONE",
      trustDomain: "cluster.local",
      serviceAccount: "cart",
      identity: { uri: "spiffe://cluster.local/ns/shop/sa/cart" },
      canonicalName: "basket",
      canonicalRevision: "v2",
      workloadName: "cart-1",
      workloadType: "pod",
      nativeTunnel: false,
      status: "HEALTHY",
      clusterId: "c1",
      locality: { region: "r", zone: "z", subzone: "s" },
      capacity: 5,
      node: "",
      location: { file: "f", line: 1, column: 1 },
    });
  });

  const cases: readonly [string, string, Partial<Workload>][] = [
    [
      "nothing said is plain TCP, one share, account default",
      "{address: 10.0.0.1}",
      {
        tunnelProtocol: "NONE",
        capacity: 1,
        serviceAccount: "default",
        canonicalName: "w",
        canonicalRevision: "latest",
      },
    ],
    [
      "a label for the tunnel makes it native",
      "labels: {networking.istio.io/tunnel: http} | {address: 10.0.0.1}",
      { tunnelProtocol: "HBONE", nativeTunnel: true },
    ],
    [
      "the label may be in the spec",
      "{address: 10.0.0.1, labels: {networking.istio.io/tunnel: http}}",
      { tunnelProtocol: "HBONE", nativeTunnel: true },
    ],
    [
      "another value is none",
      "labels: {networking.istio.io/tunnel: none} | {address: 10.0.0.1}",
      { tunnelProtocol: "NONE" },
    ],
    ["a name is resolved later", "{address: db.example}", { hostname: "db.example", addresses: [] }],
    ["a weight of nothing is one share", "{address: 10.0.0.1, weight: 0}", { capacity: 1 }],
    [
      "health by label",
      "labels: {fairlead.dev/health: unhealthy} | {address: 10.0.0.1}",
      { status: "UNHEALTHY" },
    ],
    [
      "health by annotation",
      "annotations: {fairlead.dev/health: unhealthy} | {address: 10.0.0.1}",
      { status: "UNHEALTHY" },
    ],
    ["its node", "annotations: {fairlead.dev/node: n1} | {address: 10.0.0.1}", { node: "n1" }],
    [
      "PROXY to a port",
      "annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY/15088} | {address: 10.0.0.1}",
      { applicationTunnel: { protocol: "PROXY", port: 15088 } },
    ],
    [
      "PROXY",
      "annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY} | {address: 10.0.0.1}",
      { applicationTunnel: { protocol: "PROXY", port: 0 } },
    ],
    [
      "labels name it",
      "labels: {app.kubernetes.io/name: a, app: b, service.istio.io/canonical-revision: r} | {address: 10.0.0.1}",
      { canonicalName: "a", canonicalRevision: "r" },
    ],
  ];
  test.each(cases)("%s", (_name, rest, expected) => {
    expect(only(convert([document("WorkloadEntry", "shop/w", rest)]).workloads)).toMatchObject(expected);
  });

  test("words about it that are none are refused", () => {
    const conversion = convert([
      document("WorkloadEntry", "shop/a", "annotations: {fairlead.dev/health: sick} | {address: 10.0.0.1}"),
      document(
        "WorkloadEntry",
        "shop/b",
        "annotations: {ambient.istio.io/waypoint-inbound-binding: PROXY/99999} | {address: 10.0.0.2}",
      ),
    ]);
    expect(conversion.workloads).toEqual([]);
    expect(refusalsOf(conversion)).toEqual([
      "3 WorkloadEntry shop/a: fairlead.dev/health must be healthy or unhealthy",
      "8 WorkloadEntry shop/b: ambient.istio.io/waypoint-inbound-binding must be PROXY/PORT, PROXY or NONE",
    ]);
  });

  test("workloads of another network get its gateway", () => {
    const { workloads } = convert([
      document("WorkloadEntry", "shop/far", "{address: 10.0.0.1, network: west}"),
      document(
        "WorkloadEntry",
        "istio-system/gate",
        "annotations: {fairlead.dev/gateway-for-network: west} | {address: 10.0.0.9}",
      ),
    ]);
    expect(workloads.map((workload) => gateway(workload.networkGateway))).toEqual(["10.0.0.9:15008", null]);
  });
});

function gateway(address: GatewayAddress | null): string | null {
  if (address === null) return null;
  return address.kind === "address"
    ? formatSocketAddress({ ip: address.ip, port: address.hboneMtlsPort })
    : `${address.namespace}/${address.hostname}:${address.hboneMtlsPort}`;
}

describe("ServiceEntry", () => {
  const ports =
    "ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS, targetPort: 8443}]";
  const cart = document(
    "WorkloadEntry",
    "shop/cart",
    "labels: {app: cart} | {address: 10.0.0.1, ports: {http: 8080}}",
  );

  test("a service for each host; endpoints are selected in its own namespace, by all labels", () => {
    const conversion = convert([
      cart,
      document("WorkloadEntry", "other/cart", "labels: {app: cart} | {address: 10.0.0.2}"),
      document("WorkloadEntry", "shop/db", "labels: {app: db} | {address: 10.0.0.3}"),
      document(
        "ServiceEntry",
        "shop/cart",
        `{hosts: [cart.shop, basket.shop], addresses: [10.88.0.1, 10.89.0.0/16], ${ports}, resolution: STATIC, workloadSelector: {labels: {app: cart}}}`,
      ),
    ]);
    expect(conversion.services.map((service) => [service.hostname, service.canonical])).toEqual([
      ["cart.shop", true],
      ["basket.shop", true],
    ]);
    const [service] = conversion.services;
    expect(service?.addresses.map(({ ip }) => ip.text)).toEqual(["10.88.0.1"]);
    expect(service?.cidrAddresses.map(({ prefix }) => `${prefix.ip}/${prefix.length}`)).toEqual([
      "10.89.0.0/16",
    ]);
    expect([...(service?.ports.values() ?? [])]).toEqual([
      { servicePort: 80, targetPort: 80, protocol: "HTTP11" },
      { servicePort: 443, targetPort: 8443, protocol: "TLS" },
    ]);
    expect(
      conversion.workloads.map((workload) => [
        workload.uid.split("/").slice(3).join("/"),
        [...workload.services.keys()],
      ]),
    ).toEqual([
      ["shop/cart", ["shop/cart.shop", "shop/basket.shop"]],
      ["other/cart", []],
      ["shop/db", []],
    ]);
    expect([...(conversion.workloads[0]?.services.get("shop/cart.shop") ?? [])]).toEqual([
      [80, 8080],
      [443, 8443],
    ]);
  });

  test("inline endpoints are workloads of their own", () => {
    const text = document(
      "ServiceEntry",
      "shop/ext",
      `labels: {app: ext} | {hosts: [ext.example], ${ports}, resolution: STATIC, endpoints: [{address: 10.0.0.1, serviceAccount: e, labels: {networking.istio.io/tunnel: http}}, {address: "fd00::1", ports: {http: 81}, weight: 2}]}`,
    );
    const { workloads } = convert([text]);
    expect(
      workloads.map((workload) => [
        workload.uid,
        workload.tunnelProtocol,
        workload.capacity,
        workload.identity.serviceAccount,
        workload.canonicalName,
      ]),
    ).toEqual([
      ["c1/networking.istio.io/ServiceEntry/shop/ext/10.0.0.1", "HBONE", 1, "e", "ext"],
      ["c1/networking.istio.io/ServiceEntry/shop/ext/fd00::1", "NONE", 2, "default", "ext"],
    ]);
    expect(workloads[1]?.services.get("shop/ext.example")?.get(80)).toBe(81);
  });

  test("names of a DNS service stand for themselves", () => {
    const { workloads } = convert([
      document(
        "ServiceEntry",
        "shop/dns",
        "{hosts: [a.example, b.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
      ),
    ]);
    expect(workloads.map((workload) => [workload.hostname, [...workload.services.keys()]])).toEqual([
      ["a.example", ["shop/a.example"]],
      ["b.example", ["shop/b.example"]],
    ]);
  });

  test("how it is balanced: no resolution passes through; a distribution may be the namespace's", () => {
    const { services } = convert([
      document("Namespace", "shop", "annotations: {networking.istio.io/traffic-distribution: PreferClose} |"),
      document("ServiceEntry", "shop/a", "{hosts: [a.a]}"),
      document("ServiceEntry", "shop/b", "{hosts: [b.b], resolution: STATIC}"),
      document(
        "ServiceEntry",
        "shop/c",
        "annotations: {networking.istio.io/traffic-distribution: PreferSameNode} | {hosts: [c.c], resolution: STATIC}",
      ),
      document("ServiceEntry", "other/d", "{hosts: [d.d], resolution: STATIC}"),
    ]);
    expect(
      services.map(({ loadBalancing: { mode, healthPolicy, routingPreferences } }) => [
        mode,
        healthPolicy,
        routingPreferences.length,
      ]),
    ).toEqual([
      ["PASSTHROUGH", "ALLOW_ALL", 0],
      ["FAILOVER", "ONLY_HEALTHY", 3],
      ["FAILOVER", "ONLY_HEALTHY", 5],
      ["STANDARD", "ONLY_HEALTHY", 0],
    ]);
  });

  test("the oldest public one of a shared name is canonical", () => {
    const at = (time: string) => `creationTimestamp: "2026-0${time}-01T00:00:00Z"`;
    const { services } = convert([
      document("ServiceEntry", "a/x", `${at("3")} | {hosts: [x.x]}`),
      document("ServiceEntry", "b/x", `${at("1")} | {hosts: [x.x], exportTo: ["."]}`),
      document("ServiceEntry", "c/x", `${at("2")} | {hosts: [x.x]}`),
      document("ServiceEntry", "d/x", "{hosts: [x.x]}"),
    ]);
    expect(services.map((service) => service.canonical)).toEqual([false, false, true, false]);
  });

  test("what an operator should know", () => {
    const conversion = convert([
      document(
        "ServiceEntry",
        "shop/a",
        `annotations: {networking.istio.io/traffic-distribution: Near} | {hosts: [a.a], ${ports}, resolution: STATIC}`,
      ),
      document(
        "ServiceEntry",
        "shop/b",
        `{hosts: [b.b, c.c], addresses: [10.88.0.1], ${ports}, resolution: STATIC, workloadSelector: {labels: {a: b}}}`,
      ),
    ]);
    expect(warningsOf(conversion)).toEqual([
      'ServiceEntry shop/a: networking.istio.io/traffic-distribution must be one of Any, PreferClose, PreferSameZone, PreferSameNode, not "Near"',
      "ServiceEntry shop/a: without spec.addresses it has no VIP: call it by name, through --dns with capture, SOCKS5, HTTP CONNECT or a mapped port",
      "ServiceEntry shop/a: spec.resolution is STATIC, but it has neither endpoints nor a workloadSelector",
      "ServiceEntry shop/b: its workloadSelector selects no WorkloadEntry",
      "ServiceEntry shop/b: its hosts share spec.addresses, which then belong to the first host by name",
    ]);
  });
});

describe("what is claimed twice", () => {
  const we = (name: string, address: string, network = "") =>
    document("WorkloadEntry", name, `{address: ${address}${network === "" ? "" : `, network: ${network}`}}`);
  const cases: readonly [string, readonly string[], readonly string[]][] = [
    [
      "a document",
      [we("a/a", "10.0.0.1"), we("a/a", "10.0.0.2")],
      ["6 WorkloadEntry a/a: is given twice; the first is at f:1:1"],
    ],
    [
      "an address of workloads",
      [we("a/a", "10.0.0.1"), we("a/b", "10.0.0.1")],
      ["9 WorkloadEntry a/b: the address 10.0.0.1 is claimed by WorkloadEntry a/a at f:1:1"],
    ],
    ["not on another network", [we("a/a", "10.0.0.1"), we("a/b", "10.0.0.1", "west")], []],
    [
      "a mapped address is the address",
      [we("a/a", "10.0.0.1"), we("a/b", '"::ffff:10.0.0.1"')],
      ["9 WorkloadEntry a/b: the address 10.0.0.1 is claimed by WorkloadEntry a/a at f:1:1"],
    ],
    [
      "an address of IPv6, however it is written",
      [we("a/a", '"fd77::3"'), we("a/b", '"FD77:0:0::0003"')],
      ["9 WorkloadEntry a/b: the address fd77::3 is claimed by WorkloadEntry a/a at f:1:1"],
    ],
    [
      "a VIP",
      [
        document("ServiceEntry", "a/a", "{hosts: [a.a], addresses: [10.88.0.1]}"),
        document("ServiceEntry", "b/b", "{hosts: [b.b], addresses: [10.88.0.1/32]}"),
      ],
      ["9 ServiceEntry b/b: the address 10.88.0.1 is claimed by ServiceEntry a/a at f:1:1"],
    ],
    [
      "a block, however it is written",
      [
        document("ServiceEntry", "a/a", "{hosts: [a.a], addresses: [10.88.0.0/16]}"),
        document("ServiceEntry", "b/b", "{hosts: [b.b], addresses: [10.88.7.1/16]}"),
      ],
      ["9 ServiceEntry b/b: the address 10.88.7.1/16 is claimed by ServiceEntry a/a at f:1:1"],
    ],
    [
      "a VIP and a workload",
      [we("a/a", "10.0.0.1"), document("ServiceEntry", "b/b", "{hosts: [b.b], addresses: [10.0.0.1]}")],
      ["9 ServiceEntry b/b: the address 10.0.0.1 is claimed by WorkloadEntry a/a at f:1:1"],
    ],
    [
      "a host in a namespace",
      [
        document("ServiceEntry", "a/a", "{hosts: [a.a]}"),
        document("ServiceEntry", "a/b", "{hosts: [b.b, A.a]}"),
        document("ServiceEntry", "b/b", "{hosts: [a.a]}"),
      ],
      ["9 ServiceEntry a/b: the host a.a is claimed by ServiceEntry a/a at f:1:1"],
    ],
    [
      "one host may be behind two services, described alike",
      [
        document(
          "ServiceEntry",
          "a/a",
          "{hosts: [a.a], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}",
        ),
        document(
          "ServiceEntry",
          "a/b",
          "{hosts: [b.b], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}",
        ),
      ],
      [],
    ],
    [
      "but not described differently",
      [
        document(
          "ServiceEntry",
          "a/a",
          "{hosts: [a.a], resolution: STATIC, endpoints: [{address: 10.0.0.1}]}",
        ),
        document(
          "ServiceEntry",
          "a/b",
          "{hosts: [b.b], resolution: STATIC, endpoints: [{address: 10.0.0.1, serviceAccount: x}]}",
        ),
      ],
      [
        "9 ServiceEntry a/b: the address 10.0.0.1 is claimed by ServiceEntry a/a at f:1:1 as spiffe://cluster.local/ns/a/sa/default without HBONE, and here as spiffe://cluster.local/ns/a/sa/x without HBONE",
      ],
    ],
  ];
  test.each(cases)("%s", (_name, texts, expected) => {
    const conversion = convert(texts);
    expect(refusalsOf(conversion)).toEqual([...expected]);
    expect(conversion.statuses.filter((status) => !status.accepted)).toHaveLength(expected.length);
    expect(conversion.workloads.length + conversion.services.length).toBeGreaterThan(0);
  });

  test("a refused document claims nothing", () => {
    const conversion = convert([
      document("WorkloadEntry", "a/a", "{address: 10.0.0.1}"),
      document("ServiceEntry", "a/s", "{hosts: [s.s], addresses: [10.88.0.1, 10.0.0.1]}"),
      document("ServiceEntry", "a/t", "{hosts: [s.s], addresses: [10.88.0.1]}"),
    ]);
    expect(conversion.services.map((service) => service.name)).toEqual(["t"]);
  });
});

describe("waypoints by label", () => {
  const service = (name: string, labels: string) =>
    document(
      "ServiceEntry",
      `shop/${name}`,
      `${labels === "" ? "" : `labels: {${labels}} `}| {hosts: [${name}.shop]}`,
    );
  const we = (name: string, address: string, labels = "") =>
    document(
      "WorkloadEntry",
      `shop/${name}`,
      `labels: {app: ${name}${labels === "" ? "" : `, ${labels}`}} | {address: ${address}}`,
    );

  test("on a service, a workload, a namespace; none opts out; a waypoint stands behind none", () => {
    const conversion = convert([
      document("Namespace", "shop", "labels: {istio.io/use-waypoint: gate} |"),
      service("a", ""),
      service("b", "istio.io/use-waypoint: none"),
      service("c", "istio.io/use-waypoint: other, istio.io/use-waypoint-namespace: infra"),
      document("ServiceEntry", "infra/other", "{hosts: [other.infra]}"),
      we("gate", "10.0.0.9"),
      we("w", "10.0.0.1"),
    ]);
    expect(conversion.services.map((entry) => [entry.name, gateway(entry.waypoint)])).toEqual([
      ["a", "10.0.0.9:15008"],
      ["b", null],
      ["c", "infra/other.infra:15008"],
      ["other", null],
    ]);
    expect(conversion.workloads.map((entry) => gateway(entry.waypoint))).toEqual([null, null]);
    expect(warningsOf(conversion)).toEqual([]);
  });

  test("a waypoint for workloads, and its own members", () => {
    const conversion = convert([
      document(
        "ServiceEntry",
        "shop/gate",
        "labels: {istio.io/waypoint-for: all} | {hosts: [gate.shop], addresses: [10.88.0.9], resolution: STATIC, workloadSelector: {labels: {app: gate1}}}",
      ),
      document("Namespace", "shop", "labels: {istio.io/use-waypoint: gate} |"),
      we("gate1", "10.0.0.9"),
      we("w", "10.0.0.1"),
      service("a", ""),
    ]);
    expect(conversion.workloads.map((entry) => [entry.name, gateway(entry.waypoint)])).toEqual([
      ["gate1", null],
      ["w", "shop/gate.shop:15008"],
    ]);
    expect(conversion.services.map((entry) => gateway(entry.waypoint))).toEqual([
      null,
      "shop/gate.shop:15008",
    ]);
  });

  test("one that is not there is named all the same, so that calls are refused", () => {
    const conversion = convert([
      service("a", "istio.io/use-waypoint: gone"),
      we("w", "10.0.0.1", "istio.io/use-waypoint: gone"),
      we("v", "10.0.0.2", "istio.io/use-waypoint: w2"),
      we("w2", "10.0.0.3"),
    ]);
    expect(gateway(conversion.services[0]?.waypoint ?? null)).toBe("shop/gone:15008");
    expect(conversion.workloads.map((entry) => gateway(entry.waypoint))).toEqual([
      "shop/gone:15008",
      null,
      null,
    ]);
    expect(warningsOf(conversion)).toEqual([
      "ServiceEntry shop/a: there is no waypoint shop/gone; calls are refused until there is",
      "WorkloadEntry shop/w: there is no waypoint shop/gone; calls are refused until there is",
      "WorkloadEntry shop/v: shop/w2 does not take workload traffic (its label istio.io/waypoint-for)",
    ]);
  });
});

test("the example is a mesh without a complaint", async () => {
  const files = await Promise.all(
    ["mesh.yaml", "policy.yaml"].map(async (name) => ({
      path: name,
      text: await readFile(new URL(`../../../examples/shop/${name}`, import.meta.url), "utf8"),
    })),
  );
  const { documents, errors } = parseDocuments(files);
  expect(errors).toEqual([]);
  const conversion = convertDocuments(documents, context);
  expect(conversion.errors).toEqual([]);
  expect(warningsOf(conversion)).toEqual([]);
  expect(conversion.workloads.map((workload) => workload.name)).toEqual([
    "cart",
    "db",
    "db-spare",
    "example",
  ]);
});

test("a RequestAuthentication without targets has no effect, and that is said", () => {
  const rules = "jwtRules: [{issuer: https://i.example}]";
  const texts = [
    document("RequestAuthentication", "shop/all", `{${rules}}`),
    document("RequestAuthentication", "shop/one", `{targetRefs: [{kind: Service, name: a}], ${rules}}`),
  ];
  expect(warningsOf(convert(texts))).toEqual([
    "RequestAuthentication shop/all: it names no target, and only a waypoint reads tokens: it has no effect without spec.targetRefs",
  ]);
});
