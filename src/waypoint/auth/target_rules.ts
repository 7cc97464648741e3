/**
 * All that decides about requests, by target: made of the documents in force in slices, and replaced as one. What did not change is kept
 * with what it remembers.
 */
import type { TimeSlice } from "../../base/turns/time_slice.ts";
import type {
  AccessConditionDocument,
  AuthorizationPolicyDocument,
  GatewayDocument,
  Labels,
  MeshConfigDocument,
  RequestAuthenticationDocument,
} from "../../mesh/documents/document.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import type { RefusedForWaypoint } from "../../mesh/documents/refused_policy.ts";
import type { JwtRule } from "../../mesh/documents/security.ts";
import type { Service } from "../../mesh/service.ts";
import { identitiesOf, ownGateways } from "../../mesh/targets/own_gateways.ts";
import { serviceTargets, type TargetKey, targetKey, waypointTargets } from "../../mesh/targets/targets.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { Downstream } from "../exchange.ts";
import { Authentication } from "./authentication.ts";
import { type Condition, conditionsOf } from "./conditions.ts";
import { enforcedServices } from "./enforced_services.ts";
import { IssuerKeys, type KeyReader } from "./issuer_keys.ts";
import { type Layer7Policy, layer7Policy } from "./layer7_policy.ts";
import { PolicySections } from "./policy_sections.ts";
import { RuleVerifier, TokenRoom } from "./token_verifier.ts";
import { TrustDomains } from "./trust_domains.ts";

type TargetedDocument = AuthorizationPolicyDocument | RequestAuthenticationDocument | AccessConditionDocument;
/** Without targets it is for workloads: all of its namespace, or those that it selects. */
type WorkloadDocument = AuthorizationPolicyDocument | RequestAuthenticationDocument;

/** What the documents for one target say. */
export interface RuleGroup {
  readonly http: PolicySections;
  /** For connections that are not HTTP. */
  readonly tcp: PolicySections;
  readonly verifiers: readonly RuleVerifier[];
  readonly conditions: readonly Condition[];
}

/** What decides about the requests to one service, or to what has no service. */
export interface TargetRules {
  readonly groups: readonly RuleGroup[];
  readonly authentication: Authentication;
  /** Documents that may have been about these requests, and cannot be read. */
  readonly refused: readonly RefusedForWaypoint[];
  /** The workload is told who the peer is, in X-Forwarded-Client-Cert. */
  readonly tellsPeer: boolean;
  /** Whether there are rules of CUSTOM, and conditions that are enforced: most have neither. */
  readonly hasCustom: boolean;
  readonly hasConditions: boolean;
  /** Whether there is anything to say of policies that have no effect: AUDIT, dry runs. */
  readonly hasNotes: boolean;
}

export interface MeshFacts {
  readonly trustDomain: string;
  readonly rootNamespace: string;
  /** As it is now. @param key `namespace/hostname` */
  readonly serviceByKey: (key: string) => Service | null;
  /** Whether documents for workloads are enforced here too: sidecar mode. */
  readonly isInside: boolean;
}

interface KeptGroup {
  readonly documents: readonly TargetedDocument[];
  /** What else it was made of. */
  readonly config: MeshConfigDocument | null;
  readonly group: RuleGroup;
}

/** Makes `RuleSet`s, each of the one before. */
export class RuleSets {
  readonly #mesh: MeshFacts;
  readonly #reader: KeyReader;
  readonly #room = new TokenRoom();
  #groups = new Map<TargetKey, KeptGroup>();
  /** By all that a rule says: those of two documents that say the same share what they remember. */
  #verifiers = new Map<string, RuleVerifier>();
  #keys = new Map<string, IssuerKeys>();

  constructor(mesh: MeshFacts, reader: KeyReader) {
    this.#mesh = mesh;
    this.#reader = reader;
  }

