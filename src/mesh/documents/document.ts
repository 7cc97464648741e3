/** The documents of a mesh, parsed: whatever is in one of these is valid by itself. Conversion puts them together. */
import type { IpAddress } from "../../base/ip.ts";
import type { IpPrefix } from "../../base/prefix.ts";
import type { DocumentWarning, Location } from "../location.ts";
import type { AppProtocol } from "../service.ts";
import type { Locality } from "../workload.ts";
import type { Located } from "./reader.ts";
import type { AccessCondition, ExternalAuthorizer, JwtRule, PathNormalization } from "./security.ts";
import type {
  BackendTlsSpec,
  DestinationRuleSpec,
  GatewayHttpRule,
  GatewayL4Rule,
  GatewayRouteSpec,
  RateLimitSpec,
  ReferenceGrantSpec,
  VirtualServiceSpec,
} from "./traffic_specs.ts";

export type Labels = ReadonlyMap<string, Located<string>>;

export interface Metadata {
  /** What the document is called in messages, and known by between versions of its file: `AuthorizationPolicy shop/only-cart`. */
  readonly key: string;
  readonly name: string;
  /** `default` when the document names none, as kubectl does; "" for a Namespace. */
  readonly namespace: string;
  readonly labels: Labels;
  readonly annotations: Labels;
  /** Milliseconds since the Unix epoch; null when the document does not say. */
  readonly createdMs: number | null;
}

interface Document {
  readonly metadata: Metadata;
  readonly location: Location;
  /** Found while reading; conversion adds its own. */
  readonly warnings: readonly DocumentWarning[];
}

export interface NamespaceDocument extends Document {
  readonly kind: "Namespace";
}

/** Where an endpoint is: an address, or a name to resolve. */
export type EndpointAddress =
  | { readonly kind: "ip"; readonly ip: IpAddress }
  | { readonly kind: "hostname"; readonly hostname: string };

/** What a WorkloadGroup says of all its members. */
export type EndpointTemplate = Omit<EndpointSpec, "address">;

/** The spec of a WorkloadEntry, which is also an endpoint of a ServiceEntry. */
export interface EndpointSpec {
  readonly at: Location;
  readonly address: Located<EndpointAddress>;
  /** Port name → number. */
  readonly ports: ReadonlyMap<string, Located<number>>;
  readonly labels: Labels;
  /** Null: the mesh's own. */
  readonly network: string | null;
  readonly locality: Locality;
  /** Null: 1. */
  readonly weight: number | null;
  readonly serviceAccount: string;
}

export interface WorkloadEntryDocument extends Document {
  readonly kind: "WorkloadEntry";
  readonly spec: EndpointSpec;
}

/** A template by which hosts that join become WorkloadEntries (`registered_entry.ts`). By itself it makes no workload. */
export interface WorkloadGroupDocument extends Document {
  readonly kind: "WorkloadGroup";
  /** For the entries made of it: `spec.metadata`. */
  readonly entryLabels: Labels;
  readonly entryAnnotations: Labels;
  readonly template: EndpointTemplate;
}

/** Which namespaces' traffic a gateway takes. */
export type AllowedNamespaces =
  | { readonly from: "Same" | "All" | "None" }
  | { readonly from: "Selector"; readonly selector: Labels };

/** A Gateway of class `istio-waypoint`: where a waypoint is, and for whom. */
export interface GatewayDocument extends Document {
  readonly kind: "Gateway";
  /** Of `status`, else of `spec`: outside Kubernetes no controller writes a status. */
  readonly addresses: readonly Located<EndpointAddress>[];
  readonly allowedNamespaces: AllowedNamespaces;
}

export interface ServiceEntryPort {
  readonly number: number;
  readonly name: string;
  readonly protocol: AppProtocol;
  /** Null: the same as `number`. */
  readonly targetPort: number | null;
}

export interface ServiceEntryDocument extends Document {
  readonly kind: "ServiceEntry";
  readonly hosts: readonly Located<string>[];
  readonly addresses: readonly Located<IpPrefix>[];
  readonly ports: readonly ServiceEntryPort[];
  readonly resolution: "NONE" | "STATIC" | "DNS" | "DNS_ROUND_ROBIN";
  readonly endpoints: readonly EndpointSpec[];
  readonly workloadSelector: Labels | null;
  readonly subjectAltNames: readonly Located<string>[];
  readonly visibility: "PUBLIC" | "NAMESPACE";
}

/** What the mesh's administrators give to namespaces, and to no others: see `control/documents/ownership.ts`. */
export interface GrantDocument extends Document {
  readonly kind: "Grant";
  readonly namespaces: readonly string[];
  /** Lower case; `*.example.com` is every name below it. */
  readonly hosts: readonly Located<string>[];
  /** In any network. */
  readonly addressRanges: readonly Located<IpPrefix>[];
  readonly nodes: readonly string[];
  /** Networks that a gateway of theirs may lead to. */
  readonly networks: readonly string[];
}

export type MutualTlsMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

