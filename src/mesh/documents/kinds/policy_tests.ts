/** PolicyTest (`fairlead.dev/v1`): what the policies beside it must come to. */
import { meshLimits } from "../../../base/limits/mesh.ts";
import type { Location } from "../../location.ts";
import type { Metadata, PolicyTestCase, PolicyTestDocument } from "../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../reader.ts";

const fields = { known: ["tests"] };
const testFields = { known: ["to", "port", "allowed", "denied"] };

export function readPolicyTest(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): PolicyTestDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const tests = spec.objects("tests", testFields);
  if (tests.length === 0 && !problems.any)
    problems.add(spec.where("tests"), "spec.tests must have at least one test");
  if (tests.length > meshLimits.maxPolicyTests)
    problems.add(spec.where("tests"), `spec.tests has more than ${meshLimits.maxPolicyTests} tests`);
  const cases = tests.flatMap((test) => readCase(test, problems) ?? []);
  return { kind: "PolicyTest", metadata, location, warnings: [], tests: cases };
}

function readCase(test: ObjectReader, problems: Problems): PolicyTestCase | null {
  const to = test.requiredString("to");
  checkWords(to, test.path("to"), problems);
  const port = test.integer("port", 1, 65_535)?.value ?? null;
  const allowed = callers(test, "allowed", problems);
  const denied = callers(test, "denied", problems);
  if (allowed.length === 0 && denied.length === 0 && !problems.any)
    problems.add(test.at, `${test.name} names no caller: give allowed, denied or both`);
  const contradiction = denied.find(({ value }) => allowed.some((other) => other.value === value));
  if (contradiction !== undefined)
    problems.add(
      contradiction.at,
      `${quote(contradiction.value)} is in both ${test.path("allowed")} and ${test.path("denied")}`,
      contradiction.value,
    );
  return to === null ? null : { at: test.at, to, port, allowed, denied };
}

function callers(test: ObjectReader, field: string, problems: Problems): readonly Located<string>[] {
  const found = test.strings(field);
  for (const [index, caller] of found.entries()) {
    if (caller.value === "") problems.add(caller.at, `${test.path(field)}[${index}] is empty`);
    checkWords(caller, `${test.path(field)}[${index}]`, problems);
  }
  if (found.length <= meshLimits.maxTestCallers) return found;
  problems.add(
    test.where(field),
    `${test.path(field)} has more than ${meshLimits.maxTestCallers} callers; split the test`,
  );
  return [];
}

function checkWords(words: Located<string> | null, path: string, problems: Problems): void {
  if (words !== null && words.value.length > meshLimits.maxPlaceLength)
    problems.add(words.at, `${path} has more than ${meshLimits.maxPlaceLength} characters`);
}