  async make(inForce: DocumentsInForce, slice: TimeSlice): Promise<RuleSet> {
    const { documents } = inForce;
    const config = documents.find((document) => document.kind === "MeshConfig") ?? null;
    const byTarget = new Map<TargetKey, TargetedDocument[]>();
    const forWorkloads: WorkloadDocument[] = [];
    for (const document of documents) {
      if (!isTargeted(document)) continue;
      await slice.giveWay();
      if (this.#mesh.isInside && isForWorkloads(document)) {
        byTarget.set(workloadsKey(document), [document]);
        forWorkloads.push(document);
      }
      for (const { value } of document.targetRefs) {
        const key = targetKey(document.metadata.namespace, value);
        const list = byTarget.get(key) ?? [];
        byTarget.set(key, list);
        if (!list.includes(document)) list.push(document);
      }
    }
    const made = new Making(this.#mesh, this.#reader, config, this.#room, this.#verifiers, this.#keys);
    const groups = new Map<TargetKey, KeptGroup>();
    for (const [key, list] of byTarget) {
      // In one order, whatever the files' is: of two rules that match, the same is told everywhere.
      list.sort((a, b) => (a.metadata.key < b.metadata.key ? -1 : 1));
      const kept = this.#groups.get(key);
      const isSame = kept !== undefined && kept.config === config && sameDocuments(kept.documents, list);
      if (isSame) made.keep(kept.group);
      groups.set(key, isSame ? kept : { documents: list, config, group: await slice.run(made.group(list)) });
    }
    for (const [key, verifier] of this.#verifiers) if (!made.verifiers.has(key)) verifier.clear();
    this.#groups = groups;
    this.#verifiers = made.verifiers;
    this.#keys = made.keys;
    return new RuleSet(groups, inForce, config, this.#mesh, forWorkloads);
  }
}

function isTargeted(document: DocumentsInForce["documents"][number]): document is TargetedDocument {
  return (
    document.kind === "AuthorizationPolicy" ||
    document.kind === "RequestAuthentication" ||
    document.kind === "AccessCondition"
  );
}

function isForWorkloads(document: TargetedDocument): document is WorkloadDocument {
  return document.kind !== "AccessCondition" && document.targetRefs.length === 0;
}

/** Each by itself: which workloads it is for is looked at later. */
function workloadsKey({ kind, metadata: { namespace, name } }: WorkloadDocument): TargetKey {
  return targetKey(namespace, `workloads of ${kind} ${name}`);
}

function sameDocuments(before: readonly TargetedDocument[], now: readonly TargetedDocument[]): boolean {
  return before.length === now.length && before.every((document, index) => document === now[index]);
}

/** One set under way. */
class Making {
  readonly #reader: KeyReader;
  readonly #config: MeshConfigDocument | null;
  readonly #room: TokenRoom;
  readonly #before: ReadonlyMap<string, RuleVerifier>;
  readonly #keysBefore: ReadonlyMap<string, IssuerKeys>;
  readonly #trustDomains: TrustDomains;
  readonly verifiers = new Map<string, RuleVerifier>();
  readonly keys = new Map<string, IssuerKeys>();

  constructor(
    mesh: MeshFacts,
    reader: KeyReader,
    config: MeshConfigDocument | null,
    room: TokenRoom,
    before: ReadonlyMap<string, RuleVerifier>,
    keysBefore: ReadonlyMap<string, IssuerKeys>,
  ) {
    this.#reader = reader;
    this.#config = config;
    this.#room = room;
    this.#before = before;
    this.#keysBefore = keysBefore;
    this.#trustDomains = new TrustDomains(mesh.trustDomain, config?.trustDomainAliases ?? []);
  }

  keep(group: RuleGroup): void {
    for (const { rule } of group.verifiers) this.#verifier(rule);
  }

  *group(documents: readonly TargetedDocument[]): Generator<void, RuleGroup> {
    const policies = documents.filter((document) => document.kind === "AuthorizationPolicy");
    const http = yield* this.#sections(policies, false);
    const tcp = yield* this.#sections(policies, true);
    const conditions: Condition[] = [];
    for (const document of documents) {
      if (document.kind !== "AccessCondition") continue;
      yield;
      conditions.push(...conditionsOf(document));
    }
    const rules = documents.flatMap((document) =>
      document.kind === "RequestAuthentication" ? document.rules : [],
    );
    return { http, tcp, conditions, verifiers: rules.map((rule) => this.#verifier(rule)) };
  }

  *#sections(
    documents: readonly AuthorizationPolicyDocument[],
    isTcp: boolean,
  ): Generator<void, PolicySections> {
    const policies: Layer7Policy[] = [];
    for (const document of documents) {
      // Some 3 ms for the most rules that one has.
      yield;
      policies.push(layer7Policy(document, this.#trustDomains, isTcp));
    }
    return yield* PolicySections.inSteps(policies);
  }

  #verifier(rule: JwtRule): RuleVerifier {
    const hosts = this.#config?.privateKeySetHosts ?? [];
    const { at: _, ...said } = rule;
    const keysKey = JSON.stringify([rule.issuer, rule.keys, rule.timeoutMs, hosts]);
    const key = `${JSON.stringify(said)} ${keysKey}`;
    const keys =
      this.keys.get(keysKey) ?? this.#keysBefore.get(keysKey) ?? new IssuerKeys(rule, hosts, this.#reader);
    this.keys.set(keysKey, keys);
    const verifier =
      this.verifiers.get(key) ??
      this.#before.get(key) ??
      new RuleVerifier(rule, keys, this.#reader.clock, this.#room);
    this.verifiers.set(key, verifier);
    return verifier;
  }
}

/** What is in force at one time. */
export class RuleSet {
  readonly config: MeshConfigDocument | null;
  readonly #groups: ReadonlyMap<TargetKey, KeptGroup>;
  readonly #documents: DocumentsInForce;
  readonly #gateways: readonly GatewayDocument[];
  readonly #mesh: MeshFacts;
  readonly #forWorkloads: readonly WorkloadDocument[];
  readonly #targets = new Map<string, TargetRules>();
  /** Of connections, so that their requests look nothing up. */
  readonly #known = new WeakMap<Downstream, TargetRules>();

  constructor(
    groups: ReadonlyMap<TargetKey, KeptGroup>,
    documents: DocumentsInForce,
    config: MeshConfigDocument | null,
    mesh: MeshFacts,
    forWorkloads: readonly WorkloadDocument[],
  ) {
    this.#forWorkloads = forWorkloads;
    this.#groups = groups;
    this.#documents = documents;
    this.#gateways = documents.documents.filter((document) => document.kind === "Gateway");
    this.config = config;
    this.#mesh = mesh;
  }

  /** `namespace/name` of the AuthorizationPolicies among the documents for workloads. */
  get workloadPolicies(): ReadonlySet<string> {
    const policies = this.#forWorkloads.filter(({ kind }) => kind === "AuthorizationPolicy");
    return new Set(policies.map(({ metadata: { namespace, name } }) => `${namespace}/${name}`));
  }

  /** Conditions that never hold, whatever the request: their author should know. */
  flawedConditions(): readonly Condition[] {
    const all = [...this.#groups.values()].flatMap(({ group }) => group.conditions);
    return [
      ...new Map(
        all.filter(({ flaw }) => flaw !== null).map((one) => [`${one.key} ${one.index}`, one]),
      ).values(),
    ];
  }

  /** Policies of CUSTOM whose authorizer the mesh does not have, each with its name: what they match is denied. */
  missingAuthorizers(): readonly string[] {
    const known = new Set((this.config?.authorizers ?? []).map(({ name }) => name));
    const asked = [...this.#groups.values()].flatMap(({ group }) => [...group.http.custom.keys()]);
    return [...new Set(asked)].filter((name) => !known.has(name));
  }

  rulesOf(downstream: Downstream): TargetRules {
    const known = this.#known.get(downstream);
    if (known !== undefined) return known;
    const rules = this.#find(downstream);
    this.#known.set(downstream, rules);
    return rules;
  }

  /** What is for services does not apply where a workload's own address was called. */
  #find(downstream: Downstream): TargetRules {
    const { waypoint, place } = downstream;
    const isWaypoint = place.side === "waypoint";
    const workload = place.side === "inbound" ? waypoint : null;
    const own = isWaypoint ? ownGateways(waypoint, this.#gateways, this.#mesh.serviceByKey) : [];
    const identities = isWaypoint ? identitiesOf(waypoint, own) : [];
    const services = enforcedServices(downstream);
    const keys = [
      ...new Set(identities.flatMap((identity) => waypointTargets(identity, this.#mesh.rootNamespace))),
      ...services.flatMap(serviceTargets),
      ...(workload === null ? [] : this.#workloadKeys(workload)),
    ];
    const name = JSON.stringify([place.side, workload?.uid, keys]);
    const found = this.#targets.get(name);
    if (found !== undefined) return found;
    const namespaces = [
      "",
      this.#mesh.rootNamespace,
      workload?.namespace,
      ...services.map(({ namespace }) => namespace),
      ...identities.map((one) => one.namespace),
    ];
    const groups = keys.flatMap((key) => this.#groups.get(key)?.group ?? []);
    const rules = {
      groups,
      authentication: new Authentication([...new Set(groups.flatMap(({ verifiers }) => verifiers))]),
      refused: this.#documents.refused.filter(({ namespace, targetRefs, workloads }) => {
        if (workloads !== null)
          return (
            workload !== null &&
            this.#isOver(namespace, workload) &&
            selects(workloads.selector, workload.labels)
          );
        return targetRefs === null
          ? namespaces.includes(namespace)
          : targetRefs.some((reference) => keys.includes(targetKey(namespace, reference)));
      }),
      hasCustom: groups.some(({ http, tcp }) => http.custom.size + tcp.custom.size > 0),
      hasConditions: groups.some(({ conditions }) => conditions.some(({ dryRun }) => !dryRun)),
      hasNotes: groups.some(
        ({ http, tcp, conditions }) =>
          http.hasNotes || tcp.hasNotes || conditions.some(({ dryRun }) => dryRun),
      ),
      // In front of a workload always, as Istio's sidecars do (`FORWARD_CLIENT_CERT`); a waypoint where it is asked for.
      tellsPeer:
        workload !== null ||
        own.some(({ metadata }) => metadata.annotations.get(xfccAnnotation)?.value === "true"),
    };
    this.#targets.set(name, rules);
    return rules;
  }

  /** Those of its namespace and of the root namespace that select it, and those that the mesh says are for it. */
  #workloadKeys(workload: Workload): readonly TargetKey[] {
    const named = new Set(workload.authorizationPolicies);
    return this.#forWorkloads.flatMap((document) => {
      const { kind, selector, metadata } = document;
      const isNamed = kind === "AuthorizationPolicy" && named.has(`${metadata.namespace}/${metadata.name}`);
      const isSelected = this.#isOver(metadata.namespace, workload) && selects(selector, workload.labels);
      return isNamed || isSelected ? [workloadsKey(document)] : [];
    });
  }

  #isOver(namespace: string, workload: Workload): boolean {
    return namespace === workload.namespace || namespace === this.#mesh.rootNamespace;
  }
}

/** @param selector null: all. */
export function selects(selector: Labels | null, labels: ReadonlyMap<string, string>): boolean {
  for (const [name, { value }] of selector ?? []) if (labels.get(name) !== value) return false;
  return true;
}

const xfccAnnotation = "ambient.istio.io/xfcc-include-client-identity";
