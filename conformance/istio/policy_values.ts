/** Values of an AuthorizationPolicy, each as `pkg/config/security/security.go` of Istio checks it. */
import { type Case, document, refused, stricter, taken } from "./case.ts";

const ap = (spec: string): string => document("AuthorizationPolicy", `action: DENY\n${spec}`);
const from = (source: string): string => ap(`rules: [{from: [{source: {${source}}}]}]`);
const to = (operation: string): string => ap(`rules: [{to: [{operation: {${operation}}}]}]`);
const when = (condition: string): string => ap(`rules: [{when: [{${condition}}]}]`);
const id = "cluster.local/ns/shop/sa/cart";

const lists = [
  "principals",
  "namespaces",
  "requestPrincipals",
  "ipBlocks",
  "remoteIpBlocks",
  "serviceAccounts",
];
const operations = ["hosts", "methods", "paths", "ports"];
const not = (field: string): string => `not${field.charAt(0).toUpperCase()}${field.slice(1)}`;

const emptyValues: readonly Case[] = [
  ...lists.flatMap((field) =>
    [field, not(field)].map((name) =>
      refused(`an empty value of ${name}`, from(`${name}: [«»""]`), "has an empty value"),
    ),
  ),
  ...operations.flatMap((field) =>
    [field, not(field)].map((name) =>
      refused(`an empty value of ${name}`, to(`${name}: [«»""]`), "has an empty value"),
    ),
  ),
  refused("an empty value of trustDomains", from('trustDomains: [«»""]'), "has an empty value"),
  refused(
    "an empty value of a condition",
    when('key: source.namespace, values: [«»""]'),
    "has an empty value",
  ),
  refused("an empty list of principals and nothing else", from("«principals»: []"), "is empty"),
  refused("an empty list of ports and nothing else", to("«ports»: []"), "is empty"),
  refused("an empty list of a condition's values", when("key: source.ip, «values»: []"), "is empty"),
  refused("a list that is none", from(`principals: «"${id}"»`), "must be a list"),
  refused("a value that is a number", to("ports: [«80»]"), 'write "80"'),
];

const blocks: readonly Case[] = ["ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"].flatMap(
  (field) => [
    taken(`an address in ${field}`, from(`${field}: [10.0.0.1, "fd00::1"]`)),
    taken(`a block in ${field}`, from(`${field}: [10.0.0.0/8, 10.1.2.3/8, "fd00::/64", 0.0.0.0/0, "::/0"]`)),
    refused(
      `a block that is too long in ${field}`,
      from(`${field}: [«10.0.0.0/33»]`),
      "its length is from 0 to 32",
    ),
    refused(
      `no address in ${field}`,
      from(`${field}: [«10.0.0.256»]`),
      "is neither an IP address nor a CIDR block",
    ),
    refused(`a wildcard in ${field}`, from(`${field}: [«10.0.0.*»]`), "a wildcard is not a block"),
  ],
);

const moreBlocks: readonly Case[] = [
  refused("a block without a length", from("ipBlocks: [«10.0.0.0/»]"), "is neither"),
  refused("two lengths", from("ipBlocks: [«10.0.0.0/8/8»]"), "is neither"),
  refused("a length with a leading zero", from("ipBlocks: [«10.0.0.0/08»]"), "is neither"),
  refused("an address with leading zeros", from("ipBlocks: [«010.0.0.1»]"), "is neither"),
  refused("an address of three numbers", from("ipBlocks: [«10.0.1»]"), "is neither"),
  refused(
    "an IPv6 block that is too long",
    from('ipBlocks: [«"fd00::/129"»]'),
    "its length is from 0 to 128",
  ),
  refused("a name where a block is due", from("ipBlocks: [«localhost»]"), "is neither"),
  refused("a range", from("ipBlocks: [«10.0.0.1-10.0.0.9»]"), "is neither"),
  refused("the second of two blocks", from("ipBlocks: [10.0.0.0/8, «10.0.0.0/99»]"), "its length"),
  stricter("an address with a zone", from('ipBlocks: [«"fe80::1%eth0"»]'), "is neither"),
];

const accounts: readonly Case[] = ["serviceAccounts", "notServiceAccounts"].flatMap((field) => [
  taken(`a name in ${field}`, from(`${field}: [cart]`)),
  taken(`a namespace and a name in ${field}`, from(`${field}: [shop/cart, bank/db]`)),
  taken(`sixteen of ${field}`, from(`${field}: [${"a, ".repeat(15)}a]`)),
  refused(`seventeen of ${field}`, from(`«${field}»: [${"a, ".repeat(16)}a]`), "has more than 16 entries"),
  refused(`a wildcard in ${field}`, from(`${field}: [«shop/*»]`), "cannot have a wildcard"),
  refused(`three parts in ${field}`, from(`${field}: [«a/b/c»]`), "is not namespace/name"),
  refused(`no namespace before the slash in ${field}`, from(`${field}: [«/cart»]`), "is not namespace/name"),
  refused(`no name after the slash in ${field}`, from(`${field}: [«shop/»]`), "is not namespace/name"),
  refused(`321 characters in ${field}`, from(`${field}: [«${"a".repeat(321)}»]`), "is longer than 320"),
]);

