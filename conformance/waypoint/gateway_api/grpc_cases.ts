/** GRPCRoutes with calls. g1 and g2 are the services behind them. */

export interface GrpcCall {
  /** `/service/method`. */
  readonly path: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** The version that answers, or the status. */
  readonly expect: "g1" | "g2" | "UNIMPLEMENTED" | "INTERNAL" | "UNKNOWN" | "UNAVAILABLE";
  readonly envoy?: { readonly expect: GrpcCall["expect"]; readonly reason: string };
}

export interface GrpcCase {
  readonly name: string;
  readonly documents: string;
  readonly calls: readonly GrpcCall[];
}

const route = (rules: string): string => `apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: NAME, namespace: shop}
spec:
  parentRefs: [PARENT]
  rules:
${rules.replace(/^/gm, "  ")}
`;
const to = (name: string): string => `backendRefs: [{name: ${name}, port: 80}]`;
const call = (
  path: string,
  expect: GrpcCall["expect"],
  metadata?: Readonly<Record<string, string>>,
): GrpcCall => ({ path, expect, ...(metadata === undefined ? {} : { metadata }) });

export const grpcCases: readonly GrpcCase[] = [
  {
    name: "GRPCRoute: service and method",
    documents: route(`- matches: [{method: {service: shop.Stock, method: Get}}]
  ${to("g2")}`),
    calls: [
      ...[call("/shop.Stock/Get", "g2"), call("/shop.Stock/Set", "UNIMPLEMENTED")],
      ...[call("/shop.stock/Get", "UNIMPLEMENTED"), call("/shop.Stock/GetAll", "UNIMPLEMENTED")],
    ],
  },
  {
    name: "GRPCRoute: a service, a method, everything",
    documents: route(`- ${to("g1")}
- matches: [{method: {service: shop.Stock}}]
  ${to("g2")}
- matches: [{method: {method: Watch}}]
  ${to("g2")}`),
    calls: [
      ...[call("/shop.Stock/Any", "g2"), call("/shop.Stocks/Any", "g1"), call("/other.Service/Watch", "g2")],
      call("/other.Service/WatchAll", "g1"),
    ],
  },
  {
    name: "GRPCRoute: expressions",
    documents:
      route(`- matches: [{method: {type: RegularExpression, service: "shop[.].+", method: "(Get|Set)"}}]
  ${to("g2")}`),
    calls: [
      ...[call("/shop.Stock/Get", "g2"), call("/shop.Cart/Set", "g2")],
      ...[call("/shop.Cart/Reset", "UNIMPLEMENTED"), call("/shops/Get", "UNIMPLEMENTED")],
    ],
  },
  {
    name: "GRPCRoute: metadata",
    documents:
      route(`- matches: [{headers: [{name: x-a, value: one}]}, {headers: [{type: RegularExpression, name: x-b, value: "b+"}]}]
  ${to("g2")}
- ${to("g1")}`),
    calls: [
      ...[call("/a.B/C", "g2", { "x-a": "one" }), call("/a.B/C", "g1", { "x-a": "two" })],
      ...[call("/a.B/C", "g2", { "x-b": "bb" }), call("/a.B/C", "g1", { "x-b": "abb" })],
    ],
  },
  {
    name: "GRPCRoute precedence: service, method, then metadata",
    documents:
      route(`- matches: [{method: {service: a.B}, headers: [{name: x-a, value: "1"}, {name: x-b, value: "1"}]}]
  ${to("g1")}
- matches: [{method: {service: a.B, method: C}}]
  ${to("g2")}
- matches: [{method: {service: a.B}}]
  ${to("g2")}
- matches: [{method: {service: a.B, method: D}, headers: [{name: x-a, value: "1"}]}, {method: {service: a.B, method: D}}]
  ${to("g1")}`),
    calls: [
      ...[call("/a.B/C", "g2", { "x-a": "1", "x-b": "1" }), call("/a.B/X", "g1", { "x-a": "1", "x-b": "1" })],
      ...[call("/a.B/X", "g2"), call("/a.B/D", "g1", { "x-a": "1" })],
    ],
  },
  {
    name: "GRPCRoute: header changes",
    documents: route(`- filters:
  - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: "1"}], add: [{name: x-add, value: "2"}], remove: [x-gone]}}
  - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-more, value: "3"}], remove: [x-secret]}}
  ${to("g1")}`),
    calls: [call("/a.B/C", "g1", { "x-set": "old", "x-add": "old", "x-gone": "old", "x-a": "kept" })],
  },
  {
    name: "GRPCRoute: a backend that is not there",
    documents: route(`- matches: [{method: {service: a.B}}]
  ${to("g9")}
- ${to("g1")}`),
    calls: [call("/a.B/C", "UNKNOWN"), call("/a.C/C", "g1")],
  },
];
