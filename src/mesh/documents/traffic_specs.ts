/** What documents about traffic say, read and checked by themselves; which services they mean is found out by `mesh/traffic`. */
import type { IpPrefix } from "../../base/prefix.ts";
import type { Location } from "../location.ts";
import type { DestinationPolicy } from "../traffic/destination_policy.ts";
import type { RateLimitRule, RateLimitStore } from "../traffic/rate_limit.ts";
import type {
  CorsPolicy,
  Fault,
  HeaderChanges,
  HttpMatch,
  Redirect,
  RetryPolicy,
  Rewrite,
  SessionPersistence,
} from "../traffic/route_plan.ts";
import type { Located } from "./reader.ts";

/** Namespaces that may use a document; null: all. */
export type ExportTo = readonly string[] | null;

export interface VirtualServiceSpec {
  /** Lower case, as written: a name without a dot is one of the document's namespace. Empty: a delegate. */
  readonly hosts: readonly Located<string>[];
  /** Whether `gateways` has `mesh`, or nothing. */
  readonly appliesToMesh: boolean;
  readonly exportTo: ExportTo;
  readonly http: readonly VirtualHttpRoute[];
  readonly tls: readonly VirtualL4Route[];
  readonly tcp: readonly VirtualL4Route[];
}

/** What limits a match to some of the places where a VirtualService applies. */
export interface VirtualScope {
  /** Null: any. */
  readonly port: number | null;
  /** Null: as the document. */
  readonly appliesToMesh: boolean | null;
  readonly sourceLabels: ReadonlyMap<string, string>;
  readonly sourceNamespace: string | null;
}

export interface VirtualHttpMatch {
  readonly name: string | null;
  readonly match: HttpMatch;
  readonly scope: VirtualScope;
}

export interface VirtualDestination {
  readonly at: Location;
  readonly host: string;
  readonly subset: string | null;
  readonly port: number | null;
}

export interface VirtualWeight {
  readonly destination: VirtualDestination;
  readonly weight: number;
  readonly headers: RouteHeaders;
}

/** The changes, and what they say of `Host`, which is no header to change but the request's authority. */
export interface RouteHeaders extends HeaderChanges {
  readonly authority: string | null;
}

export interface VirtualHttpRoute {
  readonly at: Location;
  readonly name: string | null;
  readonly matches: readonly VirtualHttpMatch[];
  readonly route: readonly VirtualWeight[];
  readonly redirect: Redirect | null;
  readonly answer: { readonly status: number; readonly body: Uint8Array } | null;
  readonly delegate: {
    readonly at: Location;
    readonly name: string;
    readonly namespace: string | null;
  } | null;
  readonly rewrite: Rewrite | null;
  /** Null: not said. */
  readonly timeoutMs: number | null;
  /** `unset`: Istio's default. */
  readonly retries: RetryPolicy | null | "unset";
  /** Whether `retries` says `retryIgnorePreviousHosts`; if not, a destination by consistent hash stays with its endpoint. */
  readonly saysAvoidTried: boolean;
  readonly fault: Fault | null;
  /** Null: not said, which matters to delegates. */
  readonly mirrors: readonly { readonly destination: VirtualDestination; readonly percent: number }[] | null;
  readonly cors: CorsPolicy | null;
  readonly headers: RouteHeaders | null;
}

export interface VirtualL4Route {
  readonly at: Location;
  readonly matches: readonly VirtualL4Match[];
  readonly route: readonly VirtualWeight[];
}

export interface VirtualL4Match {
  readonly at: Location;
  /** Of TLS; lower case. */
  readonly sniHosts: readonly string[];
  readonly destinationSubnets: readonly IpPrefix[];
  readonly scope: VirtualScope;
}

/** Fields that are not said are null: what is said for a port or a subset replaces it whole, field by field. */
export type PolicyParts = { readonly [Field in keyof DestinationPolicy]: DestinationPolicy[Field] | null };

export interface TrafficPolicySpec extends PolicyParts {
  readonly at: Location;
  readonly ports: ReadonlyMap<number, PolicyParts>;
}

export interface DestinationRuleSpec {
  readonly host: Located<string>;
  readonly exportTo: ExportTo;
  readonly policy: TrafficPolicySpec | null;
  readonly subsets: readonly SubsetSpec[];
}

export interface SubsetSpec {
  readonly at: Location;
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly policy: TrafficPolicySpec | null;
}

/** What a route of the Gateway API is attached to. */
export interface ParentRef {
  readonly at: Location;
  readonly kind: "Service" | "ServiceEntry";
  /** Null: the route's own. */
  readonly namespace: string | null;
  readonly name: string;
  readonly port: number | null;
}

export interface BackendRef {
  readonly at: Location;
  readonly kind: "Service" | "ServiceEntry" | "Hostname";
  readonly namespace: string | null;
  readonly name: string;
  readonly port: number | null;
}

export interface WeightedBackend {
  readonly backend: BackendRef;
  readonly weight: number;
  readonly headers: HeaderChanges;
}

export interface GatewayHttpRule {
  readonly at: Location;
  readonly name: string | null;
  /** Empty: every request. */
  readonly matches: readonly HttpMatch[];
  readonly backends: readonly WeightedBackend[];
  readonly redirect: Redirect | null;
  readonly rewrite: Rewrite | null;
  readonly headers: HeaderChanges;
  readonly mirrors: readonly { readonly backend: BackendRef; readonly percent: number }[];
  readonly cors: CorsPolicy | null;
  readonly timeoutMs: number | null;
  readonly retries: RetryPolicy | "unset";
  readonly session: SessionPersistence | null;
}

export interface GatewayL4Rule {
  readonly at: Location;
  readonly name: string | null;
  readonly backends: readonly WeightedBackend[];
}

export interface GatewayRouteSpec<Rule> {
  readonly parents: readonly ParentRef[];
  /** Of TLS: which server names. Of HTTP for a service they have no effect. */
  readonly hostnames: readonly Located<string>[];
  readonly rules: readonly Rule[];
}

/** BackendTLSPolicy: TLS to a service that is not of the mesh. */
export interface BackendTlsSpec {
  readonly targets: readonly BackendTarget[];
  readonly hostname: string;
  /** A file of the waypoint's host; null: the system's roots. */
  readonly caCertificates: string | null;
  /** Names or `spiffe://` URIs; instead of `hostname` when there are any. */
  readonly subjectAltNames: readonly string[];
}

export interface BackendTarget {
  readonly at: Location;
  readonly kind: "Service" | "ServiceEntry";
  readonly name: string;
  /** The name of a port, or its number as a text. */
  readonly section: string | null;
}

/** Routes of these namespaces may send to these services of the document's own. */
export interface ReferenceGrantSpec {
  readonly from: readonly { readonly kind: string; readonly namespace: string }[];
  /** Of a null name: every one of the kind. */
  readonly to: readonly { readonly kind: string; readonly name: string | null }[];
}

export interface RateLimitSpec {
  /** As `readTargetRefs` reads them: `Service cart`. */
  readonly targets: readonly Located<string>[];
  readonly rules: readonly RateLimitRule[];
  readonly store: RateLimitStore;
  readonly headers: boolean;
  readonly dryRun: boolean;
}
