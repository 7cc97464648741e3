import { describe, expect, test } from "bun:test";
import { convertDocuments } from "../convert/convert_documents.ts";
import type { MeshDocument } from "../documents/document.ts";
import { parseDocuments } from "../documents/parse.ts";
import { serviceKey } from "../service.ts";
import { context } from "../testing/convert_text.ts";
import { planTraffic } from "./plan_traffic.ts";
import { defaultRetryPolicy, type HttpRule, type RoutePlan } from "./route_plan.ts";
import { noTraffic, type TrafficPlan } from "./traffic_plan.ts";
import type { TrafficScope } from "./traffic_scope.ts";

/** `Kind namespace/name {spec}`, or with metadata before a bar. */
function document(kind: string, name: string, spec: string, created = ""): string {
  const groups: Readonly<Record<string, string>> = {
    VirtualService: "networking.istio.io/v1",
    DestinationRule: "networking.istio.io/v1",
    ServiceEntry: "networking.istio.io/v1",
    RateLimit: "fairlead.dev/v1",
    TCPRoute: "gateway.networking.k8s.io/v1alpha2",
  };
  const [namespace, own] = name.split("/");
  const time = created === "" ? "" : `, creationTimestamp: "2026-01-${created}T00:00:00Z"`;
  return `apiVersion: ${groups[kind] ?? "gateway.networking.k8s.io/v1"}\nkind: ${kind}\nmetadata: {name: ${own}, namespace: ${namespace}${time}}\nspec: ${spec}\n`;
}

const service = (
  name: string,
  host = `${name.split("/")[1]}.shop.mesh`,
  ports = "[{number: 80, name: http, protocol: HTTP}]",
): string =>
  document(
    "ServiceEntry",
    name,
    `{hosts: [${host}], ports: ${ports}, resolution: STATIC, endpoints: [{address: 10.0.0.${name.startsWith("shop") ? 1 : 2}}]}`,
  );

const services = [
  service("shop/reviews"),
  service("shop/ratings"),
  service(
    "shop/two",
    "two.shop.mesh",
    "[{number: 80, name: http, protocol: HTTP}, {number: 81, name: other, protocol: HTTP}]",
  ),
  service(
    "shop/db",
    "db.shop.mesh",
    "[{number: 5432, name: tcp, protocol: TCP}, {number: 443, name: tls, protocol: TLS}]",
  ),
  service("other/outside", "api.outside.example", "[{number: 443, name: https, protocol: TLS}]"),
  service("shop/k8s", "k8s.shop.svc.cluster.local"),
];

interface Planned {
  readonly plan: TrafficPlan;
  readonly warnings: readonly string[];
  /** Of a port, the first by default. */
  readonly of: (host: string, port?: number) => RoutePlan | undefined;
}

const waypointScope: TrafficScope = {
  waypoint: { namespace: "shop", gateways: ["shop/waypoint"] },
  serves: () => true,
  rootNamespace: "istio-system",
};

function plan(texts: readonly string[], scope: Partial<TrafficScope> = {}, previous = noTraffic): Planned {
  const text = [...services, ...texts].join("---\n");
  const { documents, errors } = parseDocuments([{ path: "f", text }]);
  expect(errors.map(({ message }) => message)).toEqual([]);
  const conversion = convertDocuments(documents, context);
  const warnings: string[] = [];
  const report = {
    warn: (about: MeshDocument, _reason: string, message: string) =>
      void warnings.push(`${about.metadata.key}: ${message}`),
  };
  const planned = planTraffic(
    documents,
    conversion.services,
    { ...waypointScope, ...scope },
    report,
    previous,
  );
  return {
    plan: planned,
    warnings,
    of: (host, port = 80) => {
      const found = conversion.services.find(({ hostname }) => hostname === host);
      return found === undefined ? undefined : planned.routes.get(`${serviceKey(found)}:${port}`);
    },
  };
}

/** What a rule takes, in few words: its paths, or `*`. */
const paths = (rules: readonly HttpRule[] | undefined): readonly string[] =>
  (rules ?? []).map(({ matches }) =>
    matches.length === 0 ? "*" : matches.map(({ path }) => path?.value ?? "?").join(" "),
  );

