/** `ValidateServiceEntry` of Istio's `pkg/config/validation/validation.go`, and the schema's own rules. */
import { type Case, document, many, refused, stricter, taken } from "./case.ts";

const se = (spec: string): string => document("ServiceEntry", spec);
const http = "ports: [{number: 80, name: http, protocol: HTTP}]";
const tcp = "ports: [{number: 80, name: tcp, protocol: TCP}]";
const one = "endpoints: [{address: 10.0.0.1}]";
const host = (text: string): string => se(`hosts: [${text}]\n${http}`);

const hosts: readonly Case[] = [
  taken("a host", host("db.shop")),
  taken("a host of one label", host("db")),
  taken("a host in upper case", host("DB.Shop")),
  taken("a host with the root's dot", host("db.shop.")),
  taken("a host that begins with a number", host("1db.shop")),
  taken("a wildcard", host('"*.shop"')),
  taken("a label of 63 characters", host(`${"a".repeat(63)}.shop`)),
  taken("several hosts of HTTP", host("a.shop, b.shop")),
  taken("a partial wildcard", host('"*db.shop"'), "matches no name"),
  taken("another partial wildcard", host('"*-db.shop"'), "matches no name"),
  refused("no hosts", se(`«»${http}`), "at least one host"),
  refused("an empty list of hosts", se(`«»hosts: []\n${http}`), "at least one host"),
  refused("every host", host('«"*"»'), "is not a host name"),
  refused("an empty host", host('«»""'), "is not a host name"),
  refused("a star within a name", host('«"a.*.shop"»'), "is not a host name"),
  refused("a star at the end", host('«"db.*"»'), "is not a host name"),
  refused("an underscore", host("«db_1.shop»"), "is not a host name"),
  refused("a label of 64 characters", host(`«${"a".repeat(64)}.shop»`), "is not a host name"),
  refused("a label that ends with a dash", host("«db-.shop»"), "is not a host name"),
  refused("two dots", host("«db..shop»"), "is not a host name"),
  refused("a port beside the host", host('«"db.shop:80"»'), "is not a host name"),
  refused("an address as a host", host("«10.0.0.1»"), "is not a host name"),
  refused("a name that ends with a number", host("«db.1»"), "is not a host name"),
  refused("a URL", host('«"http://db.shop"»'), "is not a host name"),
  refused("256 characters", host(`«${"a.".repeat(127)}ab»`), "is not a host name"),
  taken("256 hosts", se(`hosts: [${many(256, (index) => `h${index}.shop`)}]\n${http}`)),
  refused(
    "257 hosts",
    se(`«hosts»: [${many(257, (index) => `h${index}.shop`)}]\n${http}`),
    "Istio takes 256",
  ),
  stricter("a host twice", host("a.shop, «A.shop»"), "is given twice"),
];

const addresses: readonly Case[] = [
  taken("an address", se(`hosts: [a.b]\naddresses: [10.9.0.1, "fd00::1"]\n${http}`)),
  taken("a block without a resolution", se(`hosts: [a.b]\naddresses: [10.9.0.0/16]\n${http}`)),
  taken(
    "a block with STATIC",
    se(`hosts: [a.b]\naddresses: [10.9.0.0/16]\n${http}\nresolution: STATIC\n${one}`),
  ),
  taken("an address with DNS", se(`hosts: [a.b]\naddresses: [10.9.0.1]\n${http}\nresolution: DNS`)),
  refused(
    "a block with DNS",
    se(`hosts: [a.b]\naddresses: [«10.9.0.0/16»]\n${http}\nresolution: DNS`),
    "is a block",
  ),
  refused(
    "one address as a block with DNS",
    se(`hosts: [a.b]\naddresses: [«10.9.0.1/32»]\n${http}\nresolution: DNS`),
    "is a block",
  ),
  refused(
    "a block with DNS_ROUND_ROBIN",
    se(`hosts: [a.b]\naddresses: [10.9.0.1, «10.9.1.0/24»]\n${http}\nresolution: DNS_ROUND_ROBIN`),
    "is a block",
  ),
  refused(
    "no address",
    se(`hosts: [a.b]\naddresses: [«10.9.0»]\n${http}`),
    "is neither an IP address nor a CIDR block",
  ),
  refused("a name", se(`hosts: [a.b]\naddresses: [«db.shop»]\n${http}`), "is neither"),
  refused("a block that is too long", se(`hosts: [a.b]\naddresses: [«10.9.0.0/33»]\n${http}`), "is neither"),
  refused(
    "257 addresses",
    se(`hosts: [a.b]\n«addresses»: [${many(257, (index) => `10.9.${index >> 8}.${index & 255}`)}]\n${http}`),
    "Istio takes 256",
  ),
  refused("two lengths", se(`hosts: [a.b]\naddresses: [«10.9.0.0/8/8»]\n${http}`), "is neither"),
  refused("an empty address", se(`hosts: [a.b]\naddresses: [«»""]\n${http}`), "is neither"),
];

