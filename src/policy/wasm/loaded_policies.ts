/**
 * One version of the policies with the image they are compiled into. Groups are compiled when a workload first needs them;
 * what a workload needs is worked out once and kept as its plan.
 */
import { compareText } from "../../base/steps.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import { authorizationKey } from "../../mesh/authorization.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { Denial } from "../decision.ts";
import { engineUnavailable, joinNames, noAllowMatched, policyMissing } from "../denial.ts";
import type { PolicyEngineOptions, PolicyLimits } from "../policy_engine.ts";
import { type PolicyGroup, PolicySet } from "../policy_set.ts";
import { canCompile, compileSection } from "./compile.ts";
import { type LoadedSection, PolicyImage } from "./image.ts";
import {
  copyKept,
  copyLayers,
  copySection,
  isRefusal,
  type LoadedLayers,
  type Refusal,
  type SectionLayers,
} from "./section_layers.ts";

/** What deciding for one workload takes. Layers are in policy order. */
export interface WorkloadPlan {
  /** Every connection is refused with this. */
  readonly refusal: Denial | null;
  readonly deny: readonly SectionLayers[];
  readonly allow: readonly SectionLayers[];
  readonly dryRunDeny: readonly SectionLayers[];
  readonly dryRunAllow: readonly SectionLayers[];
  /** The answer where there are ALLOW policies in force and none matches; null where there are none. */
  readonly noAllowMatched: Denial | null;
}

/** Which of a group's policies were compiled together; the others are recent. */
interface Compiled {
  readonly base: ReadonlySet<Authorization>;
  /** Of those, the ones that are gone. */
  readonly retired: ReadonlySet<Authorization>;
  readonly recent: ReadonlySet<Authorization>;
}

interface LoadedGroup {
  readonly group: PolicyGroup;
  readonly compiled: Compiled;
  /** The ALLOW policies in force, with rules or without, in policy order. */
  readonly allowPolicies: readonly Authorization[];
  readonly deny: LoadedLayers;
  readonly allow: LoadedLayers;
  readonly dryRunDeny: LoadedLayers;
  readonly dryRunAllow: LoadedLayers;
}

/** A group that cannot be decided with. */
interface UnavailableGroup {
  readonly group: PolicyGroup;
  /** The policy to blame, when it is one. */
  readonly culprit: Authorization | null;
  /** Whether it might fit if the image held less. */
  readonly crowdedOut: boolean;
}

type SectionName = "deny" | "allow" | "dryRunDeny" | "dryRunAllow";
/** Where a section comes from. */
type SectionSource = (name: SectionName, policies: readonly Authorization[]) => LoadedLayers | Refusal;
export class LoadedPolicies {
  readonly image: PolicyImage;
  readonly #options: PolicyEngineOptions;
  readonly #limits: PolicyLimits;
  readonly #groups = new Map<string, LoadedGroup | UnavailableGroup>();
  #namedGroupCount = 0;
  #plans = new WeakMap<Workload, WorkloadPlan>();
  #set = new PolicySet([]);
  #version = 0;

  constructor(options: PolicyEngineOptions, limits: PolicyLimits) {
    this.#options = options;
    this.#limits = limits;
    this.image = new PolicyImage(limits);
  }

  get version(): number {
    return this.#version;
  }

  missing(workload: Workload): readonly string[] {
    return this.#set.missing(workload);
  }

  /**
   * Starts over with another set of policies. Groups that `previous` had in use are brought up here and now, by copy where
   * they are the same, so that no decision pays for it.
   */
  replace(set: PolicySet, version: number, previous: LoadedPolicies): void {
    this.#clear();
    this.#set = set;
    this.#version = version;
    for (const before of previous.#groups.values()) {
      const group = before.group.named ? before.group : set.scopeGroup(before.group.key);
      if (group === null) continue;
      if ("deny" in before && isSame(group, before.group) && this.#stillHolds(group)) {
        this.#bring(group, before.compiled, (name) => copyLayers(before[name], previous.image, this.image));
      } else if (!group.named && !("deny" in before && this.#amend(group, before, previous.image))) {
        this.#compile(group);
      }
    }
  }

  plan(workload: Workload): WorkloadPlan {
    return this.#plans.get(workload) ?? this.#remember(workload, this.#makePlan(workload));
  }

  #remember(workload: Workload, plan: WorkloadPlan): WorkloadPlan {
    this.#plans.set(workload, plan);
    return plan;
  }

