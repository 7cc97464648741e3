/** `ValidateVirtualService` and what it calls, of Istio's `pkg/config/validation/{validation,virtualservice}.go`. */
import { type Case, document, refused, stricter, taken } from "./case.ts";

const vs = (spec: string): string => document("VirtualService", spec);
const http = (route: string): string => vs(`hosts: [a.mesh]\nhttp:\n- ${route}`);
const to = "route: [{destination: {host: a.mesh}}]";
const match = (one: string): string => http(`{match: [${one}], ${to}}`);
const action = (one: string): string => http(`{${one}, ${to}}`);

export const virtualServiceCases: readonly Case[] = [
  taken("one route", http(to)),
  taken("a wildcard host", vs(`hosts: ["*.a.mesh"]\nhttp: [{${to}}]`)),
  taken("a short host", vs(`hosts: [a]\nhttp: [{${to}}]`)),
  taken("an address as a host", vs(`hosts: [10.0.0.1]\nhttp: [{${to}}]`)),
  taken("gateways beside the mesh", vs(`hosts: [a.mesh]\ngateways: [mesh, ns/gw]\nhttp: [{${to}}]`)),
  refused("nothing to route", vs("«»hosts: [a.mesh]"), "must have http, tls or tcp"),
  refused("the host *", vs(`hosts: [«"*"»]\nhttp: [{${to}}]`), "for gateways alone"),
  refused("a host that is none", vs(`hosts: [«a_b.mesh»]\nhttp: [{${to}}]`), "is not a host name"),
  refused("a host twice", vs(`hosts: [a.mesh, «a.mesh»]\nhttp: [{${to}}]`), "already"),
  refused("a host in a wildcard", vs(`hosts: ["*.mesh", «a.mesh»]\nhttp: [{${to}}]`), "already"),
  refused(
    "a gateway that is none",
    vs(`hosts: [a.mesh]\ngateways: [«"a b/c"»]\nhttp: [{${to}}]`),
    "the name of a Gateway",
  ),
  taken("a delegate", vs(`http: [{${to}}]`)),
  refused("a delegate with gateways", vs(`«gateways»: [mesh]\nhttp: [{${to}}]`), "which is a delegate"),
  refused("a delegate that delegates", vs("http: [{«delegate»: {name: b}}]"), "does not delegate on"),
  taken("a root", http("delegate: {name: b, namespace: c}"), "no service is called"),
  refused(
    "a root with a route",
    http(`{delegate: {name: b}, «route»: [{destination: {host: a.mesh}}]}`),
    "has both delegate and route",
  ),
  refused(
    "exported to everybody and somebody",
    vs(`hosts: [a.mesh]\nexportTo: [«"*"», shop]\nhttp: [{${to}}]`),
    "cannot be given with others",
  ),
  refused(
    "exported to one twice",
    vs(`hosts: [a.mesh]\nexportTo: [".", «shop»]\nhttp: [{${to}}]`),
    "is given twice",
  ),

  taken(
    "every kind of match",
    match(
      '{uri: {prefix: /a}, scheme: {exact: http}, method: {regex: "GET|PUT"}, authority: {prefix: a}, headers: {a: {exact: b}}, withoutHeaders: {c: {}, d: {regex: "*"}}, queryParams: {q: {regex: ".*"}}, port: 80, ignoreUriCase: true}',
    ),
  ),
  taken("an empty prefix of a path", match('{uri: {prefix: ""}}')),
  taken("a header's presence", match("{headers: {a: {}}}")),
  taken("pseudo-headers", match('{headers: {":authority": {exact: a}}}')),
  refused("an empty prefix of a method", match('{method: {prefix: «""»}}'), "is empty"),
  refused("an empty expression", match('{uri: {regex: «""»}}'), "is empty"),
  refused("an expression that is none", match('{uri: {regex: «"a(b"»}}'), "is not a regular expression"),
  refused("a look-ahead", match('{headers: {a: {regex: «"(?=a)b"»}}}'), "neither look-around"),
  refused("a back reference", match("{uri: {regex: «'(a)\\1'»}}"), "is not known"),
  refused(
    "an expression of 1,025 characters",
    match(`{uri: {regex: «${"a".repeat(1025)}»}}`),
    "1025 characters",
  ),
  refused(
    "the expression * of a header",
    match('{headers: {a: {regex: «"*"»}}}'),
    "is not a regular expression",
  ),
  refused(
    "a header's name that is none",
    match('{headers: {«"a b"»: {exact: c}}}'),
    "is not the name of a header",
  ),
  refused("a port 0", match("{port: «65536»}"), "from 1 to 65535"),
  refused(
    "claims without a gateway",
    match('{headers: {«"@request.auth.claims.a"»: {exact: b}}}'),
    "only gateways route by claims",
  ),
  refused("two in one match", match("{uri: {exact: /a, «prefix»: /b}}"), "has both exact and prefix"),
  refused("a label's name that is none", match('{sourceLabels: {«"a b"»: c}}'), "is not the name of a label"),
  refused("a namespace that is none", match("{sourceNamespace: «a.b»}"), "is not a namespace"),
  stricter("statPrefix", match("{«statPrefix»: a}"), "told apart by the route's name"),

  refused("nothing to do", http("«»{name: a}"), "must have a route"),
  refused(
    "a route and a redirect",
    http(`{«route»: [{destination: {host: a.mesh}}], redirect: {uri: /b}}`),
    "has both redirect and route",
  ),
  refused(
    "a redirect with a fault",
    http("{redirect: {uri: /b}, «fault»: {abort: {httpStatus: 500}}}"),
    "has both redirect and fault",
  ),
  refused(
    "a redirect with a rewrite",
    http("{redirect: {uri: /b}, «rewrite»: {uri: /c}}"),
    "has both redirect and rewrite",
  ),
  refused(
    "an answer with a route",
    http("{directResponse: {status: 200}, «route»: [{destination: {host: a.mesh}}]}"),
    "has both directResponse and route",
  ),
  refused(
    "mirror and mirrors",
    action("mirror: {host: b.mesh}, «mirrors»: [{destination: {host: b.mesh}}]"),
    "has both mirror and mirrors",
  ),
  refused("a redirect to nothing", http("redirect: «»{redirectCode: 301}"), "must give a uri"),
  refused("a redirect by 200", http("redirect: {uri: /b, redirectCode: «200»}"), "from 300 to 399"),
  stricter("a redirect by 304", http("redirect: {uri: /b, redirectCode: «304»}"), "must be one of"),
  refused(
    "uri and prefixRewrite",
    http("redirect: {uri: /b, «prefixRewrite»: /c}"),
    "has both uri and prefixRewrite",
  ),
  refused(
    "a prefix of an exact match",
    http("{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: «/b»}}"),
    "to be by prefix",
  ),
  refused("a scheme that is none", http("redirect: {scheme: «ftp»}"), "must be one of http, https"),
  refused("an answer of 600", http("directResponse: {status: «601»}"), "from 200 to 599"),
  taken("an answer with bytes", http("directResponse: {status: 200, body: {bytes: aGk=}}")),

  refused("an empty rewrite", action("rewrite: «»{}"), "must give a uri"),
  refused(
    "two rewrites of a path",
    action("rewrite: {uri: /b, uriRegexRewrite: «»{match: a, rewrite: b}}"),
    "has both uri and uriRegexRewrite",
  ),
  refused(
    "a rewrite by no expression",
    action('rewrite: {uriRegexRewrite: {match: «"a("», rewrite: b}}'),
    "is not a regular expression",
  ),
  refused("half a rewrite", action("rewrite: {uriRegexRewrite: «»{match: a}}"), "is missing"),
  refused(
    "the authority twice",
    http(`{«rewrite»: {authority: b}, headers: {request: {set: {Host: c}}}, ${to}}`),
    "a second time",
  ),
  taken(
    "headers",
    action("headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}, response: {set: {a: b}}}"),
  ),
  refused("a pseudo-header", action('headers: {request: {set: {«":path"»: b}}}'), "begin with a colon"),
  refused(
    "the host of an answer",
    action("headers: {response: {set: {«Host»: b}}}"),
    "rewrite the authority",
  ),
  stricter(
    "a header's value beyond ASCII",
    action("headers: {request: {set: {a: «bé»}}}"),
    "that a header's value cannot have",
  ),
  refused("a sign of percent alone", action('headers: {request: {set: {a: «"50%"»}}}'), "written %%"),
  stricter(
    "a variable of Envoy's",
    action('headers: {request: {set: {a: «"%START_TIME%"»}}}'),
    "not supported",
  ),
  stricter(
    "a header of the connection",
    action("headers: {request: {remove: [«Connection»]}}"),
    "belongs to the connection",
  ),

  refused("a timeout of nothing", action("timeout: «0s»"), "at least 1 ms"),
  refused("a negative timeout", action("timeout: «-1s»"), "is not a duration"),
  refused("a timeout of half a millisecond", action("timeout: «500us»"), "part of a millisecond"),
  taken(
    "retries",
    action('retries: {attempts: 3, perTryTimeout: 2s, retryOn: "5xx,connect-failure,503", backoff: 10ms}'),
  ),
  taken("no retries", action("retries: {attempts: 0}")),
  refused(
    "retries of nothing",
    action("retries: {attempts: 0, «perTryTimeout»: 2s}"),
    "has no effect with 0 attempts",
  ),
  refused("negative attempts", action("retries: {attempts: «-1»}"), "from 0 to"),
  refused(
    "an unknown condition",
    action("retries: {attempts: 1, retryOn: «4xx»}"),
    "neither a condition nor a status",
  ),
  taken(
    "faults",
    action(
      "fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {grpcStatus: NOT_FOUND, percentage: {value: 100}}}",
    ),
  ),
  refused("a fault of nothing", action("fault: «»{}"), "must have a delay"),
  refused(
    "a fault of 101 percent",
    action("fault: {abort: {httpStatus: 500, percentage: {value: «101»}}}"),
    "from 0 to 100",
  ),
  refused(
    "a fault of a millionth",
    action("fault: {abort: {httpStatus: 500, percentage: {«value»: 0.00001}}}"),
    "less than 0.0001",
  ),
  refused("an unknown gRPC status", action("fault: {abort: {grpcStatus: «NOPE»}}"), "is not a gRPC status"),
  refused("an HTTP status of 199", action("fault: {abort: {httpStatus: «199»}}"), "from 200 to 599"),
  refused("an error of HTTP/2", action("fault: {abort: {«http2Error»: a}}"), "does not support it either"),
  refused(
    "an exponential delay",
    action("fault: {delay: {«exponentialDelay»: 1s}}"),
    "does not support it either",
  ),
  refused(
    "a mirror of 101 percent",
    action("mirror: {host: b.mesh}, mirrorPercentage: {value: «101»}"),
    "from 0 to 100",
  ),
  refused("a mirror to nowhere", action("mirrors: [«»{percentage: {value: 1}}]"), "is missing"),
  taken(
    "CORS",
    action(
      'corsPolicy: {allowOrigins: [{exact: "*"}], allowMethods: [GET, "*"], allowHeaders: ["*"], maxAge: 1h}',
    ),
  ),
  refused("an origin of nothing", action("corsPolicy: {allowOrigins: [«»{}]}"), "is empty"),
  refused("a method that is none", action("corsPolicy: {allowMethods: [«get»]}"), "is not an HTTP method"),
  refused(
    "a CORS header that is none",
    action('corsPolicy: {exposeHeaders: [«"a b"»]}'),
    "is not the name of a header",
  ),
  refused("a part of a second", action("corsPolicy: {«maxAge»: 1500ms}"), "whole seconds"),

  refused("no destination", http("route: [«»{weight: 1}]"), "is missing"),
  refused("the destination *", http('route: [{destination: {host: «"*"»}}]'), "is not a host name"),
  refused(
    "a destination's port 0",
    http("route: [{destination: {host: a.mesh, port: {number: «0»}}}]"),
    "from 1 to 65535",
  ),
  refused(
    "a subset that is none",
    http("route: [{destination: {host: a.mesh, subset: «a_b»}}]"),
    "is not a name",
  ),
  refused("a negative weight", http("route: [{destination: {host: a.mesh}, weight: «-1»}]"), "from 0 to"),
  refused(
    "weights of nothing",
    http("«route»: [{destination: {host: a.mesh}}, {destination: {host: b.mesh}}]"),
    "add up to 0",
  ),

  taken(
    "TLS",
    vs(
      "hosts: [a.mesh]\ntls: [{match: [{sniHosts: [a.mesh], port: 443}], route: [{destination: {host: a.mesh}}]}]",
    ),
  ),
  refused(
    "TLS without a match",
    vs("hosts: [a.mesh]\ntls: [«»{route: [{destination: {host: a.mesh}}]}]"),
    "has to name its server names",
  ),
  refused(
    "TLS without names",
    vs("hosts: [a.mesh]\ntls: [{match: [«»{port: 443}], route: [{destination: {host: a.mesh}}]}]"),
    "at least one host",
  ),
  refused(
    "TLS of another's name",
    vs("hosts: [a.mesh]\ntls: [{match: [{sniHosts: [«b.mesh»]}], route: [{destination: {host: a.mesh}}]}]"),
    "in none of spec.hosts",
  ),
  taken(
    "TCP",
    vs(
      "hosts: [a.mesh]\ntcp: [{match: [{port: 1, destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: a.mesh}}]}]",
    ),
  ),
  refused(
    "TCP without destinations",
    vs("hosts: [a.mesh]\ntcp: [«»{match: [{port: 1}]}]"),
    "at least one destination",
  ),
  refused(
    "a subnet that is none",
    vs(
      "hosts: [a.mesh]\ntcp: [{match: [{destinationSubnets: [«10.0.0.0/33»]}], route: [{destination: {host: a.mesh}}]}]",
    ),
    "neither an IP address",
  ),
  refused("an unknown field", http(`{«timeOut»: 1s, ${to}}`), "did you mean timeout?"),
];