const to = (host: string, more = ""): string => `route: [{destination: {host: ${host}${more}}}]`;

describe("VirtualServices", () => {
  test("a service without one has no routes", () => {
    expect(plan([]).plan).toEqual({ routes: new Map(), destinations: new Map(), rateLimits: [] });
  });

  test("their rules come in order, and nothing after one that takes everything", () => {
    const { of } = plan([
      document(
        "VirtualService",
        "shop/v",
        `{hosts: [reviews.shop.mesh], http: [{match: [{uri: {prefix: /a}}], ${to("ratings.shop.mesh")}}, {${to("reviews.shop.mesh")}}, {match: [{uri: {prefix: /c}}], ${to("reviews.shop.mesh")}}]}`,
      ),
    ]);
    expect(paths(of("reviews.shop.mesh")?.http)).toEqual(["/a", "*"]);
    const [first] = of("reviews.shop.mesh")?.http ?? [];
    expect(first?.action).toMatchObject({
      kind: "forward",
      destinations: [{ service: "shop/ratings.shop.mesh", port: 80, subset: null, missing: null, weight: 1 }],
    });
    expect(first?.retries).toBe(defaultRetryPolicy);
    expect(first?.name).toBe("shop/v.http.0");
    expect(of("ratings.shop.mesh")).toBeUndefined();
  });

  test("several of one host follow each other, private ones and older ones first", () => {
    const one = (name: string, path: string, created: string, more = ""): string =>
      document(
        "VirtualService",
        `shop/${name}`,
        `{hosts: [reviews.shop.mesh]${more}, http: [{match: [{uri: {exact: ${path}}}], ${to("reviews.shop.mesh")}}]}`,
        created,
      );
    const { of } = plan([
      one("b", "/young", "09"),
      one("a", "/old", "02"),
      one("d", "/untimed-d", ""),
      one("c", "/untimed-c", ""),
      one("p", "/private", "20", ", exportTo: ['.']"),
    ]);
    expect(paths(of("reviews.shop.mesh")?.http)).toEqual([
      "/private",
      "/old",
      "/young",
      "/untimed-c",
      "/untimed-d",
    ]);
  });

  test("only those of the service's namespace or the waypoint's route it", () => {
    const one = (name: string): string =>
      document(
        "VirtualService",
        name,
        `{hosts: [reviews.shop.mesh], http: [{match: [{uri: {exact: /${name.split("/")[0]}}}], ${to("reviews.shop.mesh")}}]}`,
      );
    const texts = [one("shop/a"), one("foreign/b"), one("infra/c")];
    expect(paths(plan(texts).of("reviews.shop.mesh")?.http)).toEqual(["/shop"]);
    const infra = plan(texts, { waypoint: { namespace: "infra", gateways: ["infra/w"] } });
    expect(paths(infra.of("reviews.shop.mesh")?.http)).toEqual(["/shop", "/infra"]);
  });

  test("wildcards and short names mean services", () => {
    const rule = `http: [{${to("reviews.shop.mesh")}}]`;
    expect(
      plan([document("VirtualService", "shop/v", `{hosts: ["*.shop.mesh"], ${rule}}`)]).plan.routes.size,
    ).toBe(6);
    expect([
      ...plan([document("VirtualService", "shop/v", `{hosts: [k8s], ${rule}}`)]).plan.routes.keys(),
    ]).toEqual(["shop/k8s.shop.svc.cluster.local:80"]);
    expect(plan([document("VirtualService", "other/v", `{hosts: [k8s], ${rule}}`)]).plan.routes.size).toBe(0);
  });

  test("matches that a waypoint cannot see are dropped, and rules with them", () => {
    const matches = [
      "[{sourceLabels: {app: a}}]",
      "[{sourceNamespace: elsewhere}]",
      "[{gateways: [istio/gw]}]",
      "[{port: 81}]",
    ];
    const dropped = matches.map((match) => `{match: ${match}, ${to("ratings.shop.mesh")}}`).join(", ");
    const { of } = plan([
      document(
        "VirtualService",
        "shop/v",
        `{hosts: [two.shop.mesh], http: [${dropped}, {match: [{sourceNamespace: shop, uri: {exact: /s}}, {sourceLabels: {a: b}, uri: {exact: /x}}], ${to("ratings.shop.mesh")}}]}`,
      ),
    ]);
    expect(paths(of("two.shop.mesh", 80)?.http)).toEqual(["/s"]);
    expect(paths(of("two.shop.mesh", 81)?.http)).toEqual(["*"]);
  });

  test("one for gateways alone has no effect, and one without HTTP leaves HTTP as it is", () => {
    const rule = `http: [{${to("reviews.shop.mesh")}}]`;
    expect(
      plan([
        document("VirtualService", "shop/v", `{hosts: [reviews.shop.mesh], gateways: [istio/gw], ${rule}}`),
      ]).plan.routes.size,
    ).toBe(0);
  });

  test("a port that is not said is the only one, else the one that was called", () => {
    const { of } = plan([
      document(
        "VirtualService",
        "shop/v",
        `{hosts: [two.shop.mesh], http: [{match: [{uri: {exact: /one}}], ${to("reviews.shop.mesh")}}, {${to("two.shop.mesh")}}]}`,
      ),
    ]);
    const ports = (of("two.shop.mesh", 81)?.http ?? []).map(({ action }) =>
      action.kind === "forward" ? action.destinations[0]?.port : null,
    );
    expect(ports).toEqual([80, 81]);
  });

  test("what is not there is answered 503 by its share, and said once", () => {
    const { of, warnings } = plan([
      document(
        "VirtualService",
        "shop/v",
        "{hosts: [two.shop.mesh], http: [{route: [{destination: {host: nowhere.mesh}, weight: 1}, {destination: {host: reviews.shop.mesh, port: {number: 9}}, weight: 1}, {destination: {host: reviews.shop.mesh, subset: v9}, weight: 1}], mirrors: [{destination: {host: nowhere.mesh}}]}]}",
      ),
    ]);
    const [rule] = of("two.shop.mesh")?.http ?? [];
    expect(rule?.mirrors).toEqual([]);
    expect(
      rule?.action.kind === "forward" ? rule.action.destinations.map(({ missing }) => missing?.status) : [],
    ).toEqual([503, 503, 503]);
    expect(warnings).toEqual([
      "VirtualService shop/v: no service is called nowhere.mesh: requests for it are answered with 503",
      "VirtualService shop/v: reviews.shop.mesh has no port 9: requests for it are answered with 503",
      "VirtualService shop/v: no DestinationRule of reviews.shop.mesh has a subset v9: requests for it are answered with 503",
      "VirtualService shop/v: no service is called nowhere.mesh: requests for it are answered with 503",
    ]);
  });

  test("the authority of headers and of destinations is a rewrite", () => {
    const { of } = plan([
      document(
        "VirtualService",
        "shop/v",
        "{hosts: [reviews.shop.mesh], http: [{headers: {request: {set: {Host: a.mesh}}}, route: [{destination: {host: reviews.shop.mesh}, headers: {request: {set: {':authority': b.mesh, x: y}}}}]}]}",
      ),
    ]);
    const [rule] = of("reviews.shop.mesh")?.http ?? [];
    expect(rule?.rewrite).toEqual({ path: null, authority: "a.mesh" });
    expect(rule?.action).toMatchObject({
      destinations: [{ authority: "b.mesh", headers: { request: { set: [["x", "y"]] } } }],
    });
  });

  test("TLS and TCP by port and subnet", () => {
    const { of } = plan([
      document(
        "VirtualService",
        "shop/v",
        "{hosts: [db.shop.mesh], tcp: [{match: [{port: 5432, destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: db.shop.mesh}}]}], tls: [{match: [{port: 443, sniHosts: [db.shop.mesh]}], route: [{destination: {host: db.shop.mesh}}]}]}",
      ),
    ]);
    expect(of("db.shop.mesh", 5432)).toMatchObject({
      http: [],
      tls: [],
      tcp: [{ destinations: [{ port: 5432 }] }],
    });
    expect(of("db.shop.mesh", 443)).toMatchObject({
      tls: [{ matches: [{ sniHosts: ["db.shop.mesh"] }], destinations: [{ port: 443 }] }],
      tcp: [],
    });
  });
});

