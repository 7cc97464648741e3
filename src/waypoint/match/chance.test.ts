import { expect, test } from "bun:test";
import { noHeaderChanges, type WeightedDestination } from "../../mesh/traffic/route_plan.ts";
import { chooseDestination, chooseMirrors, decideFault } from "./chance.ts";

const to = (service: string, weight: number): WeightedDestination => ({
  service,
  port: 80,
  subset: null,
  missing: null,
  weight,
  headers: noHeaderChanges,
});

/** Every thousandth from 0 to 0.999. */
function each(count = 1_000): () => number {
  let i = 0;
  return () => (i++ % count) / count;
}

test("destinations get their share, and those of weight 0 nothing", () => {
  const random = each();
  const counts: Record<string, number> = {};
  const all = [to("a", 90), to("b", 0), to("c", 10)];
  for (let i = 0; i < 1_000; i++) {
    const { service } = chooseDestination(all, random) ?? { service: "none" };
    counts[service] = (counts[service] ?? 0) + 1;
  }
  expect(counts).toEqual({ a: 900, c: 100 });
});

test("where nothing has a weight nothing is chosen", () => {
  expect(chooseDestination([to("a", 0), to("b", 0)], () => 0)).toBeNull();
  expect(chooseDestination([to("a", 0)], () => 0)).toBeNull();
  expect(chooseDestination([], () => 0)).toBeNull();
});

test("mirrors and faults happen as often as they should", () => {
  const mirror = { destination: to("m", 1), percent: 25.5 };
  const random = each();
  let mirrored = 0;
  for (let i = 0; i < 1_000; i++) mirrored += chooseMirrors([mirror], random).length;
  expect(mirrored).toBe(255);

  const fault = {
    delay: { ms: 70, percent: 10 },
    abort: { httpStatus: 418, grpcStatus: null, percent: 100 },
  };
  const lots = each();
  let delayed = 0;
  for (let i = 0; i < 1_000; i++) {
    const { delayMs, abort } = decideFault(fault, lots);
    expect(abort?.httpStatus).toBe(418);
    if (delayMs === 70) delayed++;
  }
  expect(delayed).toBe(100);
  expect(decideFault({ delay: { ms: 1, percent: 0 }, abort: null }, () => 0)).toEqual({
    delayMs: 0,
    abort: null,
  });
});
