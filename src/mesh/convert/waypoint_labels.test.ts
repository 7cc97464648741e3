/** Whom `istio.io/use-waypoint` binds, wherever it is written (issue: a waypoint that was silently gone around). */
import { describe, expect, test } from "bun:test";
import { convert, document, warningsOf } from "../testing/convert_text.ts";

const all = document(
  "Gateway",
  "shop/wp",
  "labels: {istio.io/waypoint-for: all} | {gatewayClassName: istio-waypoint, addresses: [{value: 10.5.0.1}]}",
);
const other = all.replace("name: wp", "name: other").replace("10.5.0.1", "10.5.0.2");
const shop = (use: string) => document("Namespace", "shop", `labels: {istio.io/use-waypoint: ${use}} |`);
const use = (name: string) => `labels: {istio.io/use-waypoint: ${name}}`;

/** The waypoint of each workload, in order: the last number of its address, `-` without one. */
function waypoints(texts: readonly string[]): string {
  return convert([all, other, ...texts])
    .workloads.map(({ waypoint }) => {
      if (waypoint === null) return "-";
      return waypoint.kind === "address" ? (waypoint.ip.text.split(".")[3] ?? "") : waypoint.hostname;
    })
    .join(" ");
}

const entry = (meta: string, spec: string) =>
  document("WorkloadEntry", "shop/db", `${meta} | {address: 10.0.0.1${spec === "" ? "" : `, ${spec}`}}`);
const service = (meta: string, ...endpoints: readonly string[]) => {
  const list = endpoints.map(
    (fields, index) => `{address: 10.0.1.${index}${fields === "" ? "" : `, ${fields}`}}`,
  );
  return document(
    "ServiceEntry",
    "shop/api",
    `${meta} | {hosts: [api.shop], addresses: [10.9.0.1], ports: [{number: 80, name: tcp}], resolution: STATIC, endpoints: [${list.join(", ")}]}`,
  );
};

describe("a WorkloadEntry is bound by its labels", () => {
  const cases: readonly (readonly [string, string, string, string])[] = [
    ["in metadata", use("wp"), "", "1"],
    ["in its spec", "", use("wp"), "1"],
    ["in its spec, which opt out of the namespace's", "", use("none"), "-"],
    ["in metadata over its spec", use("other"), use("wp"), "2"],
    ["in metadata, which bind what its spec opts out", use("wp"), use("none"), "1"],
    ["in metadata, which opt out what its spec binds", use("none"), use("wp"), "-"],
    ["not at all: by the namespace's", "", "", "2"],
  ];
  for (const [where, meta, spec, expected] of cases)
    test(where, () => expect(waypoints([shop("other"), entry(meta, spec)])).toBe(expected));

  test("with the waypoint's namespace in the spec too", () => {
    const labels = "labels: {istio.io/use-waypoint: wp, istio.io/use-waypoint-namespace: shop}";
    const bank = document("WorkloadEntry", "bank/db", `{address: 10.0.0.1, ${labels}}`);
    const open = all.replace(
      "gatewayClassName:",
      "listeners: [{name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}], gatewayClassName:",
    );
    expect(convert([open, bank]).workloads[0]?.waypoint).toMatchObject({ kind: "address" });
  });
});

describe("an endpoint of a ServiceEntry is bound", () => {
  test("by its own label, each by itself", () => {
    expect(waypoints([service("", use("wp"), use("other"), "")])).toBe("1 2 -");
  });

  test("by its ServiceEntry's, by the namespace's; its own `none` opts out", () => {
    expect(waypoints([service(use("wp"), "", use("none"), use("other"))])).toBe("1 - 2");
    expect(waypoints([shop("other"), service("", "", use("none"), use("wp"))])).toBe("2 - 1");
  });

  test("by the namespace's, whatever its ServiceEntry opts out of for the service", () => {
    expect(waypoints([shop("wp"), service(use("none"), "", use("other"))])).toBe("1 2");
    expect(convert([all, shop("wp"), service(use("none"), "")]).services[0]?.waypoint).toBeNull();
  });

  test("and calls are refused when the waypoint is not there", () => {
    expect(waypoints([service("", use("gone"))])).toBe("gone");
    expect(warningsOf(convert([service("", use("gone"))]))).toEqual([
      "ServiceEntry shop/api: there is no waypoint shop/gone; calls are refused until there is",
    ]);
  });

  test("and told when the waypoint takes no such traffic", () => {
    const services = all.replace("waypoint-for: all", "waypoint-for: service");
    expect(warningsOf(convert([services, service("", use("wp"))]))).toEqual([
      "ServiceEntry shop/api: shop/wp does not take workload traffic (its label istio.io/waypoint-for)",
    ]);
    expect(warningsOf(convert([services, service(use("wp"), "")]))).toEqual([]);
  });
});

