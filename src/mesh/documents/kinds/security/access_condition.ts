/** AccessCondition (`fairlead.dev/v1`): conditions in Common Expression Language that every request to its targets must meet. */
import { authLimits } from "../../../../base/limits/auth.ts";
import type { Location } from "../../../location.ts";
import type { AccessConditionDocument, Metadata } from "../../document.ts";
import { ObjectReader, type Problems } from "../../reader.ts";
import { checkCount } from "../bounds.ts";
import { readTargetRefs } from "../target_ref.ts";
import { readBoolean } from "./request_authentication.ts";

export function readAccessCondition(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): AccessConditionDocument | null {
  const spec = root.object("spec", { known: ["targetRef", "targetRefs", "conditions", "dryRun"] });
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const targetRefs = readTargetRefs(spec, problems);
  if (targetRefs.length === 0 && !problems.any)
    problems.add(
      spec.at,
      "spec.targetRefs is missing: conditions are for waypoints, and must say for which targets",
    );
  const nodes = spec.list("conditions");
  checkCount(spec, "conditions", nodes.length, authLimits.maxConditions, problems);
  if (nodes.length === 0 && !problems.any)
    problems.add(spec.where("conditions"), "spec.conditions must hold at least one condition");
  const conditions = nodes.flatMap((node, index) => {
    const path = `spec.conditions[${index}]`;
    const condition = ObjectReader.of(node, path, { known: ["expression", "message"] }, problems);
    const expression = condition?.requiredString("expression") ?? null;
    if (condition === null || expression === null) return [];
    if (expression.value.length > authLimits.maxExpressionChars)
      problems.add(
        expression.at,
        `${path}.expression has ${expression.value.length} characters; it may have ${authLimits.maxExpressionChars}`,
      );
    return { at: condition.at, expression, message: condition.string("message")?.value ?? null };
  });
  const dryRun = readBoolean(spec, "dryRun", problems);
  return { kind: "AccessCondition", metadata, location, warnings: [], targetRefs, conditions, dryRun };
}
