/**
 * The engine the program runs: it decides in WebAssembly over an index, and its cost hardly depends on how many policies
 * there are (bench/README.md). Of two images one decides; an update fills the other and flips.
 */
import { assert } from "../../base/assert.ts";
import { policyLimits } from "../../base/limits/policy.ts";
import { compareText } from "../../base/turns/steps.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import type { Workload } from "../../mesh/workload.ts";
import { type Decision, mintPermit, type Permit, type PolicyConnection } from "../decision.ts";
import { deniedByRule, engineUnavailable } from "../denial.ts";
import { DryRunPolicies } from "../dry_run.ts";
import type { DryRunListener, PolicyEngine, PolicyEngineOptions, PolicyLimits } from "../policy_engine.ts";
import { PolicySet } from "../policy_set.ts";
import type { RuleOrigin } from "./compile.ts";
import { type CompileJob, CompileJobs } from "./compile_jobs.ts";
import type { LoadedSection, PolicyImage } from "./image.ts";
import { LoadedPolicies, type WorkloadPlan } from "./loaded_policies.ts";
import type { SectionLayers } from "./section_layers.ts";

export type { PolicyEngine, PolicyEngineOptions } from "../policy_engine.ts";

export function createPolicyEngine(options: PolicyEngineOptions): PolicyEngine {
  return new WasmPolicyEngine(options);
}

class WasmPolicyEngine implements PolicyEngine {
  onDryRun: DryRunListener | null = null;
  readonly #dryRuns = new DryRunPolicies();
  /** Of the active one. */
  readonly #set = new PolicySet([]);
  #active: LoadedPolicies;
  #idle: LoadedPolicies;
  readonly #prepared = new WatchSource(0);

  constructor(options: PolicyEngineOptions) {
    const limits: PolicyLimits = { ...policyLimits, ...options.limits };
    const { clock } = options;
    const jobs =
      clock === undefined ? null : new CompileJobs(clock, limits, (job) => this.#takeCompiled(job));
    this.#active = new LoadedPolicies(options, limits, jobs);
    this.#idle = new LoadedPolicies(options, limits, jobs);
  }

  get prepared(): Watch<number> {
    return this.#prepared;
  }

  get preparing(): number {
    return this.#active.preparing;
  }

  isPreparing(workload: Workload): boolean {
    return this.#active.plan(workload).isPreparing;
  }

  #takeCompiled(job: CompileJob): void {
    if (this.#active.finish(job)) this.#prepared.set(this.#prepared.value + 1);
  }

  get version(): number {
    return this.#active.version;
  }

  update(policies: Iterable<Authorization>): void {
    const all = [...policies];
    this.#set.update(all);
    this.#idle.replace(this.#set, this.version + 1, this.#active);
    [this.#active, this.#idle] = [this.#idle, this.#active];
    this.#dryRuns.update(all);
    // What was being compiled is gone, or was compiled here and now.
    if (this.#active.preparing < this.#idle.preparing) this.#prepared.set(this.#prepared.value + 1);
  }

  wouldDeny(workload: Workload, permit: Permit): string | null {
    return this.#dryRuns.wouldDeny(workload, permit);
  }

  missing(workload: Workload): readonly string[] {
    return this.#active.missing(workload);
  }

  decide(workload: Workload, connection: PolicyConnection): Decision {
    const { image, version } = this.#active;
    const plan = this.#active.plan(workload);
    if (plan.refusal !== null) return plan.refusal;
    image.setRequest(connection);
    const listener = this.onDryRun;
    if (listener === null) return this.#decide(image, version, plan, connection, null);
    // The listener is called once the image is no longer needed: it may well decide or update in turn.
    const dryRuns: RuleOrigin[] = [];
    const decision = this.#decide(image, version, plan, connection, dryRuns);
    for (const { policy, key, rule } of dryRuns) listener(key, rule, policy.action, connection);
    return decision;
  }

  /** ztunnel `state.rs`, assert_rbac. `dryRuns` takes the dry-run policies that match. */
  #decide(
    image: PolicyImage,
    version: number,
    plan: WorkloadPlan,
    connection: PolicyConnection,
    dryRuns: RuleOrigin[] | null,
  ): Decision {
    if (dryRuns !== null && !collectMatches(image, plan.dryRunDeny, connection, dryRuns)) {
      return engineUnavailable(null, version);
    }
    for (const layers of plan.deny) {
      const match = firstMatch(image, layers, connection);
      if (match === "unknown") return engineUnavailable(null, version);
      if (match !== null) return deniedByRule(match.policy, match.rule, version);
    }
    if (dryRuns !== null && !collectMatches(image, plan.dryRunAllow, connection, dryRuns)) {
      return engineUnavailable(null, version);
    }
    if (plan.noAllowMatched === null) return mintPermit(connection, version, null);
    for (const layers of plan.allow) {
      const match = firstMatch(image, layers, connection);
      if (match === "unknown") return engineUnavailable(null, version);
      if (match !== null) return mintPermit(connection, version, match.key);
    }
    return plan.noAllowMatched;
  }
}

/** The first rule in policy order; null for none; `unknown` when that could not be found out. */
function firstMatch(
  image: PolicyImage,
  layers: SectionLayers,
  { sourceIdentity }: PolicyConnection,
): RuleOrigin | null | "unknown" {
  let first: RuleOrigin | null = null;
  for (const section of layers) {
    const match = image.firstMatch(section, sourceIdentity, 0);
    if (match === null) return "unknown";
    if (match === -1) continue;
    const origin = originOf(section, match);
    // A policy is in one layer alone.
    if (first === null || origin.key < first.key) first = origin;
  }
  return first;
}

/** The first matching rule of each policy, in policy order. @returns false when that could not be found out. */
function collectMatches(
  image: PolicyImage,
  groups: readonly SectionLayers[],
  connection: PolicyConnection,
  matches: RuleOrigin[],
): boolean {
  for (const layers of groups) {
    const ofGroup: RuleOrigin[] = [];
    for (const section of layers) {
      if (!collectFrom(image, section, connection, ofGroup)) return false;
    }
    ofGroup.sort((a, b) => compareText(a.key, b.key));
    matches.push(...ofGroup);
  }
  return true;
}

function collectFrom(
  image: PolicyImage,
  section: LoadedSection,
  { sourceIdentity }: PolicyConnection,
  matches: RuleOrigin[],
): boolean {
  let from = 0;
  for (;;) {
    const match = image.firstMatch(section, sourceIdentity, from);
    if (match === null) return false;
    if (match === -1) return true;
    const origin = originOf(section, match);
    matches.push(origin);
    from = match + 1;
    while (section.rules[from]?.policy === origin.policy) from++;
  }
}

function originOf(section: LoadedSection, index: number): RuleOrigin {
  const origin = section.rules[index];
  assert(origin !== undefined, `rule ${index} of a section of ${section.rules.length}`);
  return origin;
}
