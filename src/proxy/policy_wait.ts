/** The decision about one registered connection: now if every policy is here, else after a bounded wait, and again at each change. */
import { MeshError } from "../base/errors.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { Workload } from "../mesh/workload.ts";
import { type Denial, describeDenial, type Permit, type PolicyConnection } from "../policy/decision.ts";
import type { PolicyEngine } from "../policy/policy_engine.ts";
import type { Connection, ConnectionRegistry, UnderPolicy } from "./connections.ts";
import type { NodeContext } from "./node_context.ts";

/**
 * Sets how `connection` is decided again, then decides it. A policy that the workload names and that is not here is waited
 * for, and so are many that are being compiled; when one does not come the engine refuses (or skips it, where the operator
 * chose ztunnel's way).
 *
 * @returns the reason of its end instead of a Permit.
 */
export async function decideWhenReady(
  context: NodeContext,
  connection: Connection,
  local: Workload,
  asked: PolicyConnection,
): Promise<Permit | MeshError> {
  if (!isReady(context, local)) await waitForPolicies(context, local);
  connection.underPolicy = new DecidedAgain(context, connection, local, asked);
  connection.record.asked = { workloadUid: local.uid, connection: asked };
  const workload = workloadNow(context, connection, local);
  if (workload instanceof MeshError) return workload;
  const decision = context.engine.decide(workload, asked);
  if (!decision.allowed) return denialError(decision);
  connection.record.allowedBy = decision.policy;
  connection.record.dryRun = context.engine.wouldDeny(workload, decision);
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
    const { engine, connections } = this.#context;
    const workload = workloadNow(this.#context, this.#connection, this.#local);
    if (workload instanceof MeshError) return workload;
    // It stays as it was decided until its policies are compiled: while they are not, everybody would be cut.
    if (engine.isPreparing(workload)) {
      connections.postpone(workload.uid);
      return null;
    }
    const decision = engine.decide(workload, this.#asked);
    if (decision.allowed) return null;
    const message = `closed by a policy change: ${describeDenial(decision)}`;
    return new MeshError("policy_changed", "policy", message);
  }
}

/**
 * The workload's documents of now: what it was when the connection came does not count. A workload that is gone allows
 * nothing, and one that has another identity than the caller verified is not the one that was called.
 */
function workloadNow({ store }: NodeContext, connection: Connection, local: Workload): Workload | MeshError {
  const workload = store.workload(local.uid);
  if (workload === null)
    return new MeshError(
      "workload_changed",
      "local",
      `${local.namespace}/${local.name} is no longer in the mesh`,
    );
  const verified = connection.record.verifiedDestination;
  if (verified !== null && !workload.identity.equals(verified)) return changedSince(verified, workload);
  return workload;
}

/** An address, or a name, is another identity's by now. */
export function changedSince(verified: SpiffeId, now: Workload): MeshError {
  return new MeshError(
    "workload_changed",
    "local",
    `the caller verified ${verified.uri}, but ${now.namespace}/${now.name} now has the identity ${now.identity.uri}`,
  );
}

/** On the workload's documents of now. */
function isReady({ engine, store }: NodeContext, local: Workload): boolean {
  const workload = store.workload(local.uid) ?? local;
  return engine.missing(workload).length === 0 && !engine.isPreparing(workload);
}

function waitForPolicies(context: NodeContext, local: Workload): Promise<void> {
  const { clock, engine, store } = context;
  const { promise, stop } = until(
    () => isReady(context, local),
    [(look) => store.subscribe(look), (look) => engine.prepared.subscribe(look)],
  );
  const timer = clock.setTimer(proxyLimits.policyWaitMs, stop);
  return promise.then(() => timer.cancel());
}

/**
 * Resolves when what was taken of policies and of trust decides: it is compiled, and every open connection was decided again by it. It is
 * what acknowledging waits for, however long: who is denied by then was cut.
 *
 * @returns null where it does now.
 */
export function inForce(
  engine: Pick<PolicyEngine, "prepared" | "preparing">,
  connections: Pick<ConnectionRegistry, "decidedAgain">,
): Promise<null> | null {
  if (engine.preparing === 0) return connections.decidedAgain()?.then(() => null) ?? null;
  const { promise } = until(() => engine.preparing === 0, [(look) => engine.prepared.subscribe(look)]);
  // What had to be compiled first begins to decide again in the turn in which it is.
  return promise.then(() => connections.decidedAgain()).then(() => null);
}

/** @param watches each begins to call `look` at every change, and returns how that ends. @returns `stop` resolves it now. */
function until(
  isSo: () => boolean,
  watches: readonly ((look: () => void) => () => void)[],
): { readonly promise: Promise<void>; readonly stop: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = (): void => {
    for (const unsubscribe of subscriptions) unsubscribe();
    resolve();
  };
  const look = (): void => {
    if (isSo()) stop();
  };
  const subscriptions = watches.map((watch) => watch(look));
  return { promise, stop };
}

/** A denial as the reason of its connection's end. */
function denialError(denial: Denial): MeshError {
  const code = denial.reason === "policy_missing" ? "policy_missing" : "policy_denied";
  return new MeshError(code, "policy", describeDenial(denial));
}
