/** A failing seed is worth something only if it fails again. */
import { expect, test } from "bun:test";
import { createPki } from "./authority.ts";
import { drawPlan } from "./plan.ts";
import { runSeed } from "./run_seed.ts";

/** A seed with nearly every kind of fault in it. */
function rich(): number {
  for (let seed = 1; ; seed++) if (drawPlan(seed).kinds.size >= 9) return seed;
}

test("the same seed gives the same run, even with other certificates; another seed another", async () => {
  const seed = rich();
  const first = await runSeed(seed, await createPki(), null);
  const again = await runSeed(seed, await createPki(), null);
  expect(first.found).toEqual([]);
  expect([again.traceHash, again.steps]).toEqual([first.traceHash, first.steps]);
  const other = await runSeed(seed + 1, await createPki(), null);
  expect(other.traceHash).not.toBe(first.traceHash);
}, 60_000);
