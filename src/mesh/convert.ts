/**
 * Documents, taken together, → the mesh as tunnels see it, as istiod would make it. A document that cannot stand beside the
 * others is refused alone. Pure: the same documents give the same mesh.
 */
import type { Authorization } from "./authorization.ts";
import { authorizationKey } from "./authorization.ts";
import { Claims } from "./claims.ts";
import { type ConversionContext, ConversionReport, type DocumentStatus } from "./conversion.ts";
import { ConversionCache } from "./conversion_cache.ts";
import { convertAuthorizationPolicy } from "./convert_authorization.ts";
import { PeerAuthentications } from "./convert_peer_authentication.ts";
import { convertServiceEntry, markCanonical } from "./convert_service.ts";
import {
  checkWorkloadWords,
  endpointPorts,
  networkGateways,
  type WorkloadSource,
} from "./convert_workload.ts";
import type {
  AuthorizationPolicyDocument,
  EndpointSpec,
  Labels,
  MeshDocument,
  PeerAuthenticationDocument,
  ServiceEntryDocument,
} from "./document.ts";
import type { DocumentError } from "./location.ts";
import { convertRefusedPolicy, type RefusedPolicy } from "./refused_policy.ts";
import { LabelIndex } from "./selector.ts";
import type { Service } from "./service.ts";
import { WaypointLabels } from "./waypoint_labels.ts";
import type { Workload } from "./workload.ts";

export interface Conversion {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Authorization[];
  /** One for each document, in their order. */
  readonly statuses: readonly DocumentStatus[];
  readonly errors: readonly DocumentError[];
}

/**
 * @param refused policies that were refused before they became documents and have no good version; traffic they may concern is denied.
 * @param cache of earlier conversions in the same context.
 */
export function convertDocuments(
  documents: readonly MeshDocument[],
  context: ConversionContext,
  refused: readonly RefusedPolicy[] = [],
  cache: ConversionCache = new ConversionCache(),
): Conversion {
  const report = new ConversionReport();
  const claims = new Claims(context, report);
  const accepted = documents.filter(
    (document) => checkWords(document, cache, report) && claims.take(document),
  );
  const conversion = new MeshConversion(accepted, refused, context, cache, report);
  const services = conversion.services();
  const policies = conversion.policies();
  return {
    workloads: conversion.workloads(),
    services,
    policies,
    statuses: documents.map((document) => report.status(document)),
    errors: report.errors(),
  };
}

function checkWords(document: MeshDocument, cache: ConversionCache, report: ConversionReport): boolean {
  if (document.kind === "WorkloadEntry") checkWorkloadWords(cache.source(document, document.spec), report);
  if (document.kind === "ServiceEntry") {
    for (const endpoint of document.endpoints) checkWorkloadWords(cache.source(document, endpoint), report);
  }
  return !report.isRefused(document);
}

/** One conversion under way: what belongs to a workload is gathered from services and policies, then the workload is made. */
class MeshConversion {
  readonly #context: ConversionContext;
  readonly #refused: readonly RefusedPolicy[];
  readonly #cache: ConversionCache;
  readonly #report: ConversionReport;
  readonly #serviceEntries: readonly ServiceEntryDocument[];
  readonly #authorizationPolicies: readonly AuthorizationPolicyDocument[];
  readonly #peerAuthentications: PeerAuthentications;
  readonly #waypoints: WaypointLabels;
  readonly #sources: WorkloadSource[];
  readonly #all: LabelIndex<WorkloadSource>;
  readonly #services = new Map<WorkloadSource, Map<string, ReadonlyMap<number, number>>>();
  readonly #policyNames = new Map<WorkloadSource, string[]>();
  /** Members of a waypoint's service: they stand behind no waypoint themselves. */
  readonly #behindWaypoints = new Set<WorkloadSource>();

