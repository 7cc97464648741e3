/** Middleware (`fairlead.dev/v1`): a file of TypeScript that a waypoint runs for requests to the document's targets. */
import { middlewareLimits } from "../../../base/limits/middleware.ts";
import type { Location } from "../../location.ts";
import type { Metadata, MiddlewareDocument } from "../document.ts";
import { type ObjectReader, type Problems, quote } from "../reader.ts";
import { checkCount } from "./bounds.ts";
import { readDuration } from "./duration.ts";
import { readTargetRefs } from "./target_ref.ts";

const fields = { known: ["targetRef", "targetRefs", "file", "order", "timeout", "onFailure", "config"] };
const failures = ["Deny", "Continue"] as const;
/** One name in the waypoint's own folder: a document never leads out of it. */
const fileName = /^[A-Za-z0-9_][A-Za-z0-9_.-]*\.(?:ts|js|mjs)$/;

export function readMiddleware(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): MiddlewareDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const targetRefs = readTargetRefs(spec, problems);
  if (targetRefs.length === 0 && !problems.any)
    problems.add(spec.at, "spec.targetRefs is missing: middleware must say for which targets it runs");
  const file = spec.requiredString("file");
  if (file !== null && (!fileName.test(file.value) || file.value.length > middlewareLimits.maxFileName))
    problems.add(
      file.at,
      `spec.file: ${quote(file.value)} is not the name of a .ts, .js or .mjs file; the folder is a setting of the waypoint`,
      file.value,
    );
  const order = spec.integer("order", -middlewareLimits.maxOrder, middlewareLimits.maxOrder)?.value ?? 0;
  const timeoutMs = spec.has("timeout") ? readDuration(spec, "timeout", 1, problems) : null;
  const onFailure = spec.choice("onFailure", failures)?.value ?? "Deny";
  const config = spec.stringMap("config");
  checkCount(spec, "config", config.size, middlewareLimits.maxConfigEntries, problems);
  if (file === null) return null;
  return {
    kind: "Middleware",
    metadata,
    location,
    warnings: [],
    targetRefs,
    file,
    order,
    timeoutMs: timeoutMs ?? middlewareLimits.timeoutMs,
    onFailure,
    config: new Map([...config].map(([name, { value }]) => [name, value])),
  };
}
