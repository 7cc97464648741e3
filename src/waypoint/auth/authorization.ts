/**
 * The decision on one request, or on a connection that is not HTTP: external authorizers first (CUSTOM), then DENY, ALLOW and conditions, as
 * Istio orders its policies. What comes out is a permit or a denial; nothing else lets a request through.
 */
import type { MeshConfigDocument } from "../../mesh/documents/document.ts";
import type { ExternalAuthorizer } from "../../mesh/documents/security.ts";
import { joinNames } from "../../policy/denial.ts";
import type { RequestDenial } from "../request_permit.ts";
import { type Condition, seenBy } from "./conditions.ts";
import type { DryRunNote, PolicySections } from "./policy_sections.ts";
import type { RequestFacts } from "./request_facts.ts";
import type { RuleMatch } from "./rule_index.ts";
import type { RuleGroup, TargetRules } from "./target_rules.ts";

/** A CUSTOM policy that matches, and whom it wants to be asked. */
export interface Consultation {
  readonly match: RuleMatch;
  readonly provider: string;
  /** Null: the mesh has none of that name. */
  readonly authorizer: ExternalAuthorizer | null;
}

export type LocalDecision =
  | { readonly allowed: true; readonly policy: string | null }
  | { readonly allowed: false; readonly denial: RequestDenial };

const maxNameChars = 256;
const nothing: readonly Consultation[] = [];

function sectionsOf({ http, tcp }: RuleGroup, facts: RequestFacts): PolicySections {
  return facts.http === null ? tcp : http;
}

/** Who is to be asked, each once, by the first policy that wants it. */
export function consultations(
  rules: TargetRules,
  facts: RequestFacts,
  config: MeshConfigDocument | null,
): readonly Consultation[] {
  if (!rules.hasCustom) return nothing;
  const found = new Map<string, Consultation>();
  for (const group of rules.groups)
    for (const [provider, index] of sectionsOf(group, facts).custom) {
      if (found.has(provider)) continue;
      const match = index.first(facts);
      if (match === null) continue;
      const authorizer = config?.authorizers.find(({ name }) => name === provider) ?? null;
      found.set(provider, { match, provider, authorizer });
    }
  return [...found.values()];
}

/** All that is decided here, without asking anyone. @param nowMs since the Unix epoch, for conditions. */
export function decideLocally(rules: TargetRules, facts: RequestFacts, nowMs: number): LocalDecision {
  const denial = refusedDenial(rules) ?? deniedByRule(rules, facts);
  if (denial !== null) return { allowed: false, denial };
  let allowing = 0;
  let policy: string | null = null;
  for (const group of rules.groups) {
    const sections = sectionsOf(group, facts);
    allowing += sections.allowing.length;
    policy ??= sections.allowed(facts)?.policy.key ?? null;
  }
  if (allowing > 0 && policy === null) return { allowed: false, denial: notAllowed(rules, facts) };
  const unmet = unmetCondition(rules, facts, nowMs);
  return unmet === null ? { allowed: true, policy } : { allowed: false, denial: unmet };
}

/** What AUDIT policies, dry runs and conditions in dry run have to say. */
export function notesOn(rules: TargetRules, facts: RequestFacts, nowMs: number): readonly DryRunNote[] {
  const notes: DryRunNote[] = [];
  for (const group of rules.groups) {
    const sections = sectionsOf(group, facts);
    if (sections.hasNotes) notes.push(...sections.notes(facts));
    const dry = group.conditions.filter(({ dryRun }) => dryRun);
    if (dry.length === 0) continue;
    const seen = seenBy(facts, nowMs);
    for (const { key, index, evaluate } of dry)
      if (!evaluate(seen).holds) notes.push({ policy: key, rule: index, action: "DENY" });
  }
  return notes;
}

function refusedDenial({ refused }: TargetRules): RequestDenial | null {
  const [first] = refused;
  if (first === undefined) return null;
  return { reason: "document_refused", policy: first.key, rule: null, location: first.location, detail: "" };
}

function deniedByRule({ groups }: TargetRules, facts: RequestFacts): RequestDenial | null {
  for (const group of groups) {
    const match = sectionsOf(group, facts).denied(facts);
    if (match !== null) return ruleDenial("denied_by_rule", match, "");
  }
  return null;
}

export function ruleDenial(
  reason: RequestDenial["reason"],
  { policy, rule }: RuleMatch,
  detail: string,
): RequestDenial {
  return { reason, policy: policy.key, rule: rule.index, location: rule.location, detail };
}

function notAllowed({ groups }: TargetRules, facts: RequestFacts): RequestDenial {
  const allowing = groups.flatMap((group) => sectionsOf(group, facts).allowing);
  const names = allowing.map(({ key }) => key);
  return {
    reason: "no_allow_matched",
    policy: joinNames(names, maxNameChars),
    rule: null,
    location: allowing[0]?.location ?? null,
    detail: "",
  };
}

function unmetCondition(rules: TargetRules, facts: RequestFacts, nowMs: number): RequestDenial | null {
  if (!rules.hasConditions) return null;
  const enforced = rules.groups.flatMap(({ conditions }) => conditions.filter(({ dryRun }) => !dryRun));
  const seen = seenBy(facts, nowMs);
  for (const condition of enforced) {
    const { holds, error } = condition.evaluate(seen);
    if (!holds) return conditionDenial(condition, error);
  }
  return null;
}

function conditionDenial({ key, index, location, message }: Condition, error: string | null): RequestDenial {
  const detail = [message, error].filter((part) => part !== null).join("; ");
  return { reason: "condition_not_met", policy: key, rule: index, location, detail };
}