describe("delegates (Istio MergeHTTPRoutes)", () => {
  const root = (match: string): string =>
    document(
      "VirtualService",
      "shop/root",
      `{hosts: [reviews.shop.mesh], http: [{name: r, match: [${match}], timeout: 3s, delegate: {name: leaf, namespace: team}}]}`,
    );
  const leaf = (http: string, more = ""): string =>
    document("VirtualService", "team/leaf", `{http: [${http}]${more}}`);

  test("take what the root gives them, and say more", () => {
    const { of } = plan([
      root("{uri: {prefix: /team}, headers: {a: {exact: b}}}"),
      leaf(
        `{name: l, match: [{uri: {prefix: /team/x}, headers: {c: {exact: d}}}], ${to("reviews.shop.mesh")}}, {${to("ratings.shop.mesh")}}`,
      ),
    ]);
    const rules = of("reviews.shop.mesh")?.http ?? [];
    expect(paths(rules)).toEqual(["/team/x", "/team"]);
    expect(rules[0]).toMatchObject({
      name: "r-l",
      timeoutMs: 3_000,
      matches: [{ headers: [{ name: "a" }, { name: "c" }] }],
    });
  });

  test("cannot take more than they are given", () => {
    const { of, warnings } = plan([
      root("{uri: {prefix: /team}}"),
      leaf(
        `{match: [{uri: {prefix: /other}}], ${to("reviews.shop.mesh")}}, {match: [{uri: {exact: /team/a}}], ${to("reviews.shop.mesh")}}`,
      ),
    ]);
    expect(paths(of("reviews.shop.mesh")?.http)).toEqual(["/team/a"]);
    expect(warnings).toEqual([
      "VirtualService team/leaf: it asks for what VirtualService shop/root (f:34:43) does not delegate, so this route has no effect",
    ]);
  });

  test("that are not there, or not for this namespace, have no effect", () => {
    expect(plan([root("{}")]).warnings).toEqual([
      "VirtualService shop/root: the delegate team/leaf is not there, so this route has no effect",
    ]);
    const hidden = plan([root("{}"), leaf(`{${to("reviews.shop.mesh")}}`, ", exportTo: [elsewhere]")]);
    expect(hidden.of("reviews.shop.mesh")).toBeUndefined();
    expect(hidden.warnings[0]).toContain("is not exported to this namespace");
  });
});

