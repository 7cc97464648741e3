/** Gateways of class `istio-waypoint` (istiod `ambient/waypoints.go`). */
import { describe, expect, test } from "bun:test";
import { parseDocuments } from "../documents/parse.ts";
import { convert, document, refusalsOf, warningsOf } from "../testing/convert_text.ts";

const service = (use: string, namespace = "shop") =>
  document(
    "ServiceEntry",
    `${namespace}/db`,
    `${use === "" ? "" : `labels: {istio.io/use-waypoint: ${use}}`} | {hosts: [db.${namespace}], addresses: [10.9.0.1], ports: [{number: 80, name: tcp}], resolution: STATIC}`,
  );
const entry = (meta = "") => document("WorkloadEntry", "shop/db", `${meta} | {address: 10.0.0.1}`);
const gateway = (spec: string, meta = "") =>
  document("Gateway", "shop/wp", `${meta} | {gatewayClassName: istio-waypoint, ${spec}}`);
const listeners = (namespaces: string) =>
  `listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: ${namespaces}}}]`;

function waypointOf(texts: readonly string[]): string {
  const conversion = convert(texts);
  const found = conversion.services[0]?.waypoint ?? null;
  if (found === null) return "none";
  return found.kind === "address"
    ? `${found.network}/${found.ip}:${found.hboneMtlsPort}`
    : `${found.namespace}/${found.hostname}:${found.hboneMtlsPort}`;
}

describe("where a waypoint is", () => {
  test("by the address its spec wishes, or by the one its status says", () => {
    expect(waypointOf([gateway("addresses: [{value: 10.5.0.1}]"), service("wp")])).toBe("/10.5.0.1:15008");
    const status = "status: {addresses: [{type: IPAddress, value: 10.5.0.2}], conditions: []}\n";
    expect(waypointOf([gateway("addresses: [{value: 10.5.0.1}]") + status, service("wp")])).toBe(
      "/10.5.0.2:15008",
    );
    const named = gateway("addresses: [{type: Hostname, value: wp.example}]");
    expect(waypointOf([named, service("wp")])).toBe("shop/wp.example:15008");
  });

  test("on the network its label names", () => {
    const far = gateway("addresses: [{value: 10.5.0.1}]", "labels: {topology.istio.io/network: far}");
    expect(waypointOf([far, service("wp")])).toBe("far/10.5.0.1:15008");
  });

  test("for the whole namespace, if that says so; a service may step out", () => {
    const shop = document("Namespace", "shop", "labels: {istio.io/use-waypoint: wp} |");
    const wp = gateway("addresses: [{value: 10.5.0.1}]");
    expect(waypointOf([shop, wp, service("")])).toBe("/10.5.0.1:15008");
    expect(waypointOf([shop, wp, service("none")])).toBe("none");
  });

  test("without an address nothing passes, and both documents say so", () => {
    const conversion = convert([gateway("listeners: []"), service("wp")]);
    expect(conversion.services[0]?.waypoint).toMatchObject({ kind: "hostname", hostname: "wp" });
    expect(warningsOf(conversion).slice(0, 2)).toEqual([
      "Gateway shop/wp: it has an address neither in status nor in spec.addresses: traffic for it is refused",
      "ServiceEntry shop/db: the waypoint shop/wp has no address; calls are refused",
    ]);
  });
});

describe("what a waypoint takes", () => {
  const at = "addresses: [{value: 10.5.0.1}]";

  test("services, unless its label says workloads, all or none", () => {
    const both = (meta: string) => {
      const { services, workloads } = convert([
        gateway(at, meta),
        service("wp"),
        entry("labels: {istio.io/use-waypoint: wp}"),
      ]);
      return [services[0]?.waypoint !== null, workloads[0]?.waypoint !== null];
    };
    expect(both("")).toEqual([true, false]);
    expect(both("labels: {istio.io/waypoint-for: workload}")).toEqual([false, true]);
    expect(both("labels: {istio.io/waypoint-for: all}")).toEqual([true, true]);
    expect(both("labels: {istio.io/waypoint-for: none}")).toEqual([false, false]);
  });

  const foreign = document(
    "ServiceEntry",
    "bank/db",
    "labels: {istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: shop} | {hosts: [db.bank], ports: [{number: 80, name: tcp}], resolution: STATIC}",
  );
  const bank = document("Namespace", "bank", "labels: {team: x} |");
  const cases: readonly (readonly [string, boolean])[] = [
    ["listeners: []", false],
    [listeners("{from: Same}"), false],
    [listeners("{from: None}"), false],
    [listeners("{from: All}"), true],
    [listeners("{from: Selector, selector: {matchLabels: {team: x}}}"), true],
    [listeners("{from: Selector, selector: {matchLabels: {team: y}}}"), false],
    [listeners("{from: Selector}"), false],
    ["listeners: [{name: other, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]", false],
  ];
  for (const [spec, allowed] of cases)
    test(`another namespace's traffic with ${spec}: ${allowed ? "taken" : "refused, not let past"}`, () => {
      const found = waypointOf([gateway(`${at}, ${spec}`), bank, foreign]);
      expect(found).toBe(allowed ? "/10.5.0.1:15008" : "shop/wp:15008");
    });
});

test("an instance of a waypoint has none before it", () => {
  const wp = gateway("addresses: [{value: 10.5.0.1}]", "labels: {istio.io/waypoint-for: all}");
  const use = "istio.io/use-waypoint: wp";
  const waypoint = (labels: string, spec = "") => {
    const text = document(
      "WorkloadEntry",
      "shop/i",
      `labels: {${use}${labels}} | {address: 10.5.0.1${spec}}`,
    );
    return convert([wp, text]).workloads[0]?.waypoint ?? null;
  };
  expect(waypoint("")).not.toBeNull();
  expect(waypoint(", gateway.networking.k8s.io/gateway-name: wp")).toBeNull();
  expect(waypoint(", gateway.networking.k8s.io/gateway-name: other")).not.toBeNull();
  expect(waypoint(", gateway.istio.io/managed: istio.io-mesh-controller")).toBeNull();
  expect(waypoint("", ", labels: {gateway.networking.k8s.io/gateway-name: wp}")).toBeNull();
});

test("gateways of other classes and Istio's own are refused with the reason", () => {
  const errors = (text: string) => parseDocuments([{ path: "f", text }]).errors.map(({ message }) => message);
  expect(errors(document("Gateway", "shop/in", "{gatewayClassName: istio}"))).toEqual([
    'a Gateway of class "istio" is not supported, only istio-waypoint',
  ]);
  expect(
    errors(
      document("Gateway", "shop/in", "{selector: {}}").replace(
        "gateway.networking.k8s.io",
        "networking.istio.io",
      ),
    ),
  ).toEqual(["Istio's own Gateway is not supported yet; it has no effect"]);
  expect(
    errors(
      document(
        "Gateway",
        "shop/in",
        "{gatewayClassName: istio-waypoint, addresses: [{type: Hostname, value: 10.0.0.1}]}",
      ),
    ),
  ).toEqual(["spec.addresses[0].value is not of type Hostname"]);
  expect(refusalsOf(convert([]))).toEqual([]);
});
