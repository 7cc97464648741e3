/**
 * One version of the policies with the image they are compiled into. Groups are compiled when a workload first needs them,
 * large ones in steps: until they are, every connection is refused, and whoever can wait sees that in the plan. What a workload
 * needs is worked out once and kept as its plan.
 */
import { compareText } from "../../base/turns/steps.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import { authorizationKey } from "../../mesh/authorization.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { Denial } from "../decision.ts";
import { engineUnavailable, joinNames, noAllowMatched, policyMissing } from "../denial.ts";
import type { PolicyEngineOptions, PolicyLimits } from "../policy_engine.ts";
import { type PolicyGroup, PolicySet } from "../policy_set.ts";
import { canCompile, compileSection } from "./compile.ts";
import { areMany, type CompiledGroup, type CompileJob, type CompileJobs } from "./compile_jobs.ts";
import { differenceOf, isSame } from "./group_difference.ts";
import { type LoadedSection, PolicyImage } from "./image.ts";
import {
  copyKept,
  copyLayers,
  copySection,
  isRefusal,
  type LoadedLayers,
  type Refusal,
  type SectionLayers,
  type SectionName,
  sectionOf,
} from "./section_layers.ts";

/** What deciding for one workload takes. Layers are in policy order. */
export interface WorkloadPlan {
  /** Every connection is refused with this. */
  readonly refusal: Denial | null;
  /** Whether that is for now, while a group is being compiled. */
  readonly isPreparing: boolean;
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

/** A group that cannot be decided with yet. */
interface PendingGroup {
  /** As it is now; it may have changed a little since the job began. */
  readonly group: PolicyGroup;
  readonly job: CompileJob;
}

type KnownGroup = LoadedGroup | UnavailableGroup | PendingGroup;
/** Where a section comes from. */
type SectionSource = (name: SectionName, policies: readonly Authorization[]) => LoadedLayers | Refusal;

export class LoadedPolicies {
  readonly image: PolicyImage;
  readonly #options: PolicyEngineOptions;
  readonly #limits: PolicyLimits;
  /** Null: everything is compiled at once, by whoever serves no others. */
  readonly #jobs: CompileJobs | null;
  readonly #groups = new Map<string, KnownGroup>();
  #namedGroupCount = 0;
  #plans = new WeakMap<Workload, WorkloadPlan>();
  #set = new PolicySet([]);
  #version = 0;

  constructor(options: PolicyEngineOptions, limits: PolicyLimits, jobs: CompileJobs | null = null) {
    this.#options = options;
    this.#limits = limits;
    this.#jobs = jobs;
    this.image = new PolicyImage(limits);
  }

  get version(): number {
    return this.#version;
  }

  missing(workload: Workload): readonly string[] {
    return this.#set.missing(workload);
  }

  /** How many groups are being compiled. */
  get preparing(): number {
    let count = 0;
    for (const known of this.#groups.values()) if ("job" in known) count++;
    return count;
  }

  /** Takes what a job has come to. @returns false where it is no longer of use. */
  finish(job: CompileJob): boolean {
    const pending = [...this.#groups.values()].find((known) => "job" in known && known.job === job);
    if (pending === undefined) return false;
    const { group } = pending;
    const base = { base: new Set(job.group.policies), retired: noPolicies, recent: noPolicies };
    this.#groups.delete(group.key);
    if (group.named) this.#namedGroupCount--;
    const { compiled } = job;
    if (compiled === null) {
      this.#plans = new WeakMap();
      this.#keep({ group, culprit: null, crowdedOut: false });
      return true;
    }
    const loaded = this.#bring(job.group, base, (name) => this.#loadCompiled(compiled, name));
    this.#plans = new WeakMap();
    if (isSame(group, job.group)) return true;
    // What has come meanwhile is put beside it.
    if (!("deny" in loaded && this.#amend(group, loaded, this.image))) this.#begin(group, job.restarts + 1);
    return true;
  }

  #loadCompiled(compiled: CompiledGroup, name: SectionName): LoadedLayers | Refusal {
    const section = compiled.get(name) ?? null;
    if (section === null || section === "too_large") return section ?? { base: null, recent: null };
    const base = this.image.load(section);
    return base === null ? "crowded_out" : { base, recent: null };
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
      const group = this.#asItIsNow(before.group);
      if ("job" in before) this.#goOn(before, group);
      else if (group !== null) this.#bringUp(group, before, previous.image);
    }
  }

  #bringUp(group: PolicyGroup, before: LoadedGroup | UnavailableGroup, from: PolicyImage): void {
    if ("deny" in before && isSame(group, before.group)) {
      this.#bring(group, before.compiled, (name) => copyLayers(before[name], from, this.image));
    } else if (!group.named && !("deny" in before && this.#amend(group, before, from))) {
      this.#begin(group, 0);
    }
  }

  /** A few changes are left for the end of a job; after many it begins again. @param group as it is now; null: no more. */
  #goOn({ job }: PendingGroup, group: PolicyGroup | null): void {
    if (group !== null && (isSame(group, job.group) || this.#isAmended(job.group, group))) {
      this.#keep({ group, job });
      return;
    }
    job.cancel();
    if (group !== null) this.#begin(group, job.restarts + 1);
  }

  #isAmended(before: PolicyGroup, group: PolicyGroup): boolean {
    const { added, gone } = differenceOf(before.policies, group.policies);
    const bearable = this.#limits.maxChangedShare * (before.policies.length - gone.length);
    return group.policies.length >= this.#limits.minLayeredPolicies && added.length + gone.length <= bearable;
  }

  #isLarge(policies: readonly Authorization[]): boolean {
    return this.#jobs !== null && areMany(policies, this.#limits);
  }