const mixtures: readonly Case[] = [
  taken(
    "sixteen of each list of accounts",
    from(`serviceAccounts: [${"a, ".repeat(15)}a], notServiceAccounts: [${"b, ".repeat(15)}b]`),
  ),
  taken("accounts and blocks", from("serviceAccounts: [cart], ipBlocks: [10.0.0.0/8]")),
  ...["principals", "notPrincipals", "namespaces", "notNamespaces"].flatMap((field) =>
    ["serviceAccounts", "notServiceAccounts"].map((other) =>
      refused(`${field} and ${other}`, from(`«${field}»: ["*"], ${other}: [cart]`), "exclude each other"),
    ),
  ),
];

const identities: readonly Case[] = [
  taken("a principal", from(`principals: [${id}]`)),
  taken("wildcards of principals", from('principals: ["*", "cluster.local/ns/shop/*", "*/sa/cart"]')),
  taken("a principal as a SPIFFE ID", from(`principals: ["spiffe://${id}"]`), `did you mean ${id}?`),
  taken(
    "a principal of another trust domain",
    from("principals: [other.example/ns/shop/sa/cart]"),
    `did you mean ${id}?`,
  ),
  taken("a principal without its trust domain", from("principals: [ns/shop/sa/cart]"), `did you mean ${id}?`),
  taken("a principal that is a name", from("principals: [cart]"), "did you mean */sa/cart?"),
  taken(
    "a principal with a star within",
    from('principals: ["cluster.local/ns/*/sa/cart"]'),
    "can never match",
  ),
  taken("an exception that excepts nothing", from(`notPrincipals: ["spiffe://${id}"]`), "it excepts nothing"),
  taken("namespaces", from('namespaces: [shop, "team-*", "*-prod", "*"]')),
  taken("a namespace in upper case", from("namespaces: [Shop]"), "did you mean shop?"),
  taken("a namespace that is an account", from("namespaces: [shop/cart]"), "can never match"),
  taken("an account in upper case", from("serviceAccounts: [shop/Cart]"), "did you mean shop/cart?"),
  taken("trust domains", from('trustDomains: [cluster.local, "*.example", "team-*", "*"]')),
  refused("a trust domain with a slash", from("trustDomains: [«cluster.local/ns»]"), "has a /"),
  refused("a trust domain with two stars", from('trustDomains: [«"*a*"»]'), "may have one *"),
  refused("a trust domain with a star within", from('trustDomains: [«"a*b"»]'), "may have one *"),
  refused("an excepted trust domain with a slash", from("notTrustDomains: [«a/b»]"), "has a /"),
  taken("request principals", from('requestPrincipals: ["issuer/sub", "*"]'), "does not see"),
];

const ports: readonly Case[] = [
  taken("ports", to('ports: ["1", "80", "65535"]')),
  taken("port 0", to('ports: ["0"]'), "no connection has port 0"),
  taken("a port with a leading zero", to('ports: ["080"]')),
  refused("port 65536", to('ports: [«"65536"»]'), "is not a port"),
  refused("a negative port", to('ports: [«"-1"»]'), "is not a port"),
  refused("a port by name", to("ports: [«http»]"), "is not a port"),
  refused("a range of ports", to('ports: [«"80-90"»]'), "is not a port"),
  refused("a wildcard", to('ports: [«"*"»]'), "is not a port"),
  refused("an excepted port that is none", to('notPorts: [«"80x"»]'), "is not a port"),
  refused("a port with a blank", to('ports: [«" 80"»]'), "is not a port"),
];

