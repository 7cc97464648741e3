/** One seed from plan to verdict. */
import "../../src/app/testing/loaded.ts";
import type { SimulatedPki } from "./authority.ts";
import { checkAuthorization } from "./checkers/authorization.ts";
import { checkBounds } from "./checkers/bounds.ts";
import { checkControl } from "./checkers/control.ts";
import { checkConvergence } from "./checkers/convergence.ts";
import { checkDelivery } from "./checkers/delivery.ts";
import { checkIdentities } from "./checkers/identities.ts";
import { checkLiveness } from "./checkers/liveness.ts";
import { checkProgress } from "./checkers/progress.ts";
import { checkRecords } from "./checkers/records.ts";
import type { Observed } from "./observed.ts";
import { drawPlan, type Plan } from "./plan.ts";
import { seedCryptography } from "./seeded_cryptography.ts";
import { Simulation } from "./simulation.ts";
import { drawLiveness } from "./upheavals.ts";
import { WindowFault } from "./window_check.ts";

const checkers = [
  checkDelivery,
  checkAuthorization,
  checkRecords,
  checkBounds,
  checkProgress,
  checkConvergence,
  checkControl,
  checkIdentities,
  checkLiveness,
];

export interface Verdict {
  readonly seed: number;
  readonly plan: Plan;
  /** Empty when all was well. */
  readonly found: readonly string[];
  readonly traceHash: number;
  /** Simulated time and events. */
  readonly simulatedMs: number;
  readonly steps: number;
  /** Null when the run broke. */
  readonly observed: Observed | null;
}

function describeBreak(error: unknown): string {
  if (error instanceof WindowFault) return `window: ${error.message}`;
  return `broken: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
}

export async function runSeed(
  seed: number,
  pki: SimulatedPki,
  onTrace: ((line: string) => void) | null,
  isLiveness = false,
): Promise<Verdict> {
  const plan = drawPlan(seed);
  seedCryptography(seed);
  const simulation = new Simulation(plan, pki, isLiveness ? drawLiveness(plan) : null);
  simulation.onTrace = onTrace;
  // Nothing in the program may reject unseen; the runtime tells of it only here.
  const onRejection = (reason: unknown) => simulation.world.schedule.fail(reason);
  process.on("unhandledRejection", onRejection);
  let found: readonly string[];
  let observed: Observed | null = null;
  try {
    observed = await simulation.run();
    const finished = observed;
    found = checkers.flatMap((check) => check(finished));
  } catch (error) {
    found = [describeBreak(error)];
  } finally {
    process.off("unhandledRejection", onRejection);
  }
  const { traceHash, world } = simulation;
  return { seed, plan, found, traceHash, simulatedMs: world.nowMs, steps: world.schedule.steps, observed };
}
