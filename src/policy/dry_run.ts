/**
 * What the policies in dry run would have refused. ztunnel tells of those that match alone; an ALLOW policy in dry run is tried out for
 * whom it would leave out, which is whom it does not match.
 */
import type { Authorization } from "../mesh/authorization.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Permit } from "./decision.ts";
import { dryRunDenial } from "./explain/policy_trace.ts";
import { PolicySet } from "./policy_set.ts";

export class DryRunPolicies {
  #policies: PolicySet | null = null;

  update(policies: Iterable<Authorization>): void {
    const dry = [...policies].filter(({ dryRun }) => dryRun);
    this.#policies = dry.length === 0 ? null : new PolicySet(dry);
  }

  /**
   * Of a connection that is let in. Costs nothing where no policy is in dry run.
   *
   * @returns `would have been denied by rule 0 of shop/strict (mesh.yaml:12:5)`; null when it would have been let in.
   */
  wouldDeny(workload: Workload, permit: Permit): string | null {
    if (this.#policies === null) return null;
    const applying = this.#policies.groups(workload).flatMap((group) => group.policies);
    return dryRunDenial(applying, permit.policy !== null, permit.connection);
  }
}
