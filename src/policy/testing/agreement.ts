/** The engine beside its oracle: what must be the same of both, whatever was drawn. */
import { expect } from "bun:test";
import { isDeepStrictEqual } from "node:util";
import type { Authorization } from "../../mesh/authorization.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { Decision, PolicyConnection } from "../decision.ts";
import type { PolicyEngine, PolicyEngineOptions } from "../policy_engine.ts";
import { createReferenceEngine } from "../reference.ts";
import { createPolicyEngine } from "../wasm/engine.ts";
import type { PolicyGenerator } from "./policy_generator.ts";
import type { Turns } from "./turns.ts";

/** Everything a caller can see of a decision. */
export interface Outcome {
  readonly decision: Record<string, unknown>;
  readonly dryRuns: readonly string[];
}

export function observe(
  engine: PolicyEngine,
  workload: Workload,
  connection: PolicyConnection,
  listen: boolean,
): Outcome {
  const dryRuns: string[] = [];
  engine.onDryRun = listen ? (policy, rule, action) => dryRuns.push(`${action} ${policy} ${rule}`) : null;
  return { decision: plain(engine.decide(workload, connection)), dryRuns };
}

function plain(decision: Decision): Record<string, unknown> {
  const { allowed, policy, version } = decision;
  return decision.allowed
    ? { allowed, policy, version }
    : { allowed, policy, version, reason: decision.reason, rule: decision.rule, location: decision.location };
}

export interface Tally {
  /** That repeats the run. */
  readonly seed: number;
  decisions: number;
  readonly kinds: Map<string, number>;
}

export function newTally(seed: number): Tally {
  return { seed, decisions: 0, kinds: new Map() };
}

/**
 * Both engines go through the same updates, each changing a part of the policies, and decide the same connections. With turns the one
 * compiles in steps: an update may come in the middle, and what is decided before the end is refused.
 */
export function compare(
  generator: PolicyGenerator,
  tally: Tally,
  shape: { readonly updates: number; readonly policies: () => number; readonly decisions: number },
  options: PolicyEngineOptions,
  turns: Turns | null = null,
): void {
  const engine = createPolicyEngine(turns === null ? options : { ...options, clock: turns });
  const reference = createReferenceEngine(options);
  let policies: Authorization[] = [];
  for (let update = 0; update < shape.updates; update++) {
    // Kept policies are the same objects, as a store hands them on: what did not change is copied, not compiled.
    policies = [...policies.filter(() => generator.chance(0.6)), ...generator.policies(shape.policies())];
    engine.update(policies);
    reference.update(policies);
    const workloads = Array.from({ length: 4 }, () => generator.workload(policies));
    for (let index = 0; index < shape.decisions; index++) {
      const destination = generator.pick(workloads);
      const connection = generator.connection();
      const listen = generator.chance(0.7);
      while (turns !== null && engine.isPreparing(destination)) {
        expect(plain(engine.decide(destination, connection)).reason).toBe("engine_unavailable");
        if (generator.chance(0.2)) break;
        expect(turns.run(1 + generator.below(50))).toBeGreaterThan(0);
      }
      if (engine.isPreparing(destination)) {
        tally.kinds.set("preparing", (tally.kinds.get("preparing") ?? 0) + 1);
        continue;
      }
      const actual = observe(engine, destination, connection, listen);
      const expected = observe(reference, destination, connection, listen);
      if (!isDeepStrictEqual(actual, expected)) {
        console.error(`POLICY_SEED=${tally.seed}`, { names: destination.authorizationPolicies, connection });
        expect(actual).toEqual(expected);
      }
      const kind = `${expected.decision.reason ?? (expected.decision.policy === null ? "permit" : "allowed by")}`;
      tally.kinds.set(kind, (tally.kinds.get(kind) ?? 0) + 1);
      tally.decisions++;
    }
    expect(engine.missing(workloads[0] ?? generator.workload([]))).toEqual(
      reference.missing(workloads[0] ?? generator.workload([])),
    );
  }
}
