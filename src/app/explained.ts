/** The answer to one question about a mesh, for administration of a node and of the control plane. */
import type { CallQuestion, ExplainAnswer } from "../admin/explained.ts";
import { type ExplainedMesh, explain } from "../policy/explain/explain.ts";
import { Unclear } from "../policy/explain/parties.ts";

export function answerCall(mesh: ExplainedMesh, question: CallQuestion): ExplainAnswer {
  try {
    return { kind: "answer", answer: explain(mesh, question) };
  } catch (thrown) {
    if (!(thrown instanceof Unclear)) throw thrown;
    return { kind: "unclear", message: thrown.message };
  }
}
