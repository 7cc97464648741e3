/** What a policy engine is. There are two: `engine.ts` decides in WebAssembly, `reference.ts` in plain lines as its oracle. */
import type { policyLimits } from "../base/limits/policy.ts";
import type { SliceClock } from "../base/turns/time_slice.ts";
import type { Watch } from "../base/watch.ts";
import type { Authorization } from "../mesh/authorization.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Decision, Permit, PolicyConnection } from "./decision.ts";

/**
 * The policies that apply to a workload are in one order, and the first that decides is the one a decision names:
 *
 * 1. GLOBAL policies, then those of the workload's namespace, then those its document names and that are neither;
 * 2. inside each of these, by key (`namespace/name`), by UTF-16 code units;
 * 3. inside a policy, its rules as they are written.
 *
 * DENY goes before ALLOW whatever the order, as in Istio.
 */
export interface PolicyEngine {
  /** Counts the updates; a `Permit` carries the version it was decided on. */
  readonly version: number;

  /**
   * Takes the whole set in one step: a decision sees the old set or the new one. Of two policies with one key the last
   * counts. Never throws on a valid `Authorization`; workloads whose policies cannot be compiled are refused with
   * `engine_unavailable` until an update brings ones that can.
   */
  update(policies: Iterable<Authorization>): void;

  /** Synchronous, and without side effects but `onDryRun`. */
  decide(workload: Workload, connection: PolicyConnection): Decision;

  /** What policies in dry run would have refused of what was let in (`dry_run.ts`); null for nothing. */
  wouldDeny(workload: Workload, permit: Permit): string | null;

  /**
   * Whether the workload's policies are being compiled, which begins with the first question about it: until they are, `decide` refuses
   * everything. Whoever can wait does; an open connection stays as it was decided. Never without a clock.
   */
  isPreparing(workload: Workload): boolean;

  /** Counts how often policies that were being compiled have come into force, or are gone: what had to wait is decided now. */
  readonly prepared: Watch<number>;

  /** How many sets of policies are being compiled. */
  readonly preparing: number;

  /** The names in `workload.authorizationPolicies` that no loaded policy has: the caller may wait for them, bounded. */
  missing(workload: Workload): readonly string[];

  /**
   * Called during `decide` for each dry-run policy that would have matched, with the first rule that did. As in ztunnel,
   * DENY ones always, ALLOW ones only where nothing denied (`state.rs`, assert_rbac). A dry-run policy has no other effect.
   */
  onDryRun: DryRunListener | null;
}

export type DryRunListener = (
  /** `namespace/name`. */
  policy: string,
  rule: number,
  action: "ALLOW" | "DENY",
  connection: PolicyConnection,
) => void;

export interface PolicyEngineOptions {
  /**
   * A workload names a policy that is not loaded: `deny` refuses its connections (`policy_missing`), `skip` decides
   * without it, which is what ztunnel does.
   */
  readonly missingPolicy: "deny" | "skip";
  /** Many policies are compiled in steps; without it in the turn of the first decision. */
  readonly clock?: SliceClock;
  /** For tests: bounds other than those of `base/limits/`. */
  readonly limits?: Partial<PolicyLimits>;
}

/** The bounds of `base/limits/` as types that a test can tighten. */
export type PolicyLimits = { readonly [Name in keyof typeof policyLimits]: number };