describe("routes of the Gateway API", () => {
  const route = (
    name: string,
    rules: string,
    created = "",
    parent = "kind: Service, name: reviews",
  ): string =>
    document("HTTPRoute", name, `{parentRefs: [{group: "", ${parent}}], rules: [${rules}]}`, created);
  const back = "backendRefs: [{name: ratings, port: 80}]";

  test("come in the specification's order, not in the document's", () => {
    const { of } = plan([
      route(
        "shop/young",
        `{matches: [{path: {type: RegularExpression, value: "/.*"}}, {path: {value: /a}}, {path: {type: Exact, value: /a}}, {path: {value: /a/b}}], ${back}}, {matches: [{path: {value: /a}, queryParams: [{name: q, value: v}]}, {path: {value: /a}, headers: [{name: h, value: v}]}, {path: {value: /a}, method: GET}, {headers: [{name: z, value: v}]}], ${back}}`,
        "09",
      ),
      route("shop/old", `{name: oldest, matches: [{path: {value: /a}}], ${back}}`, "01"),
    ]);
    const rules = of("reviews.shop.mesh")?.http ?? [];
    expect(rules.map(({ name }) => name)).toEqual([
      "shop/young.rules.0.2",
      "shop/young.rules.0.3",
      "shop/young.rules.1.2",
      "shop/young.rules.1.1",
      "shop/young.rules.1.0",
      "oldest",
      "shop/young.rules.0.1",
      "shop/young.rules.1.3",
      "shop/young.rules.0.0",
    ]);
  });

  test("that want the same requests: the older decides, then the name, in whatever order they come", () => {
    const same = (name: string, created: string) =>
      route(name, `{matches: [{path: {type: Exact, value: /a}}], ${back}}`, created);
    const rest = "{hosts: [reviews.shop.mesh], http: [{match: [{uri: {exact: /a}}], ";
    const young = document("VirtualService", "shop/a", `${rest}${to("ratings.shop.mesh")}}]}`, "09");
    const old = document("VirtualService", "shop/b", `${rest}${to("reviews.shop.mesh")}}]}`, "02");
    for (const turn of [(all: string[]) => all, (all: string[]) => [...all].reverse()]) {
      const first = (all: string[]) => plan(turn(all)).of("reviews.shop.mesh")?.http[0]?.name;
      expect(first([same("shop/a", "09"), same("shop/b", "02")])).toBe("shop/b.rules.0");
      expect(first([same("shop/b", ""), same("shop/a", "")])).toBe("shop/a.rules.0");
      expect(first([same("shop/b", "02"), same("shop/a", "02")])).toBe("shop/a.rules.0");
      expect(first([young, old])).toBe("shop/b.http.0");
      expect(first([young, same("shop/a", "01")])).toBe("shop/a.http.0");
    }
  });

  test("are attached to a service by its document's name, and to one of its ports", () => {
    const texts = [route("shop/r", `{${back}}`, "", "kind: Service, name: two, port: 81")];
    expect([...plan(texts).plan.routes.keys()]).toEqual(["shop/two.shop.mesh:81"]);
    const entry = document(
      "HTTPRoute",
      "shop/r",
      `{parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: two}], rules: [{${back}}]}`,
    );
    expect(plan([entry]).plan.routes.size).toBe(2);
    expect(plan([route("shop/r", `{${back}}`, "", "kind: Service, name: k8s")]).plan.routes.size).toBe(1);
  });

  test("answer 500 for backends that are not there, of another namespace, or none", () => {
    const { of, warnings } = plan([
      route(
        "shop/r",
        `{name: a, matches: [{path: {value: /a}}], backendRefs: [{name: none, port: 80}]}, {name: b, matches: [{path: {value: /b}}]}, {name: c, matches: [{path: {value: /c}}], backendRefs: [{name: outside, namespace: other, port: 443}]}`,
      ),
    ]);
    const missing = (of("reviews.shop.mesh")?.http ?? []).map(({ action }) =>
      action.kind === "forward" ? action.destinations[0]?.missing?.status : null,
    );
    expect(missing).toEqual([500, 500, 500]);
    expect(warnings).toHaveLength(3);
  });

  test("may send to another namespace by a ReferenceGrant there, and by no other", () => {
    const backend =
      "{group: networking.istio.io, kind: ServiceEntry, name: outside, namespace: other, port: 443}";
    const grant = (namespace: string, from: string, to: string): string =>
      document(
        "ReferenceGrant",
        `${namespace}/g`,
        `{from: [{group: gateway.networking.k8s.io, kind: ${from}}], to: [{group: networking.istio.io, kind: ServiceEntry${to}}]}`,
      );
    const missing = (...grants: readonly string[]) => {
      const action = plan([route("shop/r", `{backendRefs: [${backend}]}`), ...grants]).of("reviews.shop.mesh")
        ?.http[0]?.action;
      return action?.kind === "forward" ? action.destinations[0]?.missing?.status : undefined;
    };
    expect(missing()).toBe(500);
    expect(missing(grant("other", "HTTPRoute, namespace: shop", ""))).toBeUndefined();
    expect(missing(grant("other", "HTTPRoute, namespace: shop", ", name: outside"))).toBeUndefined();
    expect(missing(grant("other", "HTTPRoute, namespace: shop", ", name: another"))).toBe(500);
    expect(missing(grant("other", "HTTPRoute, namespace: foreign", ""))).toBe(500);
    expect(missing(grant("other", "GRPCRoute, namespace: shop", ""))).toBe(500);
    expect(missing(grant("shop", "HTTPRoute, namespace: shop", ""))).toBe(500);
  });

  test("a backend by host name", () => {
    const { of } = plan([
      route(
        "shop/r",
        "{backendRefs: [{group: networking.istio.io, kind: Hostname, name: api.outside.example, port: 443}]}",
      ),
    ]);
    expect(of("reviews.shop.mesh")?.http[0]?.action).toMatchObject({
      destinations: [{ service: "other/api.outside.example", missing: null }],
    });
  });

  test("come after a VirtualService's, and that is said with both places", () => {
    const { of, warnings } = plan([
      route("shop/r", `{${back}}`),
      document(
        "VirtualService",
        "shop/v",
        `{hosts: [reviews.shop.mesh], http: [{match: [{uri: {exact: /v}}], ${to("reviews.shop.mesh")}}]}`,
      ),
    ]);
    expect(paths(of("reviews.shop.mesh")?.http)).toEqual(["/v", "*"]);
    expect(warnings).toEqual([
      "HTTPRoute shop/r: reviews.shop.mesh has routes of VirtualService shop/v too (f:36:1), and those come first",
    ]);
  });

  test("GRPCRouteRule.matches: characters of the service, then of the method, then headers; all calls come last", () => {
    const to = "backendRefs: [{name: ratings, port: 80}]";
    const { of } = plan([
      document(
        "GRPCRoute",
        "shop/g",
        `{parentRefs: [{group: '', kind: Service, name: reviews}], rules: [{${to}}, {matches: [{headers: [{name: x, value: "1"}]}], ${to}}, {matches: [
          {method: {method: Watch}}, {method: {type: RegularExpression, service: "a[.].*"}},
          {method: {type: RegularExpression, service: "a[.].*", method: "(Get|Set)"}},
          {method: {service: a.B}}, {method: {service: a.B, method: Watch}}, {method: {service: a.Longer}}], ${to}}]}`,
      ),
    ]);
    expect(paths(of("reviews.shop.mesh")?.http)).toEqual([
      ...["/a.B/Watch", "/a.Longer/", "/a.B/"],
      ...["/a[.].*/(Get|Set)", "/a[.].*/[^/]+", "/[^/]+/Watch", "?", "*"],
    ]);
    expect(of("reviews.shop.mesh")?.http.at(-2)?.matches[0]?.headers.length).toBe(1);
  });

  test("GRPCRoute, TCPRoute and TLSRoute", () => {
    const { of } = plan([
      document(
        "GRPCRoute",
        "shop/g",
        "{parentRefs: [{group: '', kind: Service, name: reviews}], rules: [{matches: [{method: {service: a.B}}, {method: {service: a.B, method: C}}], backendRefs: [{name: ratings, port: 80}]}]}",
      ),
      document(
        "TCPRoute",
        "shop/t",
        "{parentRefs: [{group: '', kind: Service, name: db, port: 5432}], rules: [{backendRefs: [{name: db, port: 5432, weight: 3}]}]}",
      ),
      document(
        "TLSRoute",
        "shop/s",
        "{parentRefs: [{group: '', kind: Service, name: db}], hostnames: ['*.db.mesh'], rules: [{backendRefs: [{name: db, port: 443}]}]}",
      ),
    ]);
    expect(paths(of("reviews.shop.mesh")?.http)).toEqual(["/a.B/C", "/a.B/"]);
    expect(of("db.shop.mesh", 5432)?.tcp).toMatchObject([{ destinations: [{ weight: 3 }] }]);
    expect(of("db.shop.mesh", 443)).toMatchObject({
      tls: [{ matches: [{ sniHosts: ["*.db.mesh"] }] }],
      tcp: [],
    });
  });
});