export interface PeerAuthenticationDocument extends Document {
  readonly kind: "PeerAuthentication";
  /** Null or empty: the whole namespace, or the mesh in the root namespace. */
  readonly selector: Labels | null;
  readonly mode: Located<MutualTlsMode>;
  readonly portLevelMtls: ReadonlyMap<number, Located<MutualTlsMode>>;
}

/** A positive list and its `not` counterpart, each value with its place. */
export interface Values<T> {
  readonly values: readonly Located<T>[];
  readonly notValues: readonly Located<T>[];
}

export interface SourceMatch {
  readonly principals: Values<string>;
  readonly namespaces: Values<string>;
  readonly serviceAccounts: Values<string>;
  readonly ipBlocks: Values<IpPrefix>;
  readonly requestPrincipals: Values<string>;
  readonly remoteIpBlocks: Values<IpPrefix>;
  readonly trustDomains: Values<string>;
  /** Those of its fields that need HTTP or that a tunnel cannot see, as they are called in the document. */
  readonly layer7: readonly string[];
}

export interface OperationMatch {
  readonly ports: Values<number>;
  readonly hosts: Values<string>;
  readonly methods: Values<string>;
  readonly paths: Values<string>;
  readonly layer7: readonly string[];
}

/** A condition that a tunnel does not see. */
export type Layer7Condition =
  | { readonly key: "remote.ip"; readonly match: Values<IpPrefix> }
  | {
      readonly key:
        | "source.serviceAccount"
        | "source.trustDomain"
        | "connection.sni"
        | "request.auth.principal"
        | "request.auth.audiences"
        | "request.auth.presenter";
      readonly match: Values<string>;
    }
  /** @param header in lower case */
  | { readonly key: "request.headers"; readonly header: string; readonly match: Values<string> }
  /** `request.auth.claims[a][b]` is the path `a`, `b`. */
  | { readonly key: "request.auth.claims"; readonly claim: readonly string[]; readonly match: Values<string> }
  /** Metadata that a filter of Envoy would have made: there is none here. */
  | { readonly key: "experimental.envoy.filters"; readonly match: Values<string> };

export type Condition =
  | { readonly key: "source.ip" | "destination.ip"; readonly match: Values<IpPrefix> }
  | { readonly key: "source.namespace" | "source.principal"; readonly match: Values<string> }
  | { readonly key: "destination.port"; readonly match: Values<number> }
  | { readonly key: "layer7"; readonly name: string; readonly is: Layer7Condition };

export interface PolicyRule {
  readonly at: Location;
  readonly from: readonly SourceMatch[];
  readonly to: readonly OperationMatch[];
  readonly when: readonly Condition[];
}

export interface AuthorizationPolicyDocument extends Document {
  readonly kind: "AuthorizationPolicy";
  readonly action: Located<"ALLOW" | "DENY" | "AUDIT" | "CUSTOM">;
  /** Null: the whole namespace, or the mesh in the root namespace. */
  readonly selector: Labels | null;
  /** Not empty: the policy is for a waypoint. */
  readonly targetRefs: readonly Located<string>[];
  readonly rules: readonly PolicyRule[];
  readonly dryRun: boolean;
  /** `spec.provider.name` of a CUSTOM policy: who decides. */
  readonly provider: string | null;
}

export interface RequestAuthenticationDocument extends Document {
  readonly kind: "RequestAuthentication";
  /** Null: the whole namespace, or the mesh in the root namespace. Only without `targetRefs`. */
  readonly selector: Labels | null;
  readonly targetRefs: readonly Located<string>[];
  readonly rules: readonly JwtRule[];
}

/** `fairlead.dev/v1`: conditions in CEL on requests that a waypoint takes, beside the AuthorizationPolicies. */
export interface AccessConditionDocument extends Document {
  readonly kind: "AccessCondition";
  readonly targetRefs: readonly Located<string>[];
  readonly conditions: readonly AccessCondition[];
  /** Said in the log and counted, without any other effect. */
  readonly dryRun: boolean;
}

/** `fairlead.dev/v1`: what Istio's MeshConfig says of waypoints. There is one, of the mesh's administrators. */
export interface MeshConfigDocument extends Document {
  readonly kind: "MeshConfig";
  readonly authorizers: readonly ExternalAuthorizer[];
  readonly pathNormalization: PathNormalization;
  readonly trustDomainAliases: readonly string[];
  /** `defaultConfig.gatewayTopology.numTrustedProxies`. */
  readonly trustedProxies: number;
  /** Hosts of key sets that may be at private addresses, and be reached by plain HTTP. */
  readonly privateKeySetHosts: readonly string[];
}

interface TrafficDocumentOf<Kind extends string, Spec> extends Document {
  readonly kind: Kind;
  readonly spec: Spec;
}

export type VirtualServiceDocument = TrafficDocumentOf<"VirtualService", VirtualServiceSpec>;
export type DestinationRuleDocument = TrafficDocumentOf<"DestinationRule", DestinationRuleSpec>;
export type HttpRouteDocument = TrafficDocumentOf<
  "HTTPRoute" | "GRPCRoute",
  GatewayRouteSpec<GatewayHttpRule>
