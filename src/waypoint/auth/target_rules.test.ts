import { expect, test } from "bun:test";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { AuthorizationPolicyDocument } from "../../mesh/documents/document.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import { RuleSets } from "./target_rules.ts";

const rulesPerPolicy = 3;

/** A fresh policy each time: what did not change is not made again. */
function policies(count: number): readonly AuthorizationPolicyDocument[] {
  const text = Array.from({ length: count }, (_, at) => {
    const rules = Array.from(
      { length: rulesPerPolicy },
      (_none, index) => `{to: [{operation: {paths: ["*/${at}/${index}"], methods: [GET]}}]}`,
    );
    return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: many-${at}, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: web}]
  rules: [${rules.join(", ")}]
`;
  }).join("---\n");
  return parseDocuments([{ path: "f", text }]).entries.flatMap(({ document }) =>
    document?.kind === "AuthorizationPolicy" ? [document] : [],
  );
}

/** Tells what each step has turned into rules. */
class Steps extends TimeSlice {
  readonly read: number[] = [];
  readonly #count: () => number;

  constructor(count: () => number) {
    super({ now: () => 0, defer: (work) => work() });
    this.#count = count;
  }

  override async run<T>(steps: Generator<void, T>): Promise<T> {
    for (let before = this.#count(); ; before = this.#count()) {
      const step = steps.next();
      this.read.push(this.#count() - before);
      if (step.done === true) return step.value;
    }
  }
}

test("of many policies for one target, a step reads one", async () => {
  const documents = policies(20);
  let read = 0;
  const watched = documents.map((document) => ({
    ...document,
    get rules() {
      read++;
      return document.rules;
    },
  }));
  const reader = { clock: { now: () => 0, wallMs: () => 0 } };
  const mesh = { trustDomain: "td", rootNamespace: "root", serviceByKey: () => null, isInside: false };
  const sets = new RuleSets(mesh, reader as never);
  const steps = new Steps(() => read);
  await sets.make({ documents: watched, refused: [] }, steps);
  // Once for HTTP, and once for what is not.
  expect(steps.read.reduce((sum, count) => sum + count, 0)).toBe(2 * documents.length);
  expect(Math.max(...steps.read)).toBe(1);
});