  #makePlan(workload: Workload): WorkloadPlan {
    const missing = this.#options.missingPolicy === "deny" ? this.#set.missing(workload) : [];
    if (missing.length > 0) {
      return refusing(policyMissing(joinNames(missing, this.#limits.maxDenialNameChars), this.#version));
    }
    const groups = this.#load(workload);
    const unavailable = groups.find((group) => "culprit" in group);
    if (unavailable !== undefined) return refusing(engineUnavailable(unavailable.culprit, this.#version));
    const loaded = groups.filter((group) => "deny" in group);
    const sections = (name: SectionName) =>
      loaded
        .map(({ [name]: { base, recent } }) => [base, recent].filter((layer) => layer !== null))
        .filter((layers) => layers.length > 0);
    return {
      refusal: null,
      deny: sections("deny"),
      allow: sections("allow"),
      dryRunDeny: sections("dryRunDeny"),
      dryRunAllow: sections("dryRunAllow"),
      noAllowMatched: this.#noAllowMatched(loaded.map((group) => group.allowPolicies)),
    };
  }

  #noAllowMatched(policies: readonly (readonly Authorization[])[]): Denial | null {
    const count = policies.reduce((sum, each) => sum + each.length, 0);
    const maxChars = this.#limits.maxDenialNameChars;
    const nameable = policies.flatMap((each) => each.slice(0, maxChars + 1));
    const first = nameable[0];
    if (first === undefined) return null;
    return noAllowMatched(joinNames(nameable.map(authorizationKey), maxChars, count), first, this.#version);
  }

  /** The workload's groups. When one does not fit beside what other workloads left behind, everything else makes room. */
  #load(workload: Workload): readonly (LoadedGroup | UnavailableGroup)[] {
    const groups = this.#set.groups(workload);
    if (
      this.#namedGroupCount >= this.#limits.maxNamedGroups &&
      groups.some((each) => this.#isNewName(each))
    ) {
      this.#clear();
    }
    const loaded = groups.map((group) => this.#groups.get(group.key) ?? this.#compile(group));
    if (!loaded.some((group) => "culprit" in group && group.crowdedOut)) return loaded;
    this.#clear();
    return groups.map((group) => this.#groups.get(group.key) ?? this.#compile(group));
  }

  #isNewName(group: PolicyGroup): boolean {
    return group.named && !this.#groups.has(group.key);
  }

  /** Whether a list of names still stands for the same policies. */
  #stillHolds(group: PolicyGroup): boolean {
    return (
      !group.named || group.policies.every((policy) => this.#set.policy(authorizationKey(policy)) === policy)
    );
  }

  #compile(group: PolicyGroup): LoadedGroup | UnavailableGroup {
    const compiled = { base: new Set(group.policies), retired: noPolicies, recent: noPolicies };
    return this.#bring(group, compiled, (_, policies) => {
      const base = this.#compileSection(policies);
      return isRefusal(base) ? base : { base, recent: null };
    });
  }

  /** Null: it has no rules. */
  #compileSection(policies: readonly Authorization[]): LoadedSection | null | Refusal {
    if (policies.every((policy) => policy.rules.length === 0)) return null;
    const compiled = compileSection(policies, this.#limits);
    return compiled === null ? "too_large" : (this.image.load(compiled) ?? "crowded_out");
  }

  /**
   * Brings up a group of which a few policies have changed: what was compiled is copied, without those that are gone, and what has come
   * since is compiled by itself. Ten thousand policies take a tenth of a second and more to compile.
   *
   * @returns false where it has to be compiled as a whole.
   */
  #amend(group: PolicyGroup, before: LoadedGroup, from: PolicyImage): boolean {
    const { minLayeredPolicies, maxChangedShare, maxRulesPerSection } = this.#limits;
    if (group.policies.length < minLayeredPolicies) return false;
    const { base, ...changed } = before.compiled;
    const { added, gone } = differenceOf(before.group.policies, group.policies);
    const retired = new Set(changed.retired);
    const recent = new Set(changed.recent);
    for (const policy of gone) if (!recent.delete(policy)) retired.add(policy);
    for (const policy of added) recent.add(policy);
    if (recent.size + retired.size > maxChangedShare * (base.size - retired.size)) return false;
    const kept = { has: (policy: Authorization) => !retired.has(policy) };
    const isBaseAsItWas = retired.size === changed.retired.size;
    const besides = [...recent].sort((a, b) => compareText(authorizationKey(a), authorizationKey(b)));
    this.#bring(group, { base, retired, recent }, (name, policies) => {
      const ruleCount = policies.reduce((sum, policy) => sum + policy.rules.length, 0);
      if (ruleCount > maxRulesPerSection) return "too_large";
      const { base: section } = before[name];
      const copied = isBaseAsItWas
        ? copySection(section, from, this.image)
        : copyKept(section, from, this.image, kept);
      const beside = this.#compileSection(besides.filter((policy) => sectionOf(policy) === name));
      if (isRefusal(copied)) return copied;
      return isRefusal(beside) ? beside : { base: copied, recent: beside };
    });
    return true;
  }

  #bring(group: PolicyGroup, compiled: Compiled, source: SectionSource): LoadedGroup | UnavailableGroup {
    const loaded = this.#gather(group, compiled, source);
    this.#groups.set(group.key, loaded);
    if (group.named) this.#namedGroupCount++;
    return loaded;
  }

  #gather(group: PolicyGroup, compiled: Compiled, source: SectionSource): LoadedGroup | UnavailableGroup {
    const byName = Map.groupBy(group.policies, sectionOf);
    const take = (name: SectionName) => source(name, byName.get(name) ?? []);
    const deny = take("deny");
    const allow = take("allow");
    const dryRunDeny = take("dryRunDeny");
    const dryRunAllow = take("dryRunAllow");
    if (isRefusal(deny) || isRefusal(allow) || isRefusal(dryRunDeny) || isRefusal(dryRunAllow)) {
      const culprit = group.policies.find((policy) => !canCompile(policy, this.#limits));
      const crowdedOut = ![deny, allow, dryRunDeny, dryRunAllow].includes("too_large");
      return { group, culprit: culprit ?? null, crowdedOut };
    }
    const allowPolicies = byName.get("allow") ?? [];
    return { group, compiled, allowPolicies, deny, allow, dryRunDeny, dryRunAllow };
  }

  #clear(): void {
    this.image.clear();
    this.#groups.clear();
    this.#namedGroupCount = 0;
    this.#plans = new WeakMap();
  }
}

