/** The policies that are for one target, by what they do, and the decision by them: CUSTOM, then AUDIT, DENY and ALLOW. */
import type { Layer7Policy } from "./layer7_policy.ts";
import type { RequestFacts } from "./request_facts.ts";
import { RuleIndex, type RuleMatch } from "./rule_index.ts";

/** What a policy without effect would have done. */
export interface DryRunNote {
  /** `namespace/name`. */
  readonly policy: string;
  /** Null: it is of ALLOW, and none of its rules matched. */
  readonly rule: number | null;
  readonly action: "ALLOW" | "DENY" | "AUDIT";
}

export class PolicySections {
  /** Provider → the rules of its policies; by name, so that they are asked in one order. */
  readonly custom: ReadonlyMap<string, RuleIndex>;
  readonly #deny: RuleIndex;
  readonly #allow: RuleIndex;
  readonly #audit: RuleIndex;
  readonly #dryRunDeny: RuleIndex;
  readonly #dryRunAllow: RuleIndex;
  /** Enforced; they refuse what none of them matches. */
  readonly allowing: readonly Layer7Policy[];
  readonly #dryRunAllowing: readonly Layer7Policy[];
  readonly hasNotes: boolean;

  private constructor(
    policies: readonly Layer7Policy[],
    indexes: Readonly<Record<"deny" | "allow" | "audit" | "dryRunDeny" | "dryRunAllow", RuleIndex>>,
    custom: ReadonlyMap<string, RuleIndex>,
  ) {
    this.custom = custom;
    this.#deny = indexes.deny;
    this.#allow = indexes.allow;
    this.#audit = indexes.audit;
    this.#dryRunDeny = indexes.dryRunDeny;
    this.#dryRunAllow = indexes.dryRunAllow;
    this.allowing = policies.filter(({ action, dryRun }) => action === "ALLOW" && !dryRun);
    this.#dryRunAllowing = policies.filter(({ action, dryRun }) => action === "ALLOW" && dryRun);
    this.hasNotes = policies.some(({ action, dryRun }) => dryRun || action === "AUDIT");
  }

  /** @param policies in the order in which they are told when several match. */
  static *inSteps(policies: readonly Layer7Policy[]): Generator<void, PolicySections> {
    const of = (action: Layer7Policy["action"], dryRun: boolean) =>
      RuleIndex.inSteps(policies.filter((policy) => policy.action === action && policy.dryRun === dryRun));
    const indexes = {
      deny: yield* of("DENY", false),
      allow: yield* of("ALLOW", false),
      audit: yield* of("AUDIT", false),
      dryRunDeny: yield* of("DENY", true),
      dryRunAllow: yield* of("ALLOW", true),
    };
    const asking = policies.filter(({ action }) => action === "CUSTOM");
    const custom = new Map<string, RuleIndex>();
    for (const provider of [...new Set(asking.map(({ provider }) => provider ?? ""))].sort())
      custom.set(
        provider,
        yield* RuleIndex.inSteps(asking.filter((policy) => (policy.provider ?? "") === provider)),
      );
    return new PolicySections(policies, indexes, custom);
  }

  denied(facts: RequestFacts): RuleMatch | null {
    return this.#deny.first(facts);
  }

  allowed(facts: RequestFacts): RuleMatch | null {
    return this.#allow.first(facts);
  }

  /** What AUDIT and dry-run policies have to say of a request. */
  notes(facts: RequestFacts): readonly DryRunNote[] {
    const notes: DryRunNote[] = [];
    const add = (action: DryRunNote["action"], { policy, rule }: RuleMatch) =>
      notes.push({ policy: policy.key, rule: rule.index, action });
    const audited = this.#audit.first(facts);
    if (audited !== null) add("AUDIT", audited);
    const denied = this.#dryRunDeny.first(facts);
    if (denied !== null) add("DENY", denied);
    const [allowing] = this.#dryRunAllowing;
    if (allowing === undefined) return notes;
    const allowed = this.#dryRunAllow.first(facts);
    if (allowed !== null) add("ALLOW", allowed);
    else notes.push({ policy: allowing.key, rule: null, action: "ALLOW" });
    return notes;
  }
}
