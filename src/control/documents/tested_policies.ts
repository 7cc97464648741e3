/**
 * PolicyTests against a change: one that breaks a test is refused. A test is its namespace's word about its own workloads, so it holds up
 * changes to that namespace and to the mesh's own documents, and never what another namespace changes.
 */
import { inSteps } from "../../base/turns/steps.ts";
import type { TimeSlice } from "../../base/turns/time_slice.ts";
import type { DocumentError, Location } from "../../mesh/location.ts";
import type { ChangeRefusal, ChangeRequest } from "./change_request.ts";
import { type ConvertedSet, viewOf } from "./converted_documents.ts";
import { owningNamespace, type Replacement } from "./document_diff.ts";
import type { MeshView } from "./lock_out.ts";
import { refusal, told } from "./refusing.ts";

/** One call of a PolicyTest, tried. */
export interface TriedCall {
  /** `PolicyTest shop/callers` */
  readonly document: string;
  readonly namespace: string;
  readonly location: Location;
  readonly passed: boolean;
  readonly message: string;
  readonly from: string;
  readonly to: string;
  readonly expected: string;
}

/** `policy/` is handed in. */
export type PolicyTester = (view: MeshView) => Generator<void, readonly TriedCall[]>;

interface Testing {
  readonly tester: PolicyTester | undefined;
  readonly rootNamespace: string;
  readonly version: number;
  readonly slice: TimeSlice;
}

/** @returns null when no test is in the way, or `force` goes past them. */
export async function checkPolicyTests(
  before: ConvertedSet,
  next: ConvertedSet,
  replacements: readonly Replacement[],
  request: ChangeRequest,
  { tester, rootNamespace, version, slice }: Testing,
): Promise<ChangeRefusal | null> {
  if (tester === undefined || request.force === true || !(await slice.run(hasTests(next)))) return null;
  const touched = new Set<string>();
  await slice.run(inSteps(replacements, ({ change }) => void touched.add(owningNamespace(change))));
  const isOfMesh = touched.has("") || touched.has(rootNamespace);
  const failing = (await slice.run(tester(viewOf(next)))).filter(
    ({ passed, namespace }) => !passed && (isOfMesh || touched.has(namespace)),
  );
  if (failing.length === 0) return null;
  const changed = new Set(replacements.map(({ change }) => change.key));
  // A test that failed before, and is as it was, is not what this change breaks.
  const were = new Set((await slice.run(tester(viewOf(before)))).filter(({ passed }) => !passed).map(idOf));
  const broken = failing.filter((call) => changed.has(call.document) || !were.has(idOf(call)));
  if (broken.length === 0) return null;
  const errors = broken.map(
    ({ location, document, message }): DocumentError => ({ location, resource: document, message }),
  );
  const message = "nothing was changed: policy tests would fail";
  return refusal("test_failed", version, message, { errors: told(errors) });
}

function* hasTests({ documents }: ConvertedSet): Generator<void, boolean> {
  let found = false;
  yield* inSteps(documents, ({ kind }) => {
    found ||= kind === "PolicyTest";
  });
  return found;
}

function idOf({ document, from, to, expected }: TriedCall): string {
  return JSON.stringify([document, from, to, expected]);
}
