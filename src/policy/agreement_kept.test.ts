/** The engine against its oracle on the same draws each time, a few of each kind: `agreement.test.ts` draws others at every run. */
import { expect, test } from "bun:test";
import type { PolicyLimits } from "./policy_engine.ts";
import { compare, newTally } from "./testing/agreement.ts";
import { PolicyGenerator } from "./testing/policy_generator.ts";

const seeds = [1, 2, 3, 4, 5];

test.each(seeds)("small sets, of seed %d", (seed) => {
  const generator = new PolicyGenerator(seed);
  const tally = newTally(seed);
  for (const missingPolicy of ["deny", "skip", "deny"] as const)
    compare(
      generator,
      tally,
      { updates: 6, policies: () => generator.below(6), decisions: 60 },
      { missingPolicy },
    );
  expect(tally.decisions).toBe(3 * 6 * 60);
});

test.each(seeds)("a large set, of seed %d", (seed) => {
  const generator = new PolicyGenerator(seed);
  const tally = newTally(seed);
  compare(generator, tally, { updates: 2, policies: () => 80, decisions: 60 }, { missingPolicy: "skip" });
  expect(tally.decisions).toBe(2 * 60);
});

const bounds: readonly (readonly [string, Partial<PolicyLimits>])[] = [
  ["an index too small for its rules", { maxIndexEntries: 3 }],
  ["an arena and a table too small for their callers", { maxCallers: 3, callerArenaBytes: 400 }],
  ["few lists of names", { maxNamedGroups: 2 }],
  ["layers from the first policy on", { minLayeredPolicies: 1, maxChangedShare: 3 }],
  ["clauses that stay whole", { maxAlternatives: 1 }],
];

test.each(bounds)("%s", (_, limits) => {
  for (const seed of seeds) {
    const generator = new PolicyGenerator(seed);
    const tally = newTally(seed);
    compare(
      generator,
      tally,
      { updates: 8, policies: () => generator.below(8), decisions: 30 },
      { missingPolicy: "skip", limits },
    );
    expect(tally.decisions).toBe(8 * 30);
  }
});