const paths: readonly Case[] = [
  ...[
    "/",
    "/a",
    "/a*",
    "*/a",
    "/a/{*}",
    "/a/{**}",
    "/{*}/b",
    "/{*}/{*}/{**}",
    "/{**}/b",
    "{**}",
    "/a%20b/{*}",
  ].map((path) => taken(`the path ${path}`, to(`paths: ["${path}"]`))),
  refused("{**} before {**}", to('paths: [«"/{**}/{**}"»]'), "must be the last"),
  refused("{**} before {*}", to('paths: [«"/{**}/a/{*}"»]'), "must be the last"),
  refused(
    "an operator that is a part of a segment",
    to('paths: [«"/a{*}"»]'),
    "which is neither {*} nor {**}",
  ),
  refused("a name in braces", to('paths: [«"/{id}"»]'), "which is neither {*} nor {**}"),
  refused("a brace alone", to('paths: [«"/a}"»]'), "which is neither {*} nor {**}"),
  refused("three stars", to('paths: [«"/{***}"»]'), "which is neither {*} nor {**}"),
  refused("a wildcard beside an operator", to('paths: [«"/a*/{*}"»]'), "cannot be beside"),
  refused("an empty segment beside an operator", to('paths: [«"/a//{*}"»]'), "cannot be beside"),
  refused("a blank beside an operator", to('paths: [«"/a b/{*}"»]'), "cannot be beside"),
  refused("an excepted template that is none", to('notPaths: [«"/{id}"»]'), "which is neither"),
  taken("methods and hosts", to('methods: [GET, "P*"], hosts: [a.example, "*.example"]')),
];

const keys: readonly Case[] = [
  taken("source.ip", when("key: source.ip, values: [10.0.0.0/8]")),
  taken("remote.ip", when("key: remote.ip, values: [10.0.0.1]")),
  taken("destination.ip", when("key: destination.ip, notValues: [10.0.0.1]")),
  taken("destination.port", when('key: destination.port, values: ["80"]')),
  taken("source.namespace", when("key: source.namespace, values: [shop]")),
  taken("source.principal", when(`key: source.principal, values: [${id}]`)),
  taken("source.serviceAccount", when("key: source.serviceAccount, values: [shop/cart]")),
  taken("source.trustDomain", when('key: source.trustDomain, values: ["*.example"]')),
  taken("connection.sni", when("key: connection.sni, values: [a.example]")),
  taken("request.headers", when('key: "request.headers[X-Team]", values: [a]')),
  taken("request.auth.principal", when("key: request.auth.principal, values: [a/b]")),
  taken("request.auth.audiences", when("key: request.auth.audiences, values: [a]")),
  taken("request.auth.presenter", when("key: request.auth.presenter, values: [a]")),
  taken("request.auth.claims", when('key: "request.auth.claims[groups]", values: [a]')),
  taken("claims within claims", when('key: "request.auth.claims[a][b]", values: [a]')),
  taken("a filter's metadata", when('key: "experimental.envoy.filters.a.b[c]", values: [a]')),
  taken("values and excepted values", when("key: source.namespace, values: [a], notValues: [b]")),
  taken(
    "a principal as a SPIFFE ID in a condition",
    when(`key: source.principal, values: ["spiffe://${id}"]`),
    `did you mean ${id}?`,
  ),
  refused("an attribute that is none", when("key: «source.ipp», values: [a]"), "did you mean source.ip?"),
  refused(
    "an attribute in upper case",
    when("key: «Source.IP», values: [10.0.0.1]"),
    "there is no attribute",
  ),
  refused("destination.namespace", when("key: «destination.namespace», values: [a]"), "is replaced by"),
  refused("destination.labels", when('key: «"destination.labels[app]"», values: [a]'), "is replaced by"),
  refused("destination.name", when("key: «destination.name», values: [a]"), "is replaced by"),
  refused("destination.user", when("key: «destination.user», values: [a]"), "is replaced by"),
  refused(
    "request.headers without a name",
    when("key: «request.headers», values: [a]"),
    "must be request.headers[NAME]",
  ),
  refused(
    "request.headers with an empty name",
    when('key: «"request.headers[]"», values: [a]'),
    "must be request.headers[NAME]",
  ),
  refused(
    "request.headers that does not end",
    when('key: «"request.headers[a"», values: [a]'),
    "must be request.headers[NAME]",
  ),
  refused(
    "request.auth.claims without a name",
    when("key: «request.auth.claims», values: [a]"),
    "must be request.auth.claims[NAME]",
  ),
  refused("a bad block in source.ip", when("key: source.ip, values: [«10.0.0.0/40»]"), "its length"),
  refused("a bad address in remote.ip", when("key: remote.ip, values: [«10.0.0»]"), "is neither"),
  refused("a bad address in destination.ip", when("key: destination.ip, notValues: [«a»]"), "is neither"),
  refused(
    "a bad port in destination.port",
    when('key: destination.port, values: [«"80,81"»]'),
    "is not a port",
  ),
  refused(
    "a wildcard in source.serviceAccount",
    when('key: source.serviceAccount, values: [«"shop/*"»]'),
    "cannot have a wildcard",
  ),
  refused(
    "two stars in source.trustDomain",
    when('key: source.trustDomain, values: [«"*a*"»]'),
    "may have one *",
  ),
];

export const policyValueCases: readonly Case[] = [
  ...emptyValues,
  ...blocks,
  ...moreBlocks,
  ...accounts,
  ...mixtures,
  ...identities,
  ...ports,
  ...paths,
  ...keys,
];
