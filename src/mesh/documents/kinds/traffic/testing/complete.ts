/** One document of each kind about traffic with every field that it takes, after Istio's and the Gateway API's own examples. */
export const completeDocuments: Readonly<Record<string, string>> = {
  VirtualService: `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews.shop.mesh, "*.reviews.mesh"]
  gateways: [mesh, istio-ingress/public]
  exportTo: ["."]
  http:
  - name: canary
    match:
    - name: jason
      uri: {prefix: /api}
      ignoreUriCase: true
      scheme: {exact: http}
      method: {regex: GET|HEAD}
      authority: {prefix: reviews}
      headers: {end-user: {exact: jason}, x-any: {}, ":method": {exact: GET}}
      withoutHeaders: {x-not: {regex: "*"}}
      queryParams: {v: {exact: "2"}}
      port: 80
      gateways: [mesh]
      sourceLabels: {app: cart}
      sourceNamespace: shop
    - uri: {regex: "/users/[0-9]+"}
    route:
    - destination: {host: reviews.shop.mesh, subset: v2, port: {number: 80}}
      weight: 25
      headers: {request: {set: {x-canary: "yes"}}, response: {remove: [x-secret], add: {x-a: "100%%"}}}
    - destination: {host: reviews.shop.mesh, subset: v1}
      weight: 75
    rewrite: {uriRegexRewrite: {match: "^/api/(.*)$", rewrite: "/\\\\1"}, authority: inner.mesh}
    timeout: 5s
    retries:
      attempts: 3
      perTryTimeout: 500ms
      retryOn: 5xx,connect-failure,503
      retryRemoteLocalities: true
      retryIgnorePreviousHosts: false
      backoff: 100ms
    fault:
      delay: {fixedDelay: 2s, percentage: {value: 0.1}}
      abort: {grpcStatus: UNAVAILABLE, percentage: {value: 50}}
    mirrors:
    - {destination: {host: mirror.mesh}, percentage: {value: 12.5}}
    corsPolicy:
      allowOrigins: [{exact: https://shop.example}, {regex: "https://.*[.]dev"}]
      allowMethods: [GET, POST]
      allowHeaders: [x-a]
      exposeHeaders: [x-b]
      maxAge: 24h
      allowCredentials: true
      unmatchedPreflights: IGNORE
    headers: {request: {add: {x-b: c}}}
  - match: [{uri: {exact: /old}}]
    redirect: {uri: /new, authority: other.mesh, scheme: https, derivePort: FROM_PROTOCOL_DEFAULT, redirectCode: 308}
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418, body: {string: short and stout}}
  - match: [{uri: {prefix: /team}}]
    delegate: {name: team, namespace: team}
  - route: [{destination: {host: reviews.shop.mesh}}]
    mirror: {host: mirror.mesh, port: {number: 80}}
    mirrorPercentage: {value: 1}
  tls:
  - match: [{sniHosts: [reviews.shop.mesh], port: 443, destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: reviews.shop.mesh, port: {number: 443}}}]
  tcp:
  - match: [{port: 27017, destinationSubnets: [10.0.0.0/8]}]
    route: [{destination: {host: reviews.shop.mesh}, weight: 1}, {destination: {host: b.mesh}, weight: 2}]
`,
  DestinationRule: `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews.shop.mesh
  exportTo: ["*"]
  trafficPolicy:
    loadBalancer:
      consistentHash:
        httpCookie: {name: user, path: /, ttl: 0s, attributes: [{name: SameSite, value: Lax}]}
        maglev: {tableSize: 65537}
      localityLbSetting:
        enabled: true
        distribute: [{from: us-west/zone1/*, to: {us-west/zone1/*: 80, us-west/zone2/*: 20}}]
      warmup: {duration: 60s, minimumPercent: 5, aggression: 1.5}
    connectionPool:
      tcp:
        maxConnections: 100
        connectTimeout: 30ms
        tcpKeepalive: {probes: 3, time: 7200s, interval: 75s}
        maxConnectionDuration: 1h
        idleTimeout: 0s
      http:
        http1MaxPendingRequests: 1
        http2MaxRequests: 1000
        maxRequestsPerConnection: 10
        maxRetries: 5
        idleTimeout: 15m
        h2UpgradePolicy: UPGRADE
        maxConcurrentStreams: 100
        http2KeepAlive: {interval: 10s, timeout: 2s}
    outlierDetection:
      consecutive5xxErrors: 7
      consecutiveGatewayErrors: 3
      consecutiveLocalOriginFailures: 2
      splitExternalLocalOriginErrors: true
      interval: 5m
      baseEjectionTime: 15m
      maxEjectionPercent: 50
      minHealthPercent: 30
      outlierDetectionHttpErrorCodes: [429, 503]
    tls: {mode: MUTUAL, clientCertificate: /etc/c.pem, privateKey: /etc/k.pem, caCertificates: /etc/ca.pem, sni: a.example, subjectAltNames: [a.example], caCrl: /etc/crl.pem}
    portLevelSettings:
    - port: {number: 80}
      loadBalancer: {simple: LEAST_REQUEST}
    proxyProtocol: {version: V2}
    retryBudget: {percent: 25.5, minRetryConcurrency: 5, budgetInterval: 10s}
  subsets:
  - {name: v1, labels: {version: v1}}
  - name: v2
    labels: {version: v2}
    trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [x]}}}
`,
  HTTPRoute: `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: reviews, namespace: shop}
spec:
  parentRefs:
  - {group: "", kind: Service, name: reviews, port: 9080}
  - {group: networking.istio.io, kind: ServiceEntry, name: outside}
  rules:
  - name: first
    matches:
    - path: {type: PathPrefix, value: /a}
      headers: [{type: Exact, name: X-Version, value: "2"}, {type: RegularExpression, name: y, value: a.*}]
      queryParams: [{name: q, value: v}]
      method: GET
    filters:
    - type: RequestHeaderModifier
      requestHeaderModifier: {set: [{name: X-A, value: b}], add: [{name: x-c, value: d}], remove: [x-e]}
    - type: ResponseHeaderModifier
      responseHeaderModifier: {add: [{name: x-c, value: d}]}
    - type: RequestMirror
      requestMirror: {backendRef: {name: mirror, port: 80}, fraction: {numerator: 1, denominator: 8}}
    - type: URLRewrite
      urlRewrite: {hostname: inner.mesh, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}
    - type: CORS
      cors: {allowOrigins: ["https://*.shop.example:8443", "*"], allowMethods: [GET], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 60, allowCredentials: true}
    backendRefs:
    - name: reviews-v1
      port: 9080
      weight: 90
    - group: networking.istio.io
      kind: Hostname
      name: reviews.other.mesh
      port: 9080
      weight: 10
      filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-canary, value: "1"}]}}]
    timeouts: {request: 10s, backendRequest: 2s}
    retry: {codes: [502, 503], attempts: 3, backoff: 100ms}
    sessionPersistence: {sessionName: s, type: Cookie, absoluteTimeout: 1h, idleTimeout: 10m, cookieConfig: {lifetimeType: Permanent}}
  - matches: [{path: {type: Exact, value: /old}}]
    filters:
    - type: RequestRedirect
      requestRedirect: {scheme: https, hostname: new.mesh, port: 8443, statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /new}}
`,
  GRPCRoute: `apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: greeter, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: greeter}]
  rules:
  - matches:
    - {method: {service: helloworld.Greeter, method: SayHello}, headers: [{name: x, value: y}]}
    - {method: {type: RegularExpression, service: "hello.*", method: "Say.*"}}
    filters: [{type: RequestMirror, requestMirror: {backendRef: {name: m, port: 1}, percent: 5}}]
    backendRefs: [{name: greeter-v2, port: 50051}]
`,
  TCPRoute: `apiVersion: gateway.networking.k8s.io/v1alpha2
kind: TCPRoute
metadata: {name: db, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: db, port: 5432}]
  rules: [{name: all, backendRefs: [{name: db-a, port: 5432, weight: 1}, {name: db-b, port: 5432, weight: 3}]}]
`,
  TLSRoute: `apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: secure, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: secure}]
  hostnames: [a.example, "*.b.example"]
  rules: [{backendRefs: [{name: secure-a, port: 443}]}]
`,
  BackendTLSPolicy: `apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: outside, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: outside, sectionName: https}]
  validation:
    hostname: api.outside.example
    wellKnownCACertificates: System
    subjectAltNames: [{type: Hostname, hostname: b.example}, {type: URI, uri: "spiffe://a/b"}]
`,
  ReferenceGrant: `apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: from-shop, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service, name: outside}, {group: networking.istio.io, kind: ServiceEntry}]
`,
  RateLimit: `apiVersion: fairlead.dev/v1
kind: RateLimit
metadata: {name: reviews, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: reviews}]
  rules:
  - name: per-user
    match: [{uri: {prefix: /api}, method: {exact: POST}, headers: {x-plan: {exact: free}}}]
    routes: [canary]
    keys: [{by: Peer}, {by: Header, name: X-Tenant}, {by: Claim, name: org.tenant}, {by: Route}, {by: Service}, {by: SourceAddress}]
    limit: {requests: 100, unit: MINUTE, burst: 200}
  - limit: {requests: 5000, period: 10s}
  store:
    type: Redis
    redis: {address: "redis.shop.mesh:6379", passwordFile: /etc/redis, database: 2, timeout: 50ms, whenAway: Deny}
  headers: false
  dryRun: true
`,
};
