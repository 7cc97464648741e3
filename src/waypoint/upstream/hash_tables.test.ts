import { describe, expect, test } from "bun:test";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { maglevTable, ringTable } from "./hash_tables.ts";

describe("the ring", () => {
  /** How often each of two hosts is chosen by many hashes. */
  function shares(weights: readonly [number, number], minSize: number): readonly [number, number] {
    const table = ringTable(
      weights.map((weight, index) => ({ key: `10.0.0.${index}:80`, weight })),
      minSize,
    );
    const chosen: [number, number] = [0, 0];
    for (let n = 0; n < 20_000; n++) chosen[table?.(Math.imul(n + 1, 2654435761) >>> 0, 0) === 1 ? 1 : 0]++;
    return chosen;
  }

  test("has no more places than its bound, whatever is asked for and however unlike the weights are", () => {
    const { maxRingSize } = waypointLimits;
    // In a ring of the bound the lighter host has one place of 65,536, where all of what is asked for would give it six.
    const [, light] = shares([maxRingSize - 1, 1], 6 * maxRingSize);
    const [, bounded] = shares([maxRingSize - 1, 1], maxRingSize);
    expect(light).toBe(bounded);
    const [, unasked] = shares([100 * maxRingSize, 1], 1);
    expect(unasked).toBeLessThanOrEqual(3);
  });

  test("shares by weight, and gives a host without weight nothing", () => {
    const [heavy, light] = shares([3, 1], 1_024);
    expect(heavy / (heavy + light)).toBeWithin(0.7, 0.8);
    expect(shares([1, 0], 1_024)).toEqual([20_000, 0]);
    expect(ringTable([{ key: "a", weight: 0 }], 16)).toBeNull();
    expect(ringTable([], 16)).toBeNull();
  });

  test("a later attempt is another host, as long as there is one", () => {
    const table = ringTable(
      ["a", "b", "c"].map((key) => ({ key, weight: 1 })),
      64,
    );
    for (const hash of [0, 7, 2 ** 31, 2 ** 32 - 1]) {
      const [first, second] = [table?.(hash, 0), table?.(hash, 1)];
      expect(second).not.toBe(first);
    }
    const alone = ringTable([{ key: "a", weight: 1 }], 64);
    expect([alone?.(5, 0), alone?.(5, 1)]).toEqual([0, 0]);
  });
});

test("a Maglev table shares by weight, and is none without it", () => {
  const table = maglevTable(
    [1, 3].map((weight) => ({ key: `h${weight}`, weight })),
    65_537,
  );
  let heavy = 0;
  for (let hash = 0; hash < 65_537; hash++) if (table?.(hash, 0) === 1) heavy++;
  expect(heavy / 65_537).toBeWithin(0.74, 0.76);
  expect(maglevTable([{ key: "a", weight: 0 }], 7)).toBeNull();
});
