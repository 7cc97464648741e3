/** AuthorizationPolicy as Istio checks it (`ValidateAuthorizationPolicy` of `pkg/config/validation/validation.go`). */
import { meshLimits } from "../../../base/limits/mesh.ts";
import type { Location } from "../../location.ts";
import type { AuthorizationPolicyDocument, Metadata, PolicyRule } from "../document.ts";
import { type Located, ObjectReader, type Problems, quote } from "../reader.ts";
import { readSelector } from "./address.ts";
import { readCondition, readOperation, readSource } from "./policy_match.ts";

const FIELDS = { known: ["selector", "targetRef", "targetRefs", "action", "rules", "provider"] };
const TARGET_FIELDS = { known: ["group", "kind", "name", "namespace"] };
const ACTIONS = ["ALLOW", "DENY", "AUDIT", "CUSTOM"] as const;

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
  const spec = root.object("spec", FIELDS);
  // `spec: {}`, or none, is the known way to say "allow nothing".
  if (spec === null)
    return { ...base, action: { value: "ALLOW", at: location }, selector: null, targetRefs: [], rules: [] };
  const action = spec.choice("action", ACTIONS) ?? { value: "ALLOW", at: location };
  const selector = readSelector(spec, "selector", "matchLabels");
  const targetRefs = readTargetRefs(spec, metadata, problems);
  if (selector !== null && (spec.has("targetRef") || spec.has("targetRefs"))) {
    problems.add(spec.where("selector"), "spec.selector and spec.targetRefs exclude each other");
  }
  const rules = readRules(spec, problems);
  if (rules.length === 0 && !problems.any && (action.value === "DENY" || action.value === "CUSTOM")) {
    problems.add(action.at, `a ${action.value} policy without spec.rules would never match`, action.value);
  }
  if (spec.has("provider") !== (action.value === "CUSTOM")) {
    problems.add(spec.where("provider"), "spec.provider and the action CUSTOM belong together");
  }
  spec.object("provider", { known: ["name"] })?.requiredString("name");
  return { ...base, action, selector, targetRefs, rules };
}

function readRules(spec: ObjectReader, problems: Problems): readonly PolicyRule[] {
  const rules = spec.list("rules");
  if (rules.length > meshLimits.maxRulesPerPolicy) {
    problems.add(
      spec.where("rules"),
      `spec.rules has ${rules.length} rules; Istio takes ${meshLimits.maxRulesPerPolicy}`,
    );
    return [];
  }
  return rules.flatMap((node, index) => {
    const path = `spec.rules[${index}]`;
    const rule = ObjectReader.of(node, path, { known: ["from", "to", "when"] }, problems);
    return rule === null ? [] : [readRule(rule, problems)];
  });
}

function readRule(rule: ObjectReader, problems: Problems): PolicyRule {
  for (const field of ["from", "to", "when"]) {
    // An empty list is a rule for everybody or for nobody; Istio does not let anyone guess.
    if (rule.has(field) && rule.list(field).length === 0)
      problems.add(rule.where(field), `${rule.path(field)} is empty; remove it`, field);
  }
  return {
    at: rule.at,
    from: rule.objects("from", { known: ["source"] }).flatMap((from) => {
      if (!from.has("source")) problems.add(from.at, `${from.path("source")} is missing`);
      return readSource(from, problems) ?? [];
    }),
    to: rule.objects("to", { known: ["operation"] }).flatMap((to) => {
      if (!to.has("operation")) problems.add(to.at, `${to.path("operation")} is missing`);
      return readOperation(to, problems) ?? [];
    }),
    when: rule
      .objects("when", { known: ["key", "values", "notValues"] })
      .flatMap((when) => readCondition(when, problems) ?? []),
  };
}

function readTargetRefs(
  spec: ObjectReader,
  metadata: Metadata,
  problems: Problems,
): readonly Located<string>[] {
  const single = spec.object("targetRef", TARGET_FIELDS);
  const references = [...(single === null ? [] : [single]), ...spec.objects("targetRefs", TARGET_FIELDS)];
  if (references.length > meshLimits.maxTargetRefs) {
    problems.add(
      spec.where("targetRefs"),
      `spec.targetRefs has more than ${meshLimits.maxTargetRefs} entries`,
    );
  }
  if ((spec.has("targetRef") || spec.has("targetRefs")) && references.length === 0 && !problems.any) {
    problems.add(spec.where("targetRefs"), "spec.targetRefs is empty; remove it");
  }
  return references.flatMap((reference) => {
    reference.string("group");
    const kind = reference.requiredString("kind");
    const name = reference.requiredString("name");
    const namespace = reference.string("namespace");
    if (namespace !== null && namespace.value !== "" && namespace.value !== metadata.namespace) {
      problems.add(namespace.at, "a policy refers to targets of its own namespace only", namespace.value, [
        metadata.namespace,
      ]);
    }
    return kind === null || name === null ? [] : [{ value: `${kind.value} ${name.value}`, at: reference.at }];
  });
}

/** The words that Go's strconv.ParseBool takes, which is what istiod reads the annotation with. */
const TRUE = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE = ["0", "f", "F", "FALSE", "false", "False"];

function readDryRun(metadata: Metadata, problems: Problems): boolean {
  const annotation = metadata.annotations.get("istio.io/dry-run");
  if (annotation === undefined) return false;
  if (!TRUE.includes(annotation.value) && !FALSE.includes(annotation.value)) {
    problems.add(
      annotation.at,
      `istio.io/dry-run must be true or false, not ${quote(annotation.value)}`,
      annotation.value,
      ["true", "false"],
    );
  }
  return TRUE.includes(annotation.value);
}
