/** The decision about one registered connection: now if every policy is here, else after a bounded wait, and again at each change. */
import { MeshError } from "../base/errors.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Workload } from "../mesh/workload.ts";
import { type Decision, type Denial, describeDenial, type PolicyConnection } from "../policy/decision.ts";
import type { Connection } from "./connections.ts";
import type { NodeContext } from "./node_context.ts";

/**
 * Sets how `connection` is decided again, then decides it. A policy that the workload names and that is not here is waited
 * for; when it does not come the engine refuses (or skips it, where the operator chose ztunnel's way).
 */
export async function decideWhenReady(
  context: NodeContext,
  connection: Connection,
  local: Workload,
  asked: PolicyConnection,
): Promise<Decision> {
  const decide = () => decideNow(context, local, asked);
  if (context.engine.missing(local).length > 0) await waitForPolicies(context, local);
  connection.decide = decide;
  const decision = decide();
  if (decision.allowed) connection.allowedBy = decision.policy;
  return decision;
}

/** On the workload's documents of now: what it was when the connection came does not count. A workload that is gone allows nothing. */
function decideNow(context: NodeContext, local: Workload, asked: PolicyConnection): Decision {
  const { engine, store } = context;
  const workload = store.workload(local.uid);
  if (workload !== null) return engine.decide(workload, asked);
  return {
    allowed: false,
    reason: "engine_unavailable",
    policy: null,
    rule: null,
    location: local.location,
    version: engine.version,
  };
}

function waitForPolicies(context: NodeContext, local: Workload): Promise<void> {
  const { clock, engine, store } = context;
  return new Promise((resolve) => {
    const finish = () => {
      unsubscribe();
      timer.cancel();
      resolve();
    };
    const timer = clock.setTimer(proxyLimits.policyWaitMs, finish);
    const unsubscribe = store.subscribe(() => {
      if (engine.missing(store.workload(local.uid) ?? local).length === 0) finish();
    });
  });
}

/** A denial as the reason of its connection's end. */
export function denialError(denial: Denial): MeshError {
  const code = denial.reason === "policy_missing" ? "policy_missing" : "policy_denied";
  return new MeshError(code, "policy", describeDenial(denial));
}
