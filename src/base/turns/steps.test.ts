import { expect, test } from "bun:test";
import {
  compareText,
  filterInSteps,
  flatMapInSteps,
  indexInSteps,
  inSteps,
  mapInSteps,
  mergeInSteps,
  sortInSteps,
  stepsOf,
} from "./steps.ts";
import { runSteps } from "./time_slice.ts";

test("work gives way between every so many items, and does them all in their order", () => {
  const seen: number[] = [];
  const steps = inSteps(
    Array.from({ length: 250 }, (_, at) => at),
    (item) => void seen.push(item),
    100,
  );
  const counts: number[] = [];
  for (const _ of steps) counts.push(seen.length);
  expect(counts).toEqual([99, 199]);
  expect(seen).toEqual(Array.from({ length: 250 }, (_, at) => at));
});

test("sorting in steps is what sorting is, and leaves equals in their order", () => {
  for (const length of [0, 1, 999, 1_000, 1_001, 5_432]) {
    const items = Array.from({ length }, (_, at) => ({ key: `k${(at * 7919) % 613}`, at }));
    const byKey = (a: { key: string }, b: { key: string }) => compareText(a.key, b.key);
    expect(runSteps(sortInSteps(items, byKey))).toEqual([...items].sort(byKey));
  }
});

test("two sorted lists are merged, the first one's first", () => {
  const merge = (a: readonly string[], b: readonly string[]) =>
    runSteps(mergeInSteps(a, b, (x, y) => compareText(x.slice(0, 1), y.slice(0, 1))));
  expect(merge(["a1", "c1"], ["a2", "b2", "d2"])).toEqual(["a1", "a2", "b2", "c1", "d2"]);
  expect(merge(["a1"], [])).toEqual(["a1"]);
  expect(merge([], ["a1"])).toEqual(["a1"]);
});

test("an index has the last of two, and a flat map all", () => {
  const keyOf = (text: string) => text.slice(0, 1);
  expect([...runSteps(indexInSteps(["a1", "b1", "a2"], keyOf)).values()]).toEqual(["a2", "b1"]);
  expect(runSteps(flatMapInSteps([1, 2], (one) => [one, one]))).toEqual([1, 1, 2, 2]);
});

test("numbers are counted from 0, and give way between every so many", () => {
  const seen: number[] = [];
  const counts: number[] = [];
  for (const _ of stepsOf(7, (index) => void seen.push(index), 3)) counts.push(seen.length);
  expect([seen, counts]).toEqual([
    [0, 1, 2, 3, 4, 5, 6],
    [3, 6],
  ]);
  expect([...stepsOf(0, () => seen.push(-1))]).toEqual([]);
  expect(seen.length).toBe(7);
});

test("a map has one of each, and a filter those that hold", () => {
  expect(runSteps(mapInSteps([1, 2, 3], (one) => one * 2))).toEqual([2, 4, 6]);
  expect(runSteps(filterInSteps([1, 2, 3], (one) => one !== 2))).toEqual([1, 3]);
});
