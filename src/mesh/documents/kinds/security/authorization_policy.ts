/** AuthorizationPolicy as Istio checks it (`ValidateAuthorizationPolicy` of `pkg/config/validation/validation.go`). */
import { meshLimits } from "../../../../base/limits/mesh.ts";
import type { Location } from "../../../location.ts";
import type { AuthorizationPolicyDocument, Metadata, PolicyRule } from "../../document.ts";
import { type Located, ObjectReader, type Problems, quote } from "../../reader.ts";
import { checkCount } from "../bounds.ts";
import { readSelector } from "../labels.ts";
import { readTargetRefs } from "../target_ref.ts";
import { readCondition, readOperation, readSource } from "./policy_match.ts";

const fields = { known: ["selector", "targetRef", "targetRefs", "action", "rules", "provider"] };
const actions = ["ALLOW", "DENY", "AUDIT", "CUSTOM"] as const;

export function readAuthorizationPolicy(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): AuthorizationPolicyDocument {
  const base = {
    kind: "AuthorizationPolicy",
    metadata,
    location,
    warnings: [],
    dryRun: readDryRun(metadata, problems),
  } as const;
  const spec = root.object("spec", fields);
  // `spec: {}`, or none, is the known way to say "allow nothing".
  if (spec === null)
    return {
      ...base,
      action: { value: "ALLOW", at: location },
      selector: null,
      targetRefs: [],
      rules: [],
      provider: null,
    };
  const action = spec.choice("action", actions) ?? { value: "ALLOW", at: location };
  const selector = readSelector(spec, "selector", "matchLabels", problems);
  const targetRefs = readTargetRefs(spec, problems);
  const rules = readRules(spec, action.value === "CUSTOM", problems);
  if (rules.length === 0 && !problems.any && (action.value === "DENY" || action.value === "CUSTOM")) {
    problems.add(action.at, `a ${action.value} policy without spec.rules would never match`, action.value);
  }
  const provider = readProvider(spec, action, problems);
  checkDryRun(metadata, action.value, problems);
  if (selector?.size === 0) {
    const message = "spec.selector has no labels, so the policy applies to its whole namespace";
    problems.warn(spec.where("selector"), "Ignored", message);
  }
  return { ...base, action, selector, targetRefs, rules, provider };
}

function readProvider(spec: ObjectReader, action: Located<string>, problems: Problems): string | null {
  const isCustom = action.value === "CUSTOM";
  if (isCustom && !spec.has("provider"))
    problems.add(action.at, "the action CUSTOM needs spec.provider", action.value);
  if (!isCustom && spec.has("provider"))
    problems.add(
      spec.where("provider"),
      `spec.provider goes with the action CUSTOM, not ${action.value}`,
      "provider",
    );
  return spec.object("provider", { known: ["name"] })?.requiredString("name")?.value ?? null;
}

function readRules(spec: ObjectReader, isCustom: boolean, problems: Problems): readonly PolicyRule[] {
  const rules = spec.list("rules");
  if (rules.length > meshLimits.maxRulesPerPolicy) {
    problems.add(
      spec.where("rules"),
      `spec.rules has ${rules.length} rules; Istio takes ${meshLimits.maxRulesPerPolicy}`,
      "rules",
    );
    return [];
  }
  return rules.flatMap((node, index) => {
    const path = `spec.rules[${index}]`;
    const rule = ObjectReader.of(node, path, { known: ["from", "to", "when"] }, problems);
    return rule === null ? [] : [readRule(rule, isCustom, problems)];
  });
}

function readRule(rule: ObjectReader, isCustom: boolean, problems: Problems): PolicyRule {
  for (const field of ["from", "to", "when"]) {
    // An empty list is a rule for all or for none; Istio does not let anyone guess.
    if (rule.has(field) && rule.list(field).length === 0)
      problems.add(rule.where(field), `${rule.path(field)} is empty; remove it`, field);
  }
  for (const field of ["from", "to"])
    checkCount(rule, field, rule.list(field).length, meshLimits.maxAlternatives, problems);
  return {
    at: rule.at,
    from: rule.objects("from", { known: ["source"] }).flatMap((from) => {
      if (from.isEmpty) problems.add(from.at, `${from.path("source")} is missing`);
      return readSource(from, isCustom, problems) ?? [];
    }),
    to: rule.objects("to", { known: ["operation"] }).flatMap((to) => {
      if (to.isEmpty) problems.add(to.at, `${to.path("operation")} is missing`);
      return readOperation(to, problems) ?? [];
    }),
    when: rule
      .objects("when", { known: ["key", "values", "notValues"] })
      .flatMap((when) => readCondition(when, isCustom, problems) ?? []),
  };
}

/** The words that Go's strconv.ParseBool takes, which is what istiod reads the annotation with. */
const dryRunAnnotation = "istio.io/dry-run";
const trueWords = ["1", "t", "T", "TRUE", "true", "True"];
const falseWords = ["0", "f", "F", "FALSE", "false", "False"];

function readDryRun(metadata: Metadata, problems: Problems): boolean {
  const annotation = metadata.annotations.get(dryRunAnnotation);
  if (annotation === undefined) return false;
  if (!trueWords.includes(annotation.value) && !falseWords.includes(annotation.value)) {
    problems.add(
      annotation.at,
      `istio.io/dry-run must be true or false, not ${quote(annotation.value)}`,
      annotation.value,
      ["true", "false"],
    );
  }
  return trueWords.includes(annotation.value);
}

/** Istio `checkDryRunAnnotation`. */
function checkDryRun(metadata: Metadata, action: string, problems: Problems): void {
  const annotation = metadata.annotations.get(dryRunAnnotation);
  if (annotation === undefined || action === "ALLOW" || action === "DENY") return;
  problems.add(
    annotation.at,
    `${dryRunAnnotation} goes with the actions ALLOW and DENY, not ${action}`,
    annotation.value,
  );
}