>;
export type L4RouteDocument = TrafficDocumentOf<"TCPRoute" | "TLSRoute", GatewayRouteSpec<GatewayL4Rule>>;
export type BackendTlsPolicyDocument = TrafficDocumentOf<"BackendTLSPolicy", BackendTlsSpec>;
export type ReferenceGrantDocument = TrafficDocumentOf<"ReferenceGrant", ReferenceGrantSpec>;
export type RateLimitDocument = TrafficDocumentOf<"RateLimit", RateLimitSpec>;

/** What a waypoint does with the traffic of its services. A node tunnel does nothing with them. */
export type TrafficDocument =
  | VirtualServiceDocument
  | DestinationRuleDocument
  | HttpRouteDocument
  | L4RouteDocument
  | BackendTlsPolicyDocument
  | ReferenceGrantDocument
  | RateLimitDocument;

/** `fairlead.dev/v1`: code of users that a waypoint runs for each request. */
export interface MiddlewareDocument extends Document {
  readonly kind: "Middleware";
  readonly targetRefs: readonly Located<string>[];
  /** A name in the folder that is the waypoint's setting. */
  readonly file: Located<string>;
  /** The lower one is the outer one. */
  readonly order: number;
  /** Of its own, for one request. */
  readonly timeoutMs: number;
  /** When it throws, takes too long, or cannot be loaded. */
  readonly onFailure: "Deny" | "Continue";
  readonly config: ReadonlyMap<string, string>;
}

export interface AccessLogRule {
  readonly isDisabled: boolean;
  /** In CEL; null: every request. */
  readonly filter: Located<string> | null;
}

/** Which requests have a line in the log, and which a log record at the collector; null: none. */
export interface AccessLogging {
  readonly log: AccessLogRule | null;
  readonly collector: AccessLogRule | null;
}

export interface TracingRule {
  /** Null: not said. */
  readonly samplingPercent: number | null;
  /** No spans. */
  readonly isDisabled: boolean;
  /** Spans say of which canonical service they are, and so on. */
  readonly hasIstioTags: boolean;
  /** By the attribute's name. */
  readonly customTags: ReadonlyMap<string, CustomTag>;
}

export type CustomTag =
  | { readonly kind: "literal"; readonly value: string }
  /** @member name in lower case. @member otherwise when there is no such header; null: no attribute. */
  | { readonly kind: "header"; readonly name: string; readonly otherwise: string | null }
  /** Operators of Envoy's. */
  | { readonly kind: "format"; readonly text: Located<string> };

export interface MetricOverride {
  readonly isDisabled: boolean;
  /** By the label's name. */
  readonly tags: ReadonlyMap<string, TagOverride>;
}

/** An expression in CEL; null: the metric has no such label. */
export type TagOverride = Located<string> | null;

/** What is told of requests. Each part is null when the document says nothing of it. */
export interface TelemetryDocument extends Document, TelemetrySettings {
  readonly kind: "Telemetry";
  /** Empty: the namespace's waypoints, or all of the mesh in the root namespace. */
  readonly targetRefs: readonly Located<string>[];
  /** Not null: it is for workloads, and so for tunnels that have a waypoint's application inside, and no waypoint. */
  readonly selector: Labels | null;
  /** What it says of who sends requests; the rest is of whom they are for, as which a waypoint reports. */
  readonly client: TelemetrySettings;
}

export interface TelemetrySettings {
  readonly accessLog: AccessLogging | null;
  readonly tracing: TracingRule | null;
  /** By Istio's names, `REQUEST_COUNT` and so on. */
  readonly metrics: ReadonlyMap<string, MetricOverride> | null;
}

/** `fairlead.dev/v1`: who may reach what, and who may not. It changes nothing; a change of documents that breaks it is refused. */
export interface PolicyTestDocument extends Document {
  readonly kind: "PolicyTest";
  readonly tests: readonly PolicyTestCase[];
}

/** Parties are in the words of `fairlead explain`. */
export interface PolicyTestCase {
  readonly at: Location;
  readonly to: Located<string>;
  /** Null: the only one that there is. */
  readonly port: number | null;
  readonly allowed: readonly Located<string>[];
  readonly denied: readonly Located<string>[];
}

export type MeshDocument =
  | TrafficDocument
  | NamespaceDocument
  | WorkloadEntryDocument
  | WorkloadGroupDocument
  | ServiceEntryDocument
  | GatewayDocument
  | GrantDocument
  | PeerAuthenticationDocument
  | AuthorizationPolicyDocument
  | RequestAuthenticationDocument
  | AccessConditionDocument
  | MeshConfigDocument
  | MiddlewareDocument
  | TelemetryDocument
  | PolicyTestDocument;

/** @param namespace "" for a document that is in none. */
export function resourceName(kind: string, namespace: string, name: string): string {
  return namespace === "" ? `${kind} ${name}` : `${kind} ${namespace}/${name}`;
}
