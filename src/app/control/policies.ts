/** What policies say, for the control plane: to its own callers, to PolicyTests, and to whoever asks why. */
import type { CallQuestion, ExplainAnswer } from "../../admin/explained.ts";
import { type SliceClock, TimeSlice } from "../../base/turns/time_slice.ts";
import type { ControlPolicy, MeshView } from "../../control/documents/lock_out.ts";
import type { MeshDocuments } from "../../control/documents/mesh_documents.ts";
import type { PolicyTester, TriedCall } from "../../control/documents/tested_policies.ts";
import type { MeshState } from "../../mesh/store/change.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import { describeDenial } from "../../policy/decision.ts";
import { explainedState, explainedStore } from "../../policy/explain/explained_mesh.ts";
import { runPolicyTests } from "../../policy/explain/policy_tests.ts";
import { createReferenceEngine } from "../../policy/reference.ts";
import { answerCall } from "../explained.ts";

/** What policies say to a caller in plain text: nodes and people come to the control plane so. */
export function policyOf({ policies }: MeshState): ControlPolicy {
  const engine = createReferenceEngine({ missingPolicy: "deny" });
  engine.update(policies);
  return (workload, { source, destination, port }) => {
    const decision = engine.decide(workload, {
      sourceIp: source,
      sourceIdentity: null,
      destinationIp: destination,
      destinationPort: port,
    });
    return decision.allowed ? null : describeDenial(decision);
  };
}

/** Nodes refuse what names a policy that is not there, unless they are told otherwise. */
const missingPolicy = "deny";
/** Which hosts run a workload with the application inside is their own business. */
const layer7 = null;

export function policyTester(rootNamespace: string): PolicyTester {
  return function* test({ documents, state }: MeshView): Generator<void, readonly TriedCall[]> {
    const mesh = yield* explainedState(state, { missingPolicy, rootNamespace, documents, layer7 });
    return yield* runPolicyTests(mesh);
  };
}

export async function explainOnControl(
  clock: SliceClock,
  store: MeshStore,
  { documents }: MeshDocuments,
  rootNamespace: string,
  question: CallQuestion,
): Promise<ExplainAnswer> {
  const words = { missingPolicy, rootNamespace, documents, layer7 } as const;
  return answerCall(await new TimeSlice(clock).run(explainedStore(store, words)), question);
}