describe("DestinationRules", () => {
  const rule = (name: string, spec: string, created = ""): string =>
    document("DestinationRule", name, spec, created);
  const simple = (word: string): string => `trafficPolicy: {loadBalancer: {simple: ${word}}}`;
  const balancer = ({ plan: { destinations } }: Planned, key = "shop/reviews.shop.mesh", port = 80) =>
    destinations.get(key)?.ports.get(port)?.loadBalancer.kind;

  test("of the waypoint's namespace come before those of the service's, and those before the root's", () => {
    const own = rule("shop/a", `{host: api.outside.example, ${simple("RANDOM")}}`);
    const theirs = rule("other/b", `{host: api.outside.example, ${simple("ROUND_ROBIN")}}`);
    const root = rule("istio-system/c", `{host: api.outside.example, ${simple("PASSTHROUGH")}}`);
    const key = "other/api.outside.example";
    expect(balancer(plan([own, theirs, root]), key, 443)).toBe("random");
    expect(balancer(plan([theirs, root]), key, 443)).toBe("round-robin");
    expect(balancer(plan([root]), key, 443)).toBe("passthrough");
    expect(
      plan([rule("foreign/d", `{host: api.outside.example, ${simple("RANDOM")}}`)]).plan.destinations.size,
    ).toBe(0);
  });

  test("an exact host comes before a wildcard, and a longer before a shorter", () => {
    const texts = [
      rule("shop/a", `{host: "*.mesh", ${simple("RANDOM")}}`),
      rule("shop/b", `{host: "*.shop.mesh", ${simple("ROUND_ROBIN")}}`),
      rule("shop/c", `{host: reviews.shop.mesh, ${simple("PASSTHROUGH")}}`),
    ];
    expect(balancer(plan(texts))).toBe("passthrough");
    expect(balancer(plan(texts), "shop/ratings.shop.mesh")).toBe("round-robin");
  });

  test("of one host are put together, the older's first; what is there twice is said with both places", () => {
    const { plan: planned, warnings } = plan([
      rule(
        "shop/young",
        `{host: reviews.shop.mesh, ${simple("RANDOM")}, subsets: [{name: v1, labels: {version: x}}, {name: v2, labels: {version: v2}}]}`,
        "09",
      ),
      rule(
        "shop/old",
        `{host: reviews.shop.mesh, ${simple("ROUND_ROBIN")}, subsets: [{name: v1, labels: {version: v1}}]}`,
        "01",
      ),
    ]);
    const destination = planned.destinations.get("shop/reviews.shop.mesh");
    expect(destination?.ports.get(80)?.loadBalancer.kind).toBe("round-robin");
    expect(
      [...(destination?.subsets.values() ?? [])].map(({ name, labels }) => [name, labels.get("version")]),
    ).toEqual([
      ["v1", "v1"],
      ["v2", "v2"],
    ]);
    expect(warnings).toEqual([
      "DestinationRule shop/young: its trafficPolicy has no effect: an older DestinationRule of this host has one (f:39:48)",
      "DestinationRule shop/young: its subset v1 has no effect: an older DestinationRule of this host has one (f:39:97)",
    ]);
  });

  test("a port's policy takes the place of the whole; a subset's, of the same field", () => {
    const { plan: planned } = plan([
      rule(
        "shop/a",
        "{host: two.shop.mesh, trafficPolicy: {loadBalancer: {simple: RANDOM}, outlierDetection: {}, portLevelSettings: [{port: {number: 81}, connectionPool: {tcp: {maxConnections: 7}}}]}, subsets: [{name: v1, labels: {}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]}",
      ),
    ]);
    const destination = planned.destinations.get("shop/two.shop.mesh");
    expect(destination?.ports.get(80)).toMatchObject({
      loadBalancer: { kind: "random" },
      outlier: { consecutive5xx: 5 },
    });
    expect(destination?.ports.get(81)).toMatchObject({
      loadBalancer: { kind: "least-request" },
      outlier: null,
      pool: { maxConnections: 7 },
    });
    const subset = destination?.subsets.get("v1");
    expect(subset?.ports.get(80)).toMatchObject({
      loadBalancer: { kind: "round-robin" },
      outlier: { consecutive5xx: 5 },
    });
    expect(subset?.ports.get(81)).toMatchObject({
      loadBalancer: { kind: "round-robin" },
      outlier: null,
      pool: { maxConnections: 7 },
    });
  });

  test("BackendTLSPolicy gives TLS to a port by its name, unless a DestinationRule does", () => {
    const policy = document(
      "BackendTLSPolicy",
      "other/p",
      "{targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: outside, sectionName: https}], validation: {hostname: api.outside.example, wellKnownCACertificates: System}}",
    );
    expect(
      plan([policy]).plan.destinations.get("other/api.outside.example")?.ports.get(443)?.tls,
    ).toMatchObject({
      mode: "simple",
      sni: "api.outside.example",
      caCertificates: null,
    });
  });

  test("what did not change stays the same value, so that what is known of endpoints stays", () => {
    const texts = [
      rule(
        "shop/a",
        `{host: reviews.shop.mesh, ${simple("RANDOM")}, subsets: [{name: v1, labels: {version: v1}}]}`,
      ),
      document(
        "VirtualService",
        "shop/v",
        `{hosts: [reviews.shop.mesh], http: [{${to("reviews.shop.mesh")}}]}`,
      ),
    ];
    const before = plan(texts).plan;
    const more = [
      ...texts,
      document(
        "VirtualService",
        "shop/w",
        `{hosts: [ratings.shop.mesh], http: [{${to("reviews.shop.mesh")}}]}`,
      ),
    ];
    const after = plan(more, {}, before).plan;
    expect(after.routes.size).toBe(2);
    for (const [key, value] of before.routes) expect(after.routes.get(key)).toBe(value);
    for (const [key, value] of before.destinations) expect(after.destinations.get(key)).toBe(value);
    const changed = plan([rule("shop/a", `{host: reviews.shop.mesh, ${simple("RANDOM")}}`)], {}, before).plan;
    const key = "shop/reviews.shop.mesh";
    expect(changed.destinations.get(key)).not.toBe(before.destinations.get(key));
    expect(changed.destinations.get(key)?.ports.get(80)).toBe(before.destinations.get(key)?.ports.get(80));
  });
});

