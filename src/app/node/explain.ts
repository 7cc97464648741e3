/** `/explain` of a node: its mesh as it is now, asked in slices. */
import type { ExplainAnswer } from "../../admin/explained.ts";
import type { ExplainQuestion } from "../../admin/node/sources.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Config } from "../../config/node/config.ts";
import { type ExplainedMesh, traceConnection } from "../../policy/explain/explain.ts";
import { explainedStore } from "../../policy/explain/explained_mesh.ts";
import type { EndedConnection } from "../../proxy/connection_history.ts";
import { answerCall } from "../explained.ts";
import type { PreparedNode } from "./node.ts";

export async function explainOnNode(
  node: PreparedNode,
  config: Config,
  question: ExplainQuestion,
): Promise<ExplainAnswer> {
  const { context } = node;
  const mesh = await new TimeSlice(context.clock).run(
    explainedStore(context.store, {
      missingPolicy: config.missingPolicy,
      rootNamespace: config.rootNamespace,
      documents: node.inForce()?.documents ?? null,
      layer7: config.layer7,
    }),
  );
  if (!("connection" in question)) return answerCall(mesh, question);
  const { workers } = node;
  const ended =
    context.telemetry.history.find(question.connection) ??
    (await workers?.ended(question.connection)) ??
    null;
  if (ended !== null) return { kind: "answer", answer: describeEnded(mesh, ended) };
  await workers?.refresh();
  const open = [...context.connections, ...(workers?.connections.listed ?? [])];
  const isOpen = open.some(({ id }) => id === question.connection);
  const message = isOpen
    ? `connection ${question.connection} is still open: fairlead get connections shows it`
    : `connection ${question.connection} is not known: it is of another run of this node, or too long ago`;
  return { kind: "unclear", message };
}

/** What was recorded, and what the policies of now say to the same connection. */
function describeEnded(mesh: ExplainedMesh, ended: EndedConnection): object {
  const { asked, ...record } = ended;
  const workload = asked === null ? null : mesh.store.workload(asked.workloadUid);
  const now = asked === null || workload === null ? null : traceConnection(mesh, workload, asked.connection);
  return { connection: record, now };
}
