/** `ValidateDestinationRule` and what it calls, of Istio's `pkg/config/validation/validation.go` and `agent/validation.go`. */
import { type Case, document, refused, stricter, taken } from "./case.ts";

const dr = (spec: string): string => document("DestinationRule", spec);
const policy = (text: string): string => dr(`host: a.mesh\ntrafficPolicy: ${text}`);
const balancer = (text: string): string => policy(`{loadBalancer: ${text}}`);

export const destinationRuleCases: readonly Case[] = [
  taken("a host", dr("host: a.mesh")),
  taken("a wildcard", dr('host: "*.mesh"')),
  taken("every host", dr('host: "*"')),
  refused("no host", dr("«»exportTo: ['.']"), "spec.host is missing"),
  refused("a host that is none", dr("host: «a_b.mesh»"), "is not a host name"),
  taken("subsets", dr("host: a.mesh\nsubsets: [{name: v1, labels: {version: v1}}, {name: v2}]")),
  refused("a subset twice", dr("host: a.mesh\nsubsets: [{name: v1}, {name: «v1»}]"), "is given twice"),
  refused("a subset's name that is none", dr("host: a.mesh\nsubsets: [{name: «a_b»}]"), "is not a name"),
  refused(
    "a subset's label that is none",
    dr('host: a.mesh\nsubsets: [{name: v1, labels: {«"a b"»: c}}]'),
    "is not the name of a label",
  ),
  refused(
    "a subset's empty policy",
    dr("host: a.mesh\nsubsets: [{name: v1, trafficPolicy: «»{}}]"),
    "is empty",
  ),
  refused(
    "exported to everybody and somebody",
    dr('host: a.mesh\nexportTo: [«"*"», shop]'),
    "cannot be given with others",
  ),
  stricter(
    "a workload selector",
    dr("host: a.mesh\n«workloadSelector»: {matchLabels: {a: b}}"),
    "for all who call the service",
  ),

  refused("an empty policy", policy("«»{}"), "is empty"),
  stricter("a tunnel", policy("{«tunnel»: {targetHost: a.mesh, targetPort: 1}}"), "does not apply it"),
  taken("a PROXY header", policy("{proxyProtocol: {version: V2}}")),
  taken(
    "a retry budget",
    policy("{retryBudget: {percent: 12.5, minRetryConcurrency: 2, budgetInterval: 10s}}"),
  ),
  refused("a budget of 101 percent", policy("{retryBudget: {percent: «101»}}"), "from 0 to 100"),
  refused(
    "a port without a number",
    policy("{portLevelSettings: [«»{loadBalancer: {}}]}"),
    "port.number is missing",
  ),
  refused(
    "a port without a word",
    policy("{portLevelSettings: [«»{port: {number: 80}}]}"),
    "says nothing but its port",
  ),
  taken("a port", policy("{portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}")),

  ...["LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST", "UNSPECIFIED"].map((word) =>
    taken(`the balancer ${word}`, balancer(`{simple: ${word}}`)),
  ),
  refused("a balancer that is none", balancer("{simple: «LEAST»}"), "must be one of"),
  refused("two balancers", balancer("{simple: RANDOM, «consistentHash»: {useSourceIp: true}}"), "has both"),
  taken("a hash by header", balancer("{consistentHash: {httpHeaderName: x}}")),
  taken("a hash by cookie", balancer("{consistentHash: {httpCookie: {name: c, ttl: 0s}}}")),
  refused("a cookie without a name", balancer('{consistentHash: {httpCookie: {name: «""»}}}'), "is empty"),
  refused(
    "an attribute twice",
    balancer("{consistentHash: {httpCookie: {name: c, ttl: 1s, attributes: [{name: A}, {name: «A»}]}}}"),
    "is given twice",
  ),
  taken("Maglev", balancer("{consistentHash: {useSourceIp: true, maglev: {tableSize: 65537}}}")),
  refused(
    "a table of no prime",
    balancer("{consistentHash: {useSourceIp: true, maglev: {tableSize: «65536»}}}"),
    "a prime number",
  ),
  refused(
    "a table that is too large",
    balancer("{consistentHash: {useSourceIp: true, maglev: {tableSize: «5000011»}}}"),
    "must be from 2",
  ),
  refused(
    "two algorithms",
    balancer(
      "{consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 1}, «maglev»: {tableSize: 65537}}}",
    ),
    "has both",
  ),
  stricter("utilization", balancer("{«backendUtilization»: {}}"), "do not report their utilization"),
  taken(
    "a warm-up",
    balancer("{simple: ROUND_ROBIN, warmup: {duration: 10s, minimumPercent: 1, aggression: 2}}"),
  ),
  refused(
    "a warm-up of no time",
    balancer("{simple: ROUND_ROBIN, warmup: «»{minimumPercent: 1}}"),
    "duration is missing",
  ),
  refused(
    "a warm-up of 101 percent",
    balancer("{simple: ROUND_ROBIN, warmup: {duration: 10s, minimumPercent: «101»}}"),
    "from 0 to 100",
  ),
  refused(
    "no aggression",
    balancer("{simple: ROUND_ROBIN, warmup: {duration: 10s, «aggression»: 0}}"),
    "more than 0",
  ),

  taken("shares", balancer("{localityLbSetting: {distribute: [{from: a/b/*, to: {a/b/*: 80, a/c/*: 20}}]}}")),
  refused(
    "shares of 90",
    balancer("{localityLbSetting: {distribute: [{from: a, «to»: {a: 90}}]}}"),
    "add up to 90",
  ),
  refused(
    "a share of 0",
    balancer("{localityLbSetting: {distribute: [{from: a, to: {a: «0», b: 100}}]}}"),
    "from 1 to 100",
  ),
  refused(
    "shares and failover",
    balancer("{localityLbSetting: {«distribute»: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]}}"),
    "has distribute",
  ),
  refused(
    "failover to itself",
    balancer("{localityLbSetting: {failover: [{from: a, to: «a»}]}}"),
    "to itself",
  ),
  refused(
    "failover of a zone",
    balancer("{localityLbSetting: {failover: [{from: «a/b», to: c}]}}"),
    "is not a region",
  ),
  refused(
    "failover of a wildcard",
    balancer('{localityLbSetting: {failover: [{from: a, to: «"b*"»}]}}'),
    "is not a region",
  ),
  taken("failover by labels", balancer("{localityLbSetting: {failoverPriority: [a, b]}}")),
  refused(
    "failover by region twice",
    balancer(
      "{localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [«topology.kubernetes.io/region»]}}",
    ),
    "cannot be given with failover",
  ),

  taken(
    "a pool",
    policy(
      "{connectionPool: {tcp: {maxConnections: 7, connectTimeout: 2s, idleTimeout: 0s}, http: {http1MaxPendingRequests: 2, http2MaxRequests: 11, maxRequestsPerConnection: 5, maxRetries: 4}}}",
    ),
  ),
  refused("an empty pool", policy("{connectionPool: «»{}}"), "must have tcp or http"),
  refused("negative connections", policy("{connectionPool: {tcp: {maxConnections: «-1»}}}"), "from 0 to"),
  refused(
    "a connect timeout of 0",
    policy("{connectionPool: {tcp: {connectTimeout: «0s»}}}"),
    "at least 1 ms",
  ),
  refused("negative requests", policy("{connectionPool: {http: {http2MaxRequests: «-1»}}}"), "from 0 to"),
  refused(
    "an upgrade as the client",
    policy("{connectionPool: {http: {h2UpgradePolicy: UPGRADE, «useClientProtocol»: true}}}"),
    "cannot be given with",
  ),
  refused(
    "half a keep-alive",
    policy("{connectionPool: {http: {http2KeepAlive: «»{interval: 1s}}}}"),
    "timeout is missing",
  ),

  taken(
    "outliers",
    policy(
      "{outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 2s, maxEjectionPercent: 50, minHealthPercent: 20}}",
    ),
  ),
  taken("no outliers by 5xx", policy("{outlierDetection: {consecutive5xxErrors: 0}}")),
  refused("101 percent ejected", policy("{outlierDetection: {maxEjectionPercent: «101»}}"), "from 0 to 100"),
  refused("an interval of 0", policy("{outlierDetection: {interval: «0s»}}"), "at least 1 ms"),
  refused(
    "local failures that are not told apart",
    policy("{outlierDetection: {«consecutiveLocalOriginFailures»: 2}}"),
    "has no effect without",
  ),
  stricter(
    "the older field",
    policy("{outlierDetection: {«consecutiveErrors»: 2}}"),
    "write consecutive5xxErrors",
  ),

  taken("TLS", policy("{tls: {mode: SIMPLE, sni: a.example}}")),
  taken("mutual TLS", policy("{tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k}}")),
  taken("the mesh's own TLS", policy("{tls: {mode: ISTIO_MUTUAL}}"), "has no effect at a waypoint"),
  refused(
    "mutual TLS without a key",
    policy("{tls: «»{mode: MUTUAL, clientCertificate: /c}}"),
    "privateKey is missing",
  ),
  refused(
    "roots for no check",
    policy("{tls: {mode: SIMPLE, insecureSkipVerify: true, «caCertificates»: /ca}}"),
    "cannot be given with insecureSkipVerify",
  ),
  stricter("a Secret", policy("{tls: {mode: SIMPLE, «credentialName»: a}}"), "Secrets are not supported"),
  refused("a mode that is none", policy("{tls: {mode: «TLS»}}"), "must be one of"),
];