test("services that one document routes share its rules, and keep them together", () => {
  const wild = document(
    "VirtualService",
    "shop/v",
    `{hosts: ["*.shop.mesh"], http: [{${to("reviews.shop.mesh")}}]}`,
  );
  const before = plan([wild]);
  expect(before.of("reviews.shop.mesh")?.http).toBe(before.of("ratings.shop.mesh")?.http ?? []);
  const after = plan([wild], {}, before.plan);
  for (const [key, value] of before.plan.routes) expect(after.plan.routes.get(key)).toBe(value);
});

describe("RateLimits", () => {
  const limit = (name: string, target: string): string =>
    document("RateLimit", name, `{targetRefs: [${target}], rules: [{limit: {requests: 1, unit: SECOND}}]}`);
  test("are for services, this waypoint, or all waypoints if the root namespace says so", () => {
    const targets = (texts: readonly string[]) => plan(texts).plan.rateLimits.map(({ targets: all }) => all);
    expect(targets([limit("shop/a", "{kind: Service, name: reviews}")])).toEqual([
      [{ kind: "service", service: "shop/reviews.shop.mesh" }],
    ]);
    const gateway = "{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}";
    expect(targets([limit("shop/a", gateway)])).toEqual([[{ kind: "waypoint" }]]);
    expect(targets([limit("other/a", gateway)])).toEqual([]);
    const all = "{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio-waypoint}";
    expect(targets([limit("istio-system/a", all)])).toHaveLength(1);
    expect(targets([limit("shop/a", all)])).toEqual([]);
    expect(plan([limit("shop/a", "{kind: Service, name: nothing}")]).warnings).toEqual([
      "RateLimit shop/a: there is no Service shop/nothing",
    ]);
  });
});

test("a check without a waypoint says what is attached to nothing", () => {
  const { warnings } = plan(
    [
      document("VirtualService", "shop/v", `{hosts: [typo.mesh], http: [{${to("reviews.shop.mesh")}}]}`),
      document("DestinationRule", "shop/d", "{host: typo2.mesh}"),
      document(
        "HTTPRoute",
        "shop/h",
        "{parentRefs: [{group: '', kind: Service, name: typo3}], rules: [{backendRefs: [{name: reviews, port: 80}]}]}",
      ),
    ],
    { waypoint: null },
  );
  expect(warnings).toEqual([
    "VirtualService shop/v: no service is called typo.mesh",
    "DestinationRule shop/d: no service is called typo2.mesh",
    "HTTPRoute shop/h: there is no Service shop/typo3",
  ]);
});
