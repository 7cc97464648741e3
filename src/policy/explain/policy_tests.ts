/** PolicyTests held against a mesh: each caller of each test asked about, as `explain` would answer. */
import { meshLimits } from "../../base/limits/mesh.ts";
import type { MeshDocument, PolicyTestCase, PolicyTestDocument } from "../../mesh/documents/document.ts";
import type { Located } from "../../mesh/documents/reader.ts";
import type { Location } from "../../mesh/location.ts";
import { type ExplainedMesh, type Explanation, explain } from "./explain.ts";
import { Unclear } from "./parties.ts";

export interface TestedCall {
  /** `PolicyTest shop/callers` */
  readonly document: string;
  readonly namespace: string;
  readonly location: Location;
  readonly from: string;
  readonly to: string;
  readonly expected: "allowed" | "denied";
  readonly passed: boolean;
  /** Why it did not pass: one line, with where the policy is that is in the way. */
  readonly message: string;
}

/** One step for each call. A namespace's tests are about its own workloads and services; the root namespace's about all. */
export function* runPolicyTests(mesh: ExplainedMesh): Generator<void, readonly TestedCall[]> {
  const calls: TestedCall[] = [];
  const perNamespace = new Map<string, number>();
  for (const document of mesh.documents ?? []) {
    if (!isPolicyTest(document)) continue;
    const { namespace } = document.metadata;
    for (const test of document.tests)
      for (const [expected, callers] of [
        ["allowed", test.allowed],
        ["denied", test.denied],
      ] as const)
        for (const caller of callers) {
          yield;
          const count = (perNamespace.get(namespace) ?? 0) + 1;
          perNamespace.set(namespace, count);
          const tooMany =
            count > meshLimits.maxTestedCallsPerNamespace
              ? `namespace ${namespace} has more than ${meshLimits.maxTestedCallsPerNamespace} tested calls; this one was not run`
              : null;
          calls.push(runCall(mesh, document, test, caller, expected, tooMany));
        }
  }
  return calls;
}

function isPolicyTest(document: MeshDocument): document is PolicyTestDocument {
  return document.kind === "PolicyTest";
}

function runCall(
  mesh: ExplainedMesh,
  document: PolicyTestDocument,
  test: PolicyTestCase,
  caller: Located<string>,
  expected: TestedCall["expected"],
  notRun: string | null,
): TestedCall {
  const { key, namespace } = document.metadata;
  const message =
    notRun ?? foreignTarget(mesh, namespace, test.to.value) ?? judge(mesh, test, caller.value, expected);
  return {
    document: key,
    namespace,
    location: caller.at,
    from: caller.value,
    to: test.to.value,
    expected,
    passed: message === null,
    message: message ?? "",
  };
}

/** Otherwise one tenant's test could keep another from changing their own policies. */
function foreignTarget(mesh: ExplainedMesh, namespace: string, to: string): string | null {
  if (namespace === mesh.rootNamespace) return null;
  try {
    const called = mesh.parties.called(to, namespace);
    const owner =
      called.kind === "workload"
        ? called.workload.namespace
        : called.kind === "service"
          ? called.service.namespace
          : null;
    if (owner === namespace) return null;
    return owner === null
      ? `${to} is nothing of the mesh; a test is about a workload or service of its namespace`
      : `${to} is in namespace ${owner}; tests of namespace ${namespace} are about its own workloads and services`;
  } catch (thrown) {
    return unclear(thrown);
  }
}

/** @returns null when it is as expected. */
function judge(
  mesh: ExplainedMesh,
  test: PolicyTestCase,
  from: string,
  expected: TestedCall["expected"],
): string | null {
  let found: Explanation;
  try {
    found = explain(mesh, { from, to: test.to.value, port: test.port });
  } catch (thrown) {
    return unclear(thrown);
  }
  if (found.verdict === expected) return null;
  const who = `${from} → ${found.to}`;
  return `${who} must be ${expected}, and ${verdictWords[found.verdict]}: ${reasonOf(found, expected)}`;
}

const verdictWords = {
  allowed: "is allowed",
  denied: "is denied",
  mixed: "is allowed by some endpoints only",
  depends: "depends on the request",
} as const;

/** The endpoint that is otherwise than expected. */
function reasonOf({ arrivals, refusal, waypoint }: Explanation, expected: TestedCall["expected"]): string {
  if (refusal !== null) return refusal;
  if (waypoint !== null && waypoint.verdict !== "allowed") return waypoint.because;
  const other = arrivals.find(({ trace }) => (trace?.allowed ?? true) !== (expected === "allowed"));
  if (other === undefined || other.workload === null) return "it is outside of the mesh";
  const because = other.trace?.because.replace(/^(?:denied|allowed): /, "");
  return `${because ?? "no policy decides there, since it has no tunnel"} at ${other.workload}`;
}

function unclear(thrown: unknown): string {
  if (!(thrown instanceof Unclear)) throw thrown;
  return thrown.message;
}