  constructor(
    documents: readonly MeshDocument[],
    refused: readonly RefusedPolicy[],
    context: ConversionContext,
    cache: ConversionCache,
    report: ConversionReport,
  ) {
    this.#context = context;
    this.#refused = refused;
    this.#cache = cache;
    this.#report = report;
    this.#serviceEntries = documents.filter((document) => document.kind === "ServiceEntry");
    this.#authorizationPolicies = documents.filter((document) => document.kind === "AuthorizationPolicy");
    const peerAuthentications = documents.filter((document) => document.kind === "PeerAuthentication");
    this.#peerAuthentications = new PeerAuthentications(peerAuthentications, context);
    this.#warnOfIgnored(peerAuthentications);
    this.#waypoints = new WaypointLabels(documents, context, report);
    this.#sources = documents.flatMap((document) =>
      document.kind === "WorkloadEntry" ? [cache.source(document, document.spec)] : [],
    );
    const entries = new LabelIndex(
      this.#sources,
      selectorsOf(this.#serviceEntries.map((document) => document.workloadSelector)),
    );
    for (const document of this.#serviceEntries) this.#join(document, entries);
    this.#all = new LabelIndex(
      this.#sources,
      selectorsOf([...this.#authorizationPolicies, ...refused].map(({ selector }) => selector)),
    );
  }

  services(): readonly Service[] {
    return markCanonical(
      this.#serviceEntries.flatMap((document) =>
        convertServiceEntry(document, this.#waypoints, this.#context, this.#report).map((service) => ({
          service,
          createdMs: document.metadata.createdMs,
        })),
      ),
    );
  }

  policies(): readonly Authorization[] {
    const written = this.#authorizationPolicies.flatMap((document) => {
      const policy = convertAuthorizationPolicy(document, this.#context, this.#report);
      if (policy === null) return [];
      const selected = this.#attach(policy, document.selector);
      if (document.selector !== null && selected === 0)
        this.#report.warn(document, "Unresolved", "its selector selects no workload");
      return [policy];
    });
    const standIns = this.#refused.map((document) => {
      const policy = convertRefusedPolicy(document, this.#context);
      this.#attach(policy, document.selector);
      return policy;
    });
    return [...written, ...this.#peerAuthentications.policies(), ...standIns];
  }

  /** After `policies`, which says which of them select a workload. */
  workloads(): readonly Workload[] {
    const gateways = networkGateways(this.#sources, this.#context);
    return this.#sources.map((source) => {
      const network = source.spec.network ?? this.#context.network;
      const selected = (this.#policyNames.get(source) ?? []).sort();
      const isWaypoint = this.#behindWaypoints.has(source);
      const membership = {
        services: this.#services.get(source) ?? new Map<string, ReadonlyMap<number, number>>(),
        authorizationPolicies: [
          ...selected,
          ...this.#peerAuthentications.policyNames(source.namespace, source.labels),
        ],
        waypoint: isWaypoint ? null : this.#waypoints.forWorkload(source.document),
        networkGateway: network === this.#context.network ? null : (gateways.get(network) ?? null),
      };
      return this.#cache.workload(source, membership, this.#context);
    });
  }

  /** @returns how many workloads were selected. */
  #attach(policy: Authorization, selector: Labels | null): number {
    if (selector === null) return 0;
    const isRoot = policy.namespace === this.#context.rootNamespace;
    let selected = 0;
    for (const namespace of isRoot ? [...this.#all.namespaces()] : [policy.namespace]) {
      for (const source of this.#all.select(namespace, selector)) {
        const names = this.#policyNames.get(source) ?? [];
        this.#policyNames.set(source, names);
        names.push(authorizationKey(policy));
        selected++;
      }
    }
    return selected;
  }

  /** Finds or makes the endpoints of a service. */
  #join(document: ServiceEntryDocument, entries: LabelIndex<WorkloadSource>): void {
    const { namespace } = document.metadata;
    if (document.workloadSelector !== null) {
      // An empty selector of a service selects nothing, unlike one of a policy (istiod `FilterSelectsNonEmpty`).
      const selected =
        document.workloadSelector.size === 0 ? [] : entries.select(namespace, document.workloadSelector);
      if (selected.length === 0)
        this.#report.warn(document, "Unresolved", "its workloadSelector selects no WorkloadEntry");
      for (const source of selected) this.#enlist(source, document, document.hosts);
    }
    for (const endpoint of document.endpoints)
      this.#enlist(this.#add(document, endpoint), document, document.hosts);
    for (const host of implicitEndpoints(document)) {
      const address = { value: { kind: "hostname", hostname: host.value } as const, at: host.at };
      this.#enlist(this.#add(document, { ...IMPLICIT, at: host.at, address }), document, [host]);
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
    for (const { value } of hosts)
      services.set(`${document.metadata.namespace}/${value}`, endpointPorts(document, source.spec));
    if (this.#waypoints.isWaypoint(document)) this.#behindWaypoints.add(source);
  }

  #warnOfIgnored(documents: readonly PeerAuthenticationDocument[]): void {
    for (const document of documents) {
      const isRoot = document.metadata.namespace === this.#context.rootNamespace;
      if (!isRoot || document.selector === null || document.selector.size === 0) continue;
      this.#report.warn(
        document,
        "Ignored",
        "a PeerAuthentication of the root namespace applies to the mesh and takes no selector; it has no effect",
      );
    }
  }
}

function selectorsOf(selectors: readonly (Labels | null)[]): readonly Labels[] {
  return selectors.filter((selector) => selector !== null);
}

/** Names that stand for their own endpoints: those of a DNS service that lists none (istiod `serviceEntryWorkloadBuilder`). */
function implicitEndpoints(document: ServiceEntryDocument): ServiceEntryDocument["hosts"] {
  const isDns = document.resolution === "DNS" || document.resolution === "DNS_ROUND_ROBIN";
  if (!isDns || document.endpoints.length > 0 || document.workloadSelector !== null) return [];
  return document.hosts.filter(({ value }) => !value.startsWith("*"));
}

const IMPLICIT = {
  ports: new Map(),
  labels: new Map(),
  network: null,
  locality: { region: "", zone: "", subzone: "" },
  weight: null,
  serviceAccount: "default",
} satisfies Partial<EndpointSpec>;
