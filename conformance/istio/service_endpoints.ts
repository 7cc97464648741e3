/** Endpoints, selectors and exports of a ServiceEntry (`ValidateServiceEntry` of Istio's `validation.go`). */
import { type Case, document, refused, stricter, taken } from "./case.ts";

const se = (spec: string): string => document("ServiceEntry", spec);
const http = "ports: [{number: 80, name: http, protocol: HTTP}]";
const inside = "addresses: [10.9.0.1]\nresolution: STATIC";
const one = "endpoints: [{address: 10.0.0.1}]";
const endpoint = (fields: string): string => se(`hosts: [a.b]\n${http}\n${inside}\nendpoints: [{${fields}}]`);
const named = (fields: string): string =>
  se(`hosts: [a.b]\n${http}\nresolution: DNS\nendpoints: [{${fields}}]`);

const endpoints: readonly Case[] = [
  taken("an endpoint", endpoint("address: 10.0.0.1")),
  taken("an endpoint of IPv6", endpoint('address: "fd00::1"')),
  taken(
    "an endpoint with all that there is",
    endpoint(
      "address: 10.0.0.1, ports: {http: 8080}, labels: {a: b}, network: west, locality: r/z/s, weight: 3, serviceAccount: cart",
    ),
  ),
  taken("an endpoint by name", named("address: db.example")),
  taken("an endpoint by address with DNS", named("address: 10.0.0.1")),
  taken("an endpoint by name with the root's dot", named("address: db.example.")),
  taken(
    "several endpoints with DNS",
    se(`hosts: [a.b]\n${http}\nresolution: DNS\nendpoints: [{address: c.d}, {address: e.f}]`),
  ),
  taken(
    "one endpoint with DNS_ROUND_ROBIN",
    se(`hosts: [a.b]\n${http}\nresolution: DNS_ROUND_ROBIN\nendpoints: [{address: c.d}]`),
  ),
  refused(
    "two endpoints with DNS_ROUND_ROBIN",
    se(`hosts: [a.b]\n${http}\nresolution: DNS_ROUND_ROBIN\nendpoints: [{address: c.d}, «»{address: e.f}]`),
    "takes one",
  ),
  refused(
    "endpoints without a resolution",
    se(`hosts: [a.b]\n${http}\n«endpoints»: [{address: 10.0.0.1}]`),
    "need spec.resolution",
  ),
  refused(
    "endpoints with NONE",
    se(`hosts: [a.b]\n${http}\nresolution: NONE\n«endpoints»: [{address: 10.0.0.1}]`),
    "need spec.resolution",
  ),
  refused("a name with STATIC", endpoint("address: «db.example»"), "STATIC takes addresses"),
  refused(
    "no address",
    se(`hosts: [a.b]\n${http}\n${inside}\nendpoints: [«»{weight: 1}]`),
    "address is missing",
  ),
  refused("an empty address", endpoint('address: «»""'), "address is empty"),
  refused(
    "four numbers that are no address",
    named("address: «10.0.0.256»"),
    "is neither an IP address nor a host name",
  ),
  refused("a name with an underscore", named("address: «db_1.example»"), "is neither"),
  refused("a wildcard", named('address: «"*.example"»'), "is neither"),
  refused("an address with a port", endpoint('address: «"10.0.0.1:80"»'), "is neither"),
  refused("a block", endpoint("address: «10.0.0.0/8»"), "is neither"),
  refused(
    "a port of another name",
    endpoint("address: 10.0.0.1, ports: {«web»: 8080}"),
    "has no port called",
  ),
  refused(
    "a port's name that is none",
    endpoint("address: 10.0.0.1, ports: {«http_1»: 8080}"),
    "is not the name of a port",
  ),
  refused("port 0", endpoint("address: 10.0.0.1, ports: {http: «0»}"), "must be from 1 to 65535"),
  refused("port 65536", named("address: c.d, ports: {http: «65536»}"), "must be from 1 to 65535"),
  refused(
    "a label's name that is none",
    endpoint('address: 10.0.0.1, labels: {«"a b"»: c}'),
    "is not the name of a label",
  ),
  refused(
    "a label's value that is none",
    endpoint("address: 10.0.0.1, labels: {a: «b/c»}"),
    "is not a valid value of a label",
  ),
  refused("a field that is none", endpoint("address: 10.0.0.1, «port»: 80"), "did you mean ports?"),
  stricter(
    "a network and no address",
    se(`hosts: [a.b]\n${http}\n${inside}\nendpoints: [{«network»: west}]`),
    "is not supported",
  ),
  stricter(
    "a Unix socket",
    endpoint("address: «unix:///run/a.sock»"),
    "Unix domain sockets are not supported",
  ),
  stricter(
    "an address twice",
    se(`hosts: [a.b]\n${http}\n${inside}\nendpoints: [{address: 10.0.0.1}, {address: «10.0.0.1»}]`),
    "is given twice",
  ),
];

const selected = (labels: string): string =>
  se(`hosts: [a.b]\n${http}\n${inside}\nworkloadSelector: {labels: ${labels}}`);

const selectors: readonly Case[] = [
  taken("a selector", selected("{app: db}"), "selects no WorkloadEntry"),
  taken(
    "a selector with DNS",
    se(`hosts: [a.b]\n${http}\nresolution: DNS\nworkloadSelector: {labels: {a: b}}`),
  ),
  taken(
    "a selector without a resolution",
    se(`hosts: [a.b]\n${http}\nworkloadSelector: {labels: {a: b}}`),
    "goes with spec.resolution STATIC or DNS",
  ),
  taken("a selector without labels", selected("{}"), "selects no WorkloadEntry"),
  taken("a selector of nothing", se(`hosts: [a.b]\n${http}\n${inside}\nworkloadSelector: {}`)),
  refused("a wildcard", selected('{app: «"*"»}'), "wildcard"),
  refused("a wildcard in a label's name", selected('{«"a*"»: b}'), "wildcard"),
  refused("a label without a name", selected('{«»"": b}'), "without a name"),
  refused(
    "a selector and endpoints",
    se(`hosts: [a.b]\n${http}\n${inside}\n«workloadSelector»: {labels: {a: b}}\n${one}`),
    "exclude each other",
  ),
  refused(
    "matchLabels",
    se(`hosts: [a.b]\n${http}\n${inside}\nworkloadSelector: {«matchLabels»: {a: b}}`),
    "has no field",
  ),
];

const exported = (list: string): string => se(`hosts: [a.b]\n${http}\nexportTo: [${list}]`);

const exportsTo: readonly Case[] = [
  taken("no exports", exported("")),
  taken("to all", exported('"*"')),
  taken("to this namespace", exported('"."')),
  taken("to this namespace by its name", exported("shop")),
  refused("to all and this namespace", exported('«"*"», "."'), "cannot be given with others"),
  refused("to this namespace and all", exported('".", «"*"»'), "cannot be given with others"),
  refused("to none and this namespace", exported('«"~"», "."'), "cannot be given with others"),
  refused("to this namespace twice", exported('".", «"."»'), "is given twice"),
  refused("to this namespace twice, once by its name", exported('".", «shop»'), "is given twice"),
  refused("a word that is none", exported("«a_b»"), "nor a namespace"),
  refused("a pattern", exported('«"team-*"»'), "nor a namespace"),
  refused("an empty word", exported('«»""'), "nor a namespace"),
  stricter("to none", exported('«"~"»'), "is not supported"),
  stricter("to another namespace", exported("«bank»"), "is not supported"),
];

export const serviceEndpointCases: readonly Case[] = [...endpoints, ...selectors, ...exportsTo];
