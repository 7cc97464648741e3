/** The decision about one registered connection: now if every policy is here, else after a bounded wait, and again at each change. */
import { MeshError } from "../base/errors.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { Workload } from "../mesh/workload.ts";
import {
  type Decision,
  type Denial,
  describeDenial,
  type Permit,
  type PolicyConnection,
} from "../policy/decision.ts";
import type { Connection, UnderPolicy } from "./connections.ts";
import type { NodeContext } from "./node_context.ts";

/**
 * Sets how `connection` is decided again, then decides it. A policy that the workload names and that is not here is waited
 * for; when it does not come the engine refuses (or skips it, where the operator chose ztunnel's way).
 *
 * @returns the reason of its end instead of a Permit.
 */
export async function decideWhenReady(
  context: NodeContext,
  connection: Connection,
  local: Workload,
  asked: PolicyConnection,
): Promise<Permit | MeshError> {
  if (context.engine.missing(local).length > 0) await waitForPolicies(context, local);
  connection.underPolicy = new DecidedAgain(context, connection, local, asked);
  connection.record.asked = { workloadUid: local.uid, connection: asked };
  const decision = decideNow(context, connection, local, asked);
  if (decision instanceof MeshError) return decision;
  if (!decision.allowed) return denialError(decision);
  connection.record.allowedBy = decision.policy;
  connection.record.dryRun = context.engine.wouldDeny(local, decision);
  return decision;
}

/** One object for as long as the connection is open, and no closure, which would keep what was around it. */
class DecidedAgain implements UnderPolicy {
  readonly #context: NodeContext;
  readonly #connection: Connection;
  readonly #local: Workload;
  readonly #asked: PolicyConnection;

  constructor(context: NodeContext, connection: Connection, local: Workload, asked: PolicyConnection) {
    this.#context = context;
    this.#connection = connection;
    this.#local = local;
    this.#asked = asked;
  }

  get workloadUid(): string {
    return this.#local.uid;
  }

  decide(): MeshError | null {
    const decision = decideNow(this.#context, this.#connection, this.#local, this.#asked);
    if (decision instanceof MeshError) return decision;
    if (decision.allowed) return null;
    const message = `closed by a policy change: ${describeDenial(decision)}`;
    return new MeshError("policy_changed", "policy", message);
  }
}

/**
 * On the workload's documents of now: what it was when the connection came does not count. A workload that is gone allows
 * nothing, and one that has another identity than the caller verified is not the one that was called.
 */
function decideNow(
  { engine, store }: NodeContext,
  connection: Connection,
  local: Workload,
  asked: PolicyConnection,
): Decision | MeshError {
  const workload = store.workload(local.uid);
  if (workload === null)
    return new MeshError(
      "workload_changed",
      "local",
      `${local.namespace}/${local.name} is no longer in the mesh`,
    );
  const verified = connection.record.verifiedDestination;
  if (verified !== null && !workload.identity.equals(verified)) return changedSince(verified, workload);
  return engine.decide(workload, asked);
}

/** An address, or a name, is another identity's by now. */
export function changedSince(verified: SpiffeId, now: Workload): MeshError {
  return new MeshError(
    "workload_changed",
    "local",
    `the caller verified ${verified.uri}, but ${now.namespace}/${now.name} now has the identity ${now.identity.uri}`,
  );
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
function denialError(denial: Denial): MeshError {
  const code = denial.reason === "policy_missing" ? "policy_missing" : "policy_denied";
  return new MeshError(code, "policy", describeDenial(denial));
}
