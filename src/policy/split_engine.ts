/**
 * The policies of a workload whose tunnel has the waypoint's application inside (sidecar mode): requests are decided by the documents that
 * the application has read, connections by whatever is left, as what istiod makes of PeerAuthentication. A policy is enforced in one of
 * the two places, and in doubt here.
 */
import { type Watch, WatchSource } from "../base/watch.ts";
import { type Authorization, authorizationKey } from "../mesh/authorization.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Decision, Permit, PolicyConnection } from "./decision.ts";
import type { DryRunListener, PolicyEngine } from "./policy_engine.ts";

export class SplitEngine implements PolicyEngine {
  readonly #whole: PolicyEngine;
  readonly #rest: PolicyEngine;
  readonly #isSplit: (workload: Workload) => boolean;
  readonly #prepared = new WatchSource(0);
  #policies: readonly Authorization[] = [];
  #elsewhere: ReadonlySet<string> = new Set();
  /** Each workload without the names of policies that are decided elsewhere: those are not missing here. */
  #reduced = new WeakMap<Workload, Workload>();

  /** @param whole for all other workloads. @param isSplit whose requests are decided elsewhere. */
  constructor(whole: PolicyEngine, rest: PolicyEngine, isSplit: (workload: Workload) => boolean) {
    this.#whole = whole;
    this.#rest = rest;
    this.#isSplit = isSplit;
    for (const { prepared } of [whole, rest])
      prepared.subscribe(() => this.#prepared.set(this.#prepared.value + 1));
  }

  get prepared(): Watch<number> {
    return this.#prepared;
  }

  get preparing(): number {
    return this.#whole.preparing + this.#rest.preparing;
  }

  isPreparing(workload: Workload): boolean {
    if (!this.#isSplit(workload)) return this.#whole.isPreparing(workload);
    return this.#rest.isPreparing(this.#without(workload));
  }

  get version(): number {
    return this.#whole.version;
  }

  get onDryRun(): DryRunListener | null {
    return this.#whole.onDryRun;
  }

  set onDryRun(listener: DryRunListener | null) {
    this.#whole.onDryRun = listener;
    this.#rest.onDryRun = listener;
  }

  update(policies: Iterable<Authorization>): void {
    this.#policies = [...policies];
    this.#whole.update(this.#policies);
    this.#divide();
  }

  /** @param keys `namespace/name` of those that requests are decided by. */
  leaveOut(keys: ReadonlySet<string>): void {
    this.#elsewhere = keys;
    this.#divide();
  }

  decide(workload: Workload, connection: PolicyConnection): Decision {
    if (!this.#isSplit(workload)) return this.#whole.decide(workload, connection);
    return this.#rest.decide(this.#without(workload), connection);
  }

  wouldDeny(workload: Workload, permit: Permit): string | null {
    if (!this.#isSplit(workload)) return this.#whole.wouldDeny(workload, permit);
    return this.#rest.wouldDeny(this.#without(workload), permit);
  }

  missing(workload: Workload): readonly string[] {
    if (!this.#isSplit(workload)) return this.#whole.missing(workload);
    return this.#rest.missing(this.#without(workload));
  }

  #divide(): void {
    this.#rest.update(this.#policies.filter((policy) => !this.#elsewhere.has(authorizationKey(policy))));
    this.#reduced = new WeakMap();
  }

  #without(workload: Workload): Workload {
    let reduced = this.#reduced.get(workload);
    if (reduced === undefined) {
      const named = workload.authorizationPolicies.filter((key) => !this.#elsewhere.has(key));
      reduced = { ...workload, authorizationPolicies: named };
      this.#reduced.set(workload, reduced);
    }
    return reduced;
  }
}
