/** One conversion under way: what belongs to a workload is gathered from services and policies, then the workload is made. */

import { meshLimits } from "../../base/limits/mesh.ts";
import { inSteps } from "../../base/turns/steps.ts";
import type { Authorization } from "../authorization.ts";
import { authorizationKey } from "../authorization.ts";
import type {
  AuthorizationPolicyDocument,
  EndpointSpec,
  Labels,
  MeshDocument,
  PeerAuthenticationDocument,
  ServiceEntryDocument,
} from "../documents/document.ts";
import type { RefusedPolicy } from "../documents/refused_policy.ts";
import type { Location } from "../location.ts";
import type { Service } from "../service.ts";
import type { GatewayAddress, Workload } from "../workload.ts";
import type { ConversionCache } from "./conversion_cache.ts";
import type { ConversionContext } from "./conversion_context.ts";
import type { ConversionReport } from "./conversion_report.ts";
import { PeerAuthentications } from "./peer_authentication.ts";
import { convertRefusedPolicy } from "./refused_policy.ts";
import { LabelIndex, type Labelled } from "./selector.ts";
import { convertServiceEntry, markCanonical } from "./service_entry.ts";
import { WaypointLabels } from "./waypoint_labels.ts";
import { networkGateways, type WorkloadSource } from "./workload_entry.ts";

/** The methods run in the order they are in, each to its end. */
export class MeshAssembly {
  readonly #context: ConversionContext;
  readonly #refused: readonly RefusedPolicy[];
  readonly #cache: ConversionCache;
  readonly #report: ConversionReport;
  readonly #serviceEntries: readonly ServiceEntryDocument[];
  readonly #authorizationPolicies: readonly AuthorizationPolicyDocument[];
  readonly #peerAuthentications: PeerAuthentications;
  readonly #ownPeerAuthentications: readonly SelectingPeerAuthentication[];
  readonly #waypoints: WaypointLabels;
  readonly #sources: WorkloadSource[];
  readonly #services = new Map<WorkloadSource, Map<string, ReadonlyMap<number, number>>>();
  readonly #policyNames = new Map<WorkloadSource, string[]>();
  /** Namespaces with a workload that too many policies select, and where one of those is. */
  readonly #overfull = new Map<string, Location>();
  readonly #overfullSources = new Set<WorkloadSource>();
  /** Instances of a waypoint, by its service: no waypoint is before them. */
  readonly #waypointInstances = new Set<WorkloadSource>();

  private constructor(parts: AssemblyParts) {
    this.#refused = parts.refused;
    this.#context = parts.context;
    this.#cache = parts.cache;
    this.#report = parts.report;
    this.#serviceEntries = parts.serviceEntries;
    this.#authorizationPolicies = parts.authorizationPolicies;
    this.#peerAuthentications = parts.peerAuthentications;
    this.#ownPeerAuthentications = parts.ownPeerAuthentications;
    this.#waypoints = parts.waypoints;
    this.#sources = parts.sources;
  }

  static *of(
    documents: readonly MeshDocument[],
    refused: readonly RefusedPolicy[],
    context: ConversionContext,
    cache: ConversionCache,
    report: ConversionReport,
  ): Generator<void, MeshAssembly> {
    const serviceEntries: ServiceEntryDocument[] = [];
    const authorizationPolicies: AuthorizationPolicyDocument[] = [];
    const peerAuthentications: PeerAuthenticationDocument[] = [];
    const sources: WorkloadSource[] = [];
    yield* inSteps(documents, (document) => {
      if (document.kind === "ServiceEntry") serviceEntries.push(document);
      if (document.kind === "AuthorizationPolicy") authorizationPolicies.push(document);
      if (document.kind === "PeerAuthentication") peerAuthentications.push(document);
      if (document.kind === "WorkloadEntry") sources.push(cache.source(document, document.spec));
    });
    const ownPeerAuthentications: SelectingPeerAuthentication[] = [];
    yield* inSteps(peerAuthentications, (document) => {
      const { selector, metadata } = document;
      if (selector === null || selector.size === 0) return;
      if (metadata.namespace !== context.rootNamespace) ownPeerAuthentications.push({ document, selector });
      else
        report.warn(
          document,
          "Ignored",
          "a PeerAuthentication of the root namespace applies to the mesh and takes no selector; it has no effect",
        );
    });
    return new MeshAssembly({
      refused,
      context,
      cache,
      report,
      serviceEntries,
      authorizationPolicies,
      peerAuthentications: yield* PeerAuthentications.of(peerAuthentications, context),
      ownPeerAuthentications,
      waypoints: yield* WaypointLabels.of(documents, context, report),
      sources,
    });
  }