function refusing(refusal: Denial): WorkloadPlan {
  return { refusal, deny: [], allow: [], dryRunDeny: [], dryRunAllow: [], noAllowMatched: null };
}

function sectionOf(policy: Authorization): SectionName {
  if (policy.action === "DENY") return policy.dryRun ? "dryRunDeny" : "deny";
  return policy.dryRun ? "dryRunAllow" : "allow";
}

const noPolicies: ReadonlySet<Authorization> = new Set();

/** Of two lists in one order: nearly all of them have the same beginning and the same end. */
function differenceOf(
  before: readonly Authorization[],
  after: readonly Authorization[],
): { readonly added: readonly Authorization[]; readonly gone: readonly Authorization[] } {
  const shorter = Math.min(before.length, after.length);
  let from = 0;
  while (from < shorter && before[from] === after[from]) from++;
  let same = 0;
  while (same < shorter - from && before.at(-1 - same) === after.at(-1 - same)) same++;
  const old = before.slice(from, before.length - same);
  const now = after.slice(from, after.length - same);
  const [oldSet, nowSet] = [new Set(old), new Set(now)];
  return {
    added: now.filter((policy) => !oldSet.has(policy)),
    gone: old.filter((policy) => !nowSet.has(policy)),
  };
}

function isSame(a: PolicyGroup, b: PolicyGroup): boolean {
  if (a === b) return true;
  return (
    a.policies.length === b.policies.length && a.policies.every((policy, at) => policy === b.policies[at])
  );
}