const port = (fields: string): string => se(`hosts: [a.b]\nports: [{${fields}}]`);
const words = [
  "TCP",
  "tcp",
  "HTTP",
  "HTTP2",
  "GRPC",
  "grpc-web",
  "GRPC-Web",
  "HTTPS",
  "TLS",
  "Mongo",
  "Redis",
  "MySQL",
  "HTTP_PROXY",
  '""',
];

const ports: readonly Case[] = [
  taken("no ports", se("hosts: [a.b]")),
  taken("a port without a protocol", port("number: 80, name: a")),
  ...words.map((word) => taken(`the protocol ${word}`, port(`number: 80, name: a, protocol: ${word}`))),
  taken("a target port", port("number: 80, name: a, targetPort: 8080")),
  taken(
    "the first and the last port",
    se("hosts: [a.b]\nports: [{number: 1, name: a}, {number: 65535, name: b}]"),
  ),
  taken("a name in upper case", port("number: 80, name: HTTP-1")),
  taken("a name of 63 characters", port(`number: 80, name: ${"a".repeat(63)}`)),
  refused("a protocol that is none", port("number: 80, name: a, protocol: «HTPP»"), "did you mean HTTP?"),
  refused("HTTP/2 as a word", port('number: 80, name: a, protocol: «"HTTP/2"»'), "must be one of"),
  refused("HBONE as a protocol", port("number: 80, name: a, protocol: «HBONE»"), "must be one of"),
  refused("port 0", port("number: «0», name: a"), "must be from 1 to 65535"),
  refused("port 65536", port("number: «65536», name: a"), "must be from 1 to 65535"),
  refused("a negative port", port("number: «-1», name: a"), "must be from 1 to 65535"),
  refused("a port that is no number", port("number: «http», name: a"), "must be a whole number"),
  refused("a part of a port", port("number: «80.5», name: a"), "must be a whole number"),
  refused("no number", se("hosts: [a.b]\nports: [«»{name: a}]"), "number is missing"),
  refused("no name", se("hosts: [a.b]\nports: [«»{number: 80}]"), "name is missing"),
  refused("an empty name", port('number: 80, name: «»""'), "name is empty"),
  refused("a name with an underscore", port("number: 80, name: «http_1»"), "is not the name of a port"),
  refused("a name with a dot", port("number: 80, name: «http.1»"), "is not the name of a port"),
  refused("a name that ends with a dash", port("number: 80, name: «http-»"), "is not the name of a port"),
  refused(
    "a name of 64 characters",
    port(`number: 80, name: «${"a".repeat(64)}»`),
    "is not the name of a port",
  ),
  refused(
    "a name twice",
    se("hosts: [a.b]\nports: [{number: 80, name: a}, {number: 81, name: «a»}]"),
    "is given twice",
  ),
  refused(
    "a number twice",
    se("hosts: [a.b]\nports: [{number: 80, name: a}, {number: «80», name: b}]"),
    "is given twice",
  ),
  refused("target port 0", port("number: 80, name: a, targetPort: «0»"), "must be from 1 to 65535"),
  refused("target port 65536", port("number: 80, name: a, targetPort: «65536»"), "must be from 1 to 65535"),
  refused("a port's field that is none", port("number: 80, name: a, «nodePort»: 1"), "has no field"),
  refused(
    "257 ports",
    se(`hosts: [a.b]\n«ports»: [${many(257, (index) => `{number: ${index + 1}, name: p${index}}`)}]`),
    "Istio takes 256",
  ),
  stricter("UDP", port("number: 53, name: dns, protocol: «UDP»"), "is not supported: HBONE carries TCP"),
];

