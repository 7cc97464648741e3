/**
 * DestinationRules and BackendTLSPolicies → how each service is reached (Istio `PushContext.destinationRule`, `mergeDestinationRule`,
 * `MergeSubsetTrafficPolicy`).
 */
import type { BackendTlsPolicyDocument, DestinationRuleDocument } from "../documents/document.ts";
import type { PolicyParts, SubsetSpec, TrafficPolicySpec } from "../documents/traffic_specs.ts";
import { formatLocation } from "../location.ts";
import { type Service, serviceKey } from "../service.ts";
import {
  type DestinationPlan,
  type DestinationPolicy,
  type DestinationSubset,
  defaultDestinationPolicy,
  type UpstreamTls,
} from "./destination_policy.ts";
import { byAge, HostIndex, type ServiceLookup } from "./service_lookup.ts";
import type { TrafficReport, TrafficScope } from "./traffic_scope.ts";

export class DestinationPlans {
  readonly #rules: HostIndex<DestinationRuleDocument>;
  readonly #tls: readonly BackendTlsPolicyDocument[];
  readonly #scope: TrafficScope;
  readonly #lookup: ServiceLookup;
  readonly #report: TrafficReport;
  readonly #plans = new Map<string, DestinationPlan>();

  constructor(
    rules: readonly DestinationRuleDocument[],
    tls: readonly BackendTlsPolicyDocument[],
    scope: TrafficScope,
    lookup: ServiceLookup,
    report: TrafficReport,
  ) {
    this.#rules = new HostIndex(byAge(rules), ({ spec }) => [spec.host.value]);
    this.#tls = byAge(tls);
    this.#scope = scope;
    this.#lookup = lookup;
    this.#report = report;
  }

  readonly of = (service: Service): DestinationPlan => {
    const key = serviceKey(service);
    const known = this.#plans.get(key);
    if (known !== undefined) return known;
    const plan = this.#plan(service);
    this.#plans.set(key, plan);
    return plan;
  };

  #plan(service: Service): DestinationPlan {
    const rules = this.#select(service);
    const policy = rules.map(({ spec }) => spec.policy).find((one) => one !== null) ?? null;
    const subsets = new Map<string, SubsetSpec>();
    for (const rule of rules) {
      if (rule.spec.policy !== null && rule.spec.policy !== policy)
        this.#conflict(rule, rule.spec.policy.at, `its trafficPolicy`, policy?.at);
      for (const subset of rule.spec.subsets) {
        const first = subsets.get(subset.name);
        if (first === undefined) subsets.set(subset.name, subset);
        else this.#conflict(rule, subset.at, `its subset ${subset.name}`, first.at);
      }
    }
    const tls = (port: number) => this.#tlsOf(service, port);
    const ofPorts = (subset: SubsetSpec | null) =>
      new Map(
        [...service.ports.keys()].map((port) => [
          port,
          resolved(policy, subset?.policy ?? null, port, tls(port)),
        ]),
      );
    return {
      service: serviceKey(service),
      ports: ofPorts(null),
      subsets: new Map(
        [...subsets.values()].map((subset): [string, DestinationSubset] => [
          subset.name,
          { name: subset.name, labels: subset.labels, ports: ofPorts(subset), location: subset.at },
        ]),
      ),
      locations: rules.map(({ location }) => location),
    };
  }

  /** Of the waypoint's namespace, else of the service's, else of the root namespace; of them the most specific host. */
  #select(service: Service): readonly DestinationRuleDocument[] {
    const { waypoint, rootNamespace } = this.#scope;
    const own = waypoint?.namespace ?? service.namespace;
    const seen = this.#rules
      .of(service)
      .filter(
        ({ metadata, spec }) =>
          spec.exportTo === null || spec.exportTo.includes(own) || metadata.namespace === own,
      );
    const namespaces =
      own === rootNamespace ? [service.namespace, own] : [own, service.namespace, rootNamespace];
    for (const namespace of namespaces) {
      const here = seen.filter(({ metadata }) => metadata.namespace === namespace);
      const [best] = [...here].sort((a, b) => specificity(b) - specificity(a));
      if (best !== undefined) return here.filter((rule) => specificity(rule) === specificity(best));
    }
    return [];
  }

  #tlsOf(service: Service, port: number): UpstreamTls | null {
    for (const document of this.#tls) {
      if (document.metadata.namespace !== service.namespace) continue;
      const target = document.spec.targets.find(
        ({ name, section }) =>
          this.#lookup.byName(service.namespace, name).includes(service) &&
          (section === null || this.#lookup.port(service, section) === port),
      );
      if (target === undefined) continue;
      const { hostname, caCertificates, subjectAltNames } = document.spec;
      return {
        namespace: document.metadata.namespace,
        mode: "simple",
        sni: hostname,
        caCertificates,
        caCrl: null,
        clientCertificate: null,
        privateKey: null,
        subjectAltNames,
        insecureSkipVerify: false,
        location: target.at,
      };
    }
    return null;
  }

  #conflict(
    rule: DestinationRuleDocument,
    at: DestinationRuleDocument["location"],
    what: string,
    first: DestinationRuleDocument["location"] | undefined,
  ): void {
    const where = first === undefined ? "" : ` (${formatLocation(first)})`;
    this.#report.warn(
      rule,
      "Ignored",
      `${what} has no effect: an older DestinationRule of this host has one${where}`,
      at,
    );
  }
}

/** A name without a wildcard is more specific than any with one; of those the longer. */
function specificity({ spec }: DestinationRuleDocument): number {
  const { value } = spec.host;
  return value.startsWith("*") ? value.length : 1_000;
}

/** What is said for the port takes the place of the whole policy; what a subset says, of the same field. */
function resolved(
  policy: TrafficPolicySpec | null,
  subset: TrafficPolicySpec | null,
  port: number,
  tls: UpstreamTls | null,
): DestinationPolicy {
  const base = forPort(policy, port);
  const own = forPort(subset, port);
  const said = <Field extends keyof PolicyParts>(field: Field): PolicyParts[Field] | null =>
    own?.[field] ?? base?.[field] ?? null;
  return {
    loadBalancer: said("loadBalancer") ?? defaultDestinationPolicy.loadBalancer,
    locality: said("locality") ?? defaultDestinationPolicy.locality,
    // It belongs to the balancer that says it.
    warmup: (own?.loadBalancer ?? null) !== null ? (own?.warmup ?? null) : (base?.warmup ?? null),
    pool: said("pool") ?? defaultDestinationPolicy.pool,
    outlier: said("outlier"),
    tls: said("tls") ?? tls,
    proxyProtocol: said("proxyProtocol"),
    retryBudget: said("retryBudget"),
  };
}

function forPort(policy: TrafficPolicySpec | null, port: number): PolicyParts | null {
  return policy?.ports.get(port) ?? policy;
}