  /**
   * Compiles a group, here or in steps. One that changes again and again before it is compiled is compiled here after all, for what is
   * denied by now is to be in force.
   */
  #begin(group: PolicyGroup, restarts: number): KnownGroup {
    if (this.#jobs === null || restarts > this.#limits.maxCompileRestarts || !this.#isLarge(group.policies))
      return this.#compile(group);
    const pending = { group, job: this.#jobs.start(group, restarts) };
    this.#keep(pending);
    return pending;
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
    if (groups.some((group) => "job" in group))
      return { ...refusing(engineUnavailable(null, this.#version)), isPreparing: true };
    const unavailable = groups.find((group) => "culprit" in group);
    if (unavailable !== undefined) return refusing(engineUnavailable(unavailable.culprit, this.#version));
    const loaded = groups.filter((group) => "deny" in group);
    const sections = (name: SectionName) =>
      loaded
        .map(({ [name]: { base, recent } }) => [base, recent].filter((layer) => layer !== null))
        .filter((layers) => layers.length > 0);
    return {
      refusal: null,
      isPreparing: false,
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
  #load(workload: Workload): readonly KnownGroup[] {
    const groups = this.#set.groups(workload);
    if (
      this.#namedGroupCount >= this.#limits.maxNamedGroups &&
      groups.some((each) => this.#isNewName(each))
    ) {
      this.#makeRoom();
    }
    const loaded = groups.map((group) => this.#groups.get(group.key) ?? this.#begin(group, 0));
    if (!loaded.some((group) => "culprit" in group && group.crowdedOut)) return loaded;
    this.#makeRoom();
    return groups.map((group) => this.#groups.get(group.key) ?? this.#compile(group));
  }

  #isNewName(group: PolicyGroup): boolean {
    return group.named && !this.#groups.has(group.key);
  }

  /** Null: nothing is in its scope any more, or one of its names stands for nothing. */
  #asItIsNow(group: PolicyGroup): PolicyGroup | null {
    if (!group.named) return this.#set.scopeGroup(group.key);
    const policies = group.policies
      .map((policy) => this.#set.policy(authorizationKey(policy)))
      .filter((policy) => policy !== null);
    return policies.length === group.policies.length ? { ...group, policies } : null;
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
    if (this.#isLarge(besides)) return false;
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
    this.#keep(loaded);
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

  /** What is being compiled takes none yet. */
  #makeRoom(): void {
    const pending = [...this.#groups.values()].filter((known) => "job" in known);
    this.#clear();
    for (const known of pending) this.#keep(known);
  }

  #keep(known: KnownGroup): void {
    if (this.#isNewName(known.group)) this.#namedGroupCount++;
    this.#groups.set(known.group.key, known);
  }

  /** Jobs go on: the version after this one may have them. */
  #clear(): void {
    this.image.clear();
    this.#groups.clear();
    this.#namedGroupCount = 0;
    this.#plans = new WeakMap();
  }
}

function refusing(refusal: Denial): WorkloadPlan {
  return {
    refusal,
    isPreparing: false,
    deny: [],
    allow: [],
    dryRunDeny: [],
    dryRunAllow: [],
    noAllowMatched: null,
  };
}

const noPolicies: ReadonlySet<Authorization> = new Set();