  /** Finds or makes the endpoints of each service. */
  *join(): Generator<void> {
    const selectors = selectorsOf(this.#serviceEntries.map((document) => document.workloadSelector));
    const entries = yield* LabelIndex.of(this.#sources, selectors);
    for (const document of this.#serviceEntries) {
      yield;
      yield* this.#join(document, entries);
    }
  }

  *services(): Generator<void, readonly Service[]> {
    const services: { readonly service: Service; readonly createdMs: number | null }[] = [];
    yield* inSteps(this.#serviceEntries, (document) => {
      const { createdMs } = document.metadata;
      const converted = convertServiceEntry(
        document,
        this.#waypoints,
        this.#context,
        this.#cache,
        this.#report,
      );
      services.push(...converted.map((service) => ({ service, createdMs })));
    });
    return yield* markCanonical(services, this.#cache);
  }

  *policies(): Generator<void, readonly Authorization[]> {
    const selectors = selectorsOf(
      [...this.#authorizationPolicies, ...this.#refused, ...this.#ownPeerAuthentications].map(
        ({ selector }) => selector,
      ),
    );
    const all = yield* LabelIndex.of(this.#sources, selectors);
    const unresolved: Unresolved[] = [];
    const policies: Authorization[] = [];
    yield* inSteps(
      this.#authorizationPolicies,
      (document) => {
        const policy = this.#cache.policy(document, this.#context, this.#report);
        if (policy === null) return;
        policies.push(policy);
        const selected = this.#attach(policy, document, all);
        if (document.selector !== null && selected === 0)
          unresolved.push({ document, policy, selector: document.selector });
      },
      1,
    );
    yield* this.#warnOfUnresolved(unresolved, selectors);
    yield* inSteps(
      this.#ownPeerAuthentications,
      ({ document, selector }) => {
        if (all.select(document.metadata.namespace, selector).length === 0)
          this.#report.warn(document, "Unresolved", "its selector selects no workload");
      },
      1,
    );
    for (const policy of yield* this.#peerAuthentications.policies()) policies.push(policy);
    yield* inSteps(
      this.#refused,
      (document) => {
        const policy = convertRefusedPolicy(document, this.#context);
        policies.push(policy);
        this.#attach(policy, document, all);
      },
      1,
    );
    for (const [namespace, location] of this.#overfull) policies.push(denyAll(namespace, location));
    return policies;
  }

  /** An index of endpoints for those alone that select nothing: there are few such policies, and many endpoints. */
  *#warnOfUnresolved(unresolved: readonly Unresolved[], selectors: readonly Labels[]): Generator<void> {
    if (unresolved.length === 0) return;
    const endpoints = yield* LabelIndex.of(this.#labelledEndpoints(), selectors);
    yield* inSteps(
      unresolved,
      ({ document, policy, selector }) => {
        const meant = meantEndpoints(endpoints, selector, this.#namespaces(policy, endpoints));
        this.#report.warn(document, "Unresolved", `its selector selects no workload${meant}`);
      },
      1,
    );
  }

  *workloads(): Generator<void, readonly Workload[]> {
    const gateways = yield* networkGateways(this.#sources, this.#context);
    const workloads: Workload[] = [];
    yield* inSteps(this.#sources, (source) => void workloads.push(this.#workload(source, gateways)), 1);
    return workloads;
  }

  #workload(source: WorkloadSource, gateways: ReadonlyMap<string, GatewayAddress>): Workload {
    const network = source.spec.network ?? this.#context.network;
    const selected = (this.#policyNames.get(source) ?? []).sort();
    const strict = this.#peerAuthentications.policyNames(source.namespace, source.labels);
    const membership = {
      services: this.#services.get(source) ?? new Map<string, ReadonlyMap<number, number>>(),
      authorizationPolicies: [...selected, ...strict],
      waypoint: this.#waypointInstances.has(source)
        ? null
        : this.#waypoints.forWorkload(source.document, source.spec),
      networkGateway: network === this.#context.network ? null : (gateways.get(network) ?? null),
    };
    return this.#cache.workload(source, membership, this.#context);
  }

  /** @returns how many workloads were selected. */
  #attach(
    policy: Authorization,
    document: AuthorizationPolicyDocument | RefusedPolicy,
    all: LabelIndex<WorkloadSource>,
  ): number {
    const { selector } = document;
    if (selector === null) return 0;
    let selected = 0;
    const name = authorizationKey(policy);
    for (const namespace of this.#namespaces(policy, all)) {
      for (const source of all.select(namespace, selector)) {
        const names = this.#policyNames.get(source) ?? [];
        this.#policyNames.set(source, names);
        selected++;
        if (names.length < meshLimits.maxPoliciesPerWorkload) names.push(name);
        else this.#tooManyPolicies(source, document);
      }
    }
    return selected;
  }

  /** Each of them goes to every node with each workload. What is left out may be what denies, so then everything is. */
  #tooManyPolicies(source: WorkloadSource, document: AuthorizationPolicyDocument | RefusedPolicy): void {
    if (!this.#overfullSources.has(source)) {
      this.#overfullSources.add(source);
      this.#policyNames.get(source)?.splice(0, 1, `${source.namespace}/${overfullName}`);
      this.#overfull.set(source.namespace, document.location);
    }
    if (!("metadata" in document) || this.#report.isRefused(document)) return;
    const message = `it selects ${source.document.metadata.key}, which more than ${meshLimits.maxPoliciesPerWorkload} policies select`;
    this.#report.refuse(document, document.location, message);
  }

  /** Where a policy selects: in its own namespace, from the root namespace in each. */
  #namespaces(policy: Authorization, among: LabelIndex<Labelled>): readonly string[] {
    return policy.namespace === this.#context.rootNamespace ? [...among.namespaces()] : [policy.namespace];
  }

  *#labelledEndpoints(): Iterable<LabelledEndpoint> {
    for (const { metadata, endpoints } of this.#serviceEntries)
      for (const { labels } of endpoints)
        if (labels.size > 0) yield { namespace: metadata.namespace, labels, serviceEntry: metadata.key };
  }

  *#join(document: ServiceEntryDocument, entries: LabelIndex<WorkloadSource>): Generator<void> {
    const { namespace } = document.metadata;
    if (document.workloadSelector !== null) {
      // An empty selector of a service selects nothing, unlike one of a policy (istiod `FilterSelectsNonEmpty`).
      const selected =
        document.workloadSelector.size === 0 ? [] : entries.select(namespace, document.workloadSelector);
      if (selected.length === 0)
        this.#report.warn(document, "Unresolved", "its workloadSelector selects no WorkloadEntry");
      yield* inSteps(selected, (source) => this.#enlist(source, document, document.hosts));
    }
    for (const endpoint of document.endpoints)
      this.#enlist(this.#add(document, endpoint), document, document.hosts);
    for (const host of implicitEndpoints(document)) {
      const address = { value: { kind: "hostname", hostname: host.value } as const, at: host.at };
      this.#enlist(this.#add(document, { ...implicit, at: host.at, address }), document, [host]);
    }
  }

  #add(document: ServiceEntryDocument, endpoint: EndpointSpec): WorkloadSource {
    const source = this.#cache.source(document, endpoint);
    this.#sources.push(source);
    return source;
  }

  #enlist(
    source: WorkloadSource,
    document: ServiceEntryDocument,
    hosts: ServiceEntryDocument["hosts"],
  ): void {
    const services = this.#services.get(source) ?? new Map<string, ReadonlyMap<number, number>>();
    this.#services.set(source, services);
    if (services.size + hosts.length > meshLimits.maxServicesPerWorkload) {
      const message = `it selects ${source.document.metadata.key}, which would be in more than ${meshLimits.maxServicesPerWorkload} services`;
      this.#report.refuse(document, document.location, message);
      return;
    }
    const ports = this.#cache.ports(document, source.spec);
    for (const key of this.#cache.serviceKeys(document, hosts)) services.set(key, ports);
    if (this.#waypoints.isWaypoint(document)) this.#waypointInstances.add(source);
  }
}

/** Of one that selects workloads of its namespace. */
interface SelectingPeerAuthentication {
  readonly document: PeerAuthenticationDocument;
  readonly selector: Labels;
}

interface AssemblyParts {
  readonly refused: readonly RefusedPolicy[];
  readonly context: ConversionContext;
  readonly cache: ConversionCache;
  readonly report: ConversionReport;
  readonly serviceEntries: readonly ServiceEntryDocument[];
  readonly authorizationPolicies: readonly AuthorizationPolicyDocument[];
  readonly peerAuthentications: PeerAuthentications;
  readonly ownPeerAuthentications: readonly SelectingPeerAuthentication[];
  readonly waypoints: WaypointLabels;
  /** Of WorkloadEntries; those of services are added. */
  readonly sources: WorkloadSource[];
}

/** `_` is in no Kubernetes name. */
const overfullName = "fairlead_too_many_policies";

function denyAll(namespace: string, location: Location): Authorization {
  const rules = [{ clauses: [], location }];
  const scope = "WORKLOAD_SELECTOR";
  return { name: overfullName, namespace, scope, action: "DENY", dryRun: false, rules, location };
}

/** A policy whose selector selects nothing. */
interface Unresolved {
  readonly document: AuthorizationPolicyDocument;
  readonly policy: Authorization;
  readonly selector: Labels;
}

interface LabelledEndpoint extends Labelled {
  readonly serviceEntry: string;
}

/** An endpoint's labels are easily taken for what policies select by. */
function meantEndpoints(
  endpoints: LabelIndex<LabelledEndpoint>,
  selector: Labels,
  namespaces: readonly string[],
): string {
  const [meant] = namespaces.flatMap((namespace) => endpoints.select(namespace, selector).slice(0, 1));
  return meant === undefined
    ? ""
    : `; endpoints of ${meant.serviceEntry} have these labels, but policies select endpoints by the labels of the ServiceEntry itself`;
}

function selectorsOf(selectors: readonly (Labels | null)[]): readonly Labels[] {
  return selectors.filter((selector) => selector !== null);
}

/** Names that stand for their own endpoints: those of a DNS service that lists none (istiod `serviceEntryWorkloadBuilder`). */
function implicitEndpoints(document: ServiceEntryDocument): ServiceEntryDocument["hosts"] {
  const isDns = document.resolution === "DNS" || document.resolution === "DNS_ROUND_ROBIN";
  if (!isDns || document.endpoints.length > 0 || document.workloadSelector !== null) return [];
  return document.hosts;
}

const implicit = {
  ports: new Map(),
  labels: new Map(),
  network: null,
  locality: { region: "", zone: "", subzone: "" },
  weight: null,
  serviceAccount: "default",
} satisfies Partial<EndpointSpec>;