describe("what is a waypoint has none before it", () => {
  const named = document("WorkloadEntry", "shop/gate", `${use("wp")} | {address: 10.0.0.9}`);

  test("a label of its own namespace makes it one", () => {
    expect(waypoints([named, entry(use("gate"), "")])).toBe("- -");
  });

  test("a label elsewhere does not, so no tenant takes another's waypoint away", () => {
    const foreign = document(
      "WorkloadEntry",
      "bank/x",
      "labels: {istio.io/use-waypoint: gate, istio.io/use-waypoint-namespace: shop} | {address: 10.0.0.8}",
    );
    expect(waypoints([named, foreign])).toStartWith("1 ");
    const meant = named.replace("labels: {", "labels: {istio.io/waypoint-for: all, ");
    expect(waypoints([meant, foreign])).toBe("- 9");
  });

  test("a label in a spec names one too", () => {
    expect(waypoints([named, entry("", use("gate"))])).toBe("- -");
    expect(waypoints([named, service("", use("gate"))])).toBe("- -");
  });

  test("`none` names nothing, not even a workload of that name", () => {
    const none = document("WorkloadEntry", "shop/none", `${use("wp")} | {address: 10.0.0.9}`);
    expect(waypoints([none, entry(use("none"), "")])).toBe("1 -");
  });
});

describe("labels", () => {
  test("of a WorkloadEntry's metadata win over those of its spec, and policies follow them", () => {
    const policy = (name: string, label: string) =>
      document(
        "AuthorizationPolicy",
        `shop/${name}`,
        `{selector: {matchLabels: {app: ${label}}}, action: DENY, rules: [{}]}`,
      );
    const { workloads } = convert([
      policy("meta", "meta"),
      policy("spec", "spec"),
      entry("labels: {app: meta}", "labels: {app: spec, version: v2}"),
    ]);
    expect(workloads[0]?.authorizationPolicies).toEqual(["shop/meta"]);
    expect(workloads[0]).toMatchObject({ canonicalName: "meta", canonicalRevision: "v2" });
  });

  test("of a ServiceEntry select its endpoints, as istiod has it; an endpoint's own do not", () => {
    const policies = ["entry", "endpoint"].map((label) =>
      document(
        "AuthorizationPolicy",
        `shop/${label}`,
        `{selector: {matchLabels: {app: ${label}}}, action: DENY, rules: [{}]}`,
      ),
    );
    const strict = document(
      "PeerAuthentication",
      "shop/strict",
      "{selector: {matchLabels: {app: entry}}, mtls: {mode: STRICT}}",
    );
    const conversion = convert([
      ...policies,
      strict,
      service("labels: {app: entry}", "labels: {app: endpoint}"),
    ]);
    expect(conversion.workloads[0]?.authorizationPolicies).toEqual([
      "shop/entry",
      "istio-system/istio_converted_static_strict",
    ]);
    expect(warningsOf(conversion)).toContain(
      "AuthorizationPolicy shop/endpoint: its selector selects no workload; endpoints of ServiceEntry shop/api have " +
        "these labels, but policies select endpoints by the labels of the ServiceEntry itself",
    );
  });

  test("of a workload say whether there is a tunnel, wherever they are", () => {
    const tunnel = (value: string) => `labels: {networking.istio.io/tunnel: ${value}}`;
    const protocols = (texts: readonly string[]) =>
      convert(texts).workloads.map((workload) => workload.tunnelProtocol);
    expect(protocols([entry("", tunnel("http"))])).toEqual(["HBONE"]);
    expect(protocols([entry(tunnel("none"), tunnel("http"))])).toEqual(["NONE"]);
    expect(protocols([service("", tunnel("http"), "")])).toEqual(["HBONE", "NONE"]);
    expect(protocols([service(tunnel("http"), tunnel("none"), "")])).toEqual(["NONE", "HBONE"]);
  });
});

describe("a canary takes a share of a service's connections (istiod `buildWeightedWaypoints`)", () => {
  const shares = (...texts: readonly string[]) =>
    convert([all, other, ...texts]).services.map(({ weightedWaypoints }) =>
      weightedWaypoints
        .map(({ destination, weight }) =>
          destination.kind === "address"
            ? `${destination.ip.text.split(".")[3]}:${weight}`
            : destination.hostname,
        )
        .join(" "),
    )[0];
  const labels = (more: string, weight: string) =>
    `labels: {${more}}, annotations: {istio.io/use-waypoint-canary-weight: "${weight}"}`;
  const both = "istio.io/use-waypoint: wp, istio.io/use-waypoint-canary: other";

  test("by its own labels, and by the namespace's when it names no waypoint itself", () => {
    expect(shares(service(labels(both, "10")))).toBe("1:90 2:10");
    const namespace = document("Namespace", "shop", `${labels(both, "25")} |`);
    expect(shares(namespace, service(""))).toBe("1:75 2:25");
    expect(shares(namespace, service(use("other")))).toBe("");
  });

  test("without a weight it takes nothing yet", () => {
    expect(shares(service(`labels: {${both}}`))).toBe("1:100 2:0");
  });

  test("one that is not there, is the first itself, or has no share in percent leaves all to the first, and is said", () => {
    for (const [more, weight] of [
      ["istio.io/use-waypoint: wp, istio.io/use-waypoint-canary: gone", "10"],
      ["istio.io/use-waypoint: wp, istio.io/use-waypoint-canary: wp", "10"],
      [both, "101"],
      [both, "ten"],
    ] as const) {
      const text = service(labels(more, weight));
      expect(shares(text)).toBe("");
      expect(warningsOf(convert([all, other, text])).join()).toContain(
        "all connections pass the first waypoint",
      );
    }
  });

  test("without a first one it is nothing", () => {
    expect(shares(service(labels("istio.io/use-waypoint-canary: other", "10")))).toBe("");
  });
});