const resolutions: readonly Case[] = [
  ...["NONE", "STATIC", "DNS"].map((word) =>
    taken(`the resolution ${word}`, se(`hosts: [a.b]\n${http}\nresolution: ${word}`)),
  ),
  taken("DNS_ROUND_ROBIN", se(`hosts: [a.b]\n${http}\nresolution: DNS_ROUND_ROBIN`)),
  refused("a resolution that is none", se(`hosts: [a.b]\nresolution: «DSN»`), "did you mean DNS?"),
  refused("a resolution in lower case", se(`hosts: [a.b]\nresolution: «static»`), "did you mean STATIC?"),
  stricter(
    "DYNAMIC_DNS",
    se(`hosts: ["*.b"]\nlocation: MESH_EXTERNAL\n${http}\nresolution: «DYNAMIC_DNS»`),
    "is not supported",
  ),
  refused("a wildcard with DNS", se(`hosts: [«"*.b"»]\n${http}\nresolution: DNS`), "has a wildcard"),
  refused(
    "a wildcard among the hosts of DNS",
    se(`hosts: [a.b, «"*.b"»]\n${http}\nresolution: DNS`),
    "has a wildcard",
  ),
  refused(
    "a wildcard with DNS_ROUND_ROBIN",
    se(`hosts: [«"*.b"»]\n${http}\nresolution: DNS_ROUND_ROBIN`),
    "has a wildcard",
  ),
  refused(
    "a wildcard with DNS and a selector",
    se(`hosts: [«"*.b"»]\n${http}\nresolution: DNS\nworkloadSelector: {labels: {a: b}}`),
    "has a wildcard",
  ),
  taken(
    "a wildcard with DNS and endpoints",
    se(`hosts: ["*.b"]\n${http}\nresolution: DNS\nendpoints: [{address: c.d}]`),
  ),
  taken("several hosts of TCP without a resolution", se(`hosts: [a.b, c.d]\n${tcp}`)),
  taken(
    "several hosts of TLS",
    se("hosts: [a.b, c.d]\nports: [{number: 443, name: tls, protocol: TLS}]\nresolution: DNS"),
  ),
  taken(
    "several hosts of HTTPS with an address",
    se(
      "hosts: [a.b, c.d]\naddresses: [10.9.0.1]\nports: [{number: 443, name: tls, protocol: HTTPS}]\nresolution: DNS",
    ),
    "cannot be told apart",
  ),
  taken(
    "several hosts of HTTP_PROXY",
    se("hosts: [a.b, c.d]\nports: [{number: 80, name: a, protocol: HTTP_PROXY}]\nresolution: DNS"),
  ),
  refused(
    "several hosts of TCP",
    se(`hosts: [a.b, c.d]\nports: [{number: 80, name: tcp, protocol: «TCP»}]\nresolution: STATIC\n${one}`),
    "tell them apart",
  ),
  refused(
    "several hosts of Redis",
    se(`hosts: [a.b, c.d]\nports: [{number: 80, name: a, protocol: «Redis»}]\nresolution: DNS`),
    "tell them apart",
  ),
  refused(
    "several hosts of no protocol",
    se(`hosts: [a.b, c.d]\nports: [«»{number: 80, name: a}]\nresolution: DNS`),
    "says none",
  ),
  refused(
    "several hosts of an empty protocol",
    se(`hosts: [a.b, c.d]\nports: [{number: 80, name: a, protocol: «»""}]\nresolution: DNS`),
    "says none",
  ),
  refused(
    "several hosts, one port of TCP",
    se(
      `hosts: [a.b, c.d]\nports: [{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, protocol: «tcp»}]\nresolution: DNS`,
    ),
    "tell them apart",
  ),
];

const others: readonly Case[] = [
  taken("MESH_INTERNAL", se("hosts: [a.b]\nlocation: MESH_INTERNAL")),
  taken("MESH_EXTERNAL", se("hosts: [a.b]\nlocation: MESH_EXTERNAL")),
  taken("names of servers", se("hosts: [a.b]\nsubjectAltNames: [spiffe://cluster.local/ns/shop/sa/db]")),
  taken(
    "a name of a server that matches none",
    se("hosts: [a.b]\nsubjectAltNames: [a.b]"),
    "matches no server",
  ),
  taken(
    "a server of another trust domain",
    se("hosts: [a.b]\nsubjectAltNames: [spiffe://x/ns/shop/sa/db]"),
    "did you mean spiffe://cluster.local/ns/shop/sa/db?",
  ),
  refused("a location that is none", se("hosts: [a.b]\nlocation: «INTERNAL»"), "must be one of"),
  refused("a field that is none", se("hosts: [a.b]\n«port»: []"), "did you mean ports?"),
  refused("no spec", document("ServiceEntry", "").replace("apiVersion", "«»apiVersion"), "spec is missing"),
];

export const serviceEntryCases: readonly Case[] = [
  ...hosts,
  ...addresses,
  ...ports,
  ...resolutions,
  ...others,
];
