/** Which worker has what comes next. */
import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../../base/ip.ts";
import { workerLimits } from "../../../base/limits/host.ts";
import { type PlaceKind, PlaceTable } from "./place_table.ts";

const name = "tcp 0.0.0.0:15008";
const bucket = PlaceTable.bucketOf(ip("10.0.0.1"));

function ip(text: string): IpAddress {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

/** All of them listen. */
function table(workers: number): PlaceTable {
  const made = new PlaceTable(new Int32Array(PlaceTable.bytes(workers) / 4), workers);
  for (let worker = 0; worker < workers; worker++) made.countListener(worker, name, 1);
  return made;
}

/** As the kernel chose, and then as the table says. @returns how many each has. */
function spread(made: PlaceTable, kind: PlaceKind, arrivals: readonly number[]): number[] {
  const had = new Map<number, number>();
  for (const own of arrivals) {
    const chosen = made.choose(own, name, kind, bucket);
    made.count(chosen, kind, bucket, 1);
    had.set(chosen, (had.get(chosen) ?? 0) + 1);
  }
  return [...had].sort(([a], [b]) => a - b).map(([, count]) => count);
}

describe("tunnels", () => {
  test("of one peer are spread to one, however the kernel chose", () => {
    expect(spread(table(2), "tunnel", [0, 0])).toEqual([1, 1]);
    expect(spread(table(4), "tunnel", [3, 3, 3, 3, 3, 3, 3, 3])).toEqual([2, 2, 2, 2]);
  });

  test("what has its place already stays where the kernel put it", () => {
    const made = table(4);
    for (const own of [2, 0, 3, 1]) {
      expect(made.choose(own, name, "tunnel", bucket)).toBe(own);
      made.count(own, "tunnel", bucket, 1);
    }
  });

  test("of many peers with one each are spread, too", () => {
    const made = table(2);
    for (let peer = 0; peer < 20; peer++) {
      const its = PlaceTable.bucketOf(ip(`10.0.1.${peer}`));
      made.count(made.choose(0, name, "tunnel", its), "tunnel", its, 1);
    }
    expect([made.of(0).tunnels, made.of(1).tunnels]).toEqual([10, 10]);
  });

  test("those of one peer go apart before all of them are even", () => {
    const made = table(2);
    const other = PlaceTable.bucketOf(ip("fd00::2"));
    expect(other).not.toBe(bucket);
    for (let at = 0; at < 5; at++) made.count(1, "tunnel", other, 1);
    made.count(0, "tunnel", bucket, 1);
    expect(made.choose(0, name, "tunnel", bucket)).toBe(1);
  });

  test("one that ended makes room", () => {
    const made = table(2);
    for (const worker of [0, 1]) made.count(worker, "tunnel", bucket, 1);
    made.count(1, "tunnel", bucket, -1);
    expect(made.choose(0, name, "tunnel", bucket)).toBe(1);
  });
});

describe("other connections", () => {
  test("a few are as good as even", () => {
    expect(spread(table(2), "connection", Array<number>(32).fill(0))).toEqual([17, 15]);
    expect(spread(table(4), "connection", Array<number>(32).fill(1))).toEqual([8, 8, 8, 8]);
  });

  test("of many, what chance makes uneven stays where the kernel put it", () => {
    const made = table(2);
    for (let at = 0; at < 1040; at++) made.count(0, "connection", bucket, 1);
    for (let at = 0; at < 960; at++) made.count(1, "connection", bucket, 1);
    expect(made.choose(0, name, "connection", bucket)).toBe(0);
    for (let at = 0; at < 41; at++) made.count(0, "connection", bucket, 1);
    expect(made.choose(0, name, "connection", bucket)).toBe(1);
  });

  test("tunnels are counted apart from them", () => {
    const made = table(2);
    for (let at = 0; at < 9; at++) made.count(0, "connection", bucket, 1);
    expect(made.choose(0, name, "tunnel", bucket)).toBe(0);
    expect(made.of(0)).toEqual({ tunnels: 0, connections: 9 });
  });
});

test("who has no such listener is given nothing", () => {
  const made = table(2);
  made.countListener(1, name, -1);
  expect(spread(made, "tunnel", [0, 0, 0])).toEqual([3]);
  expect(spread(made, "connection", [0, 0, 0])).toEqual([3]);
  expect(made.of(1)).toEqual({ tunnels: 0, connections: 0 });
});

test("a worker that ended has nothing, and is given nothing", () => {
  const made = table(2);
  made.count(1, "tunnel", bucket, 1);
  made.count(0, "tunnel", bucket, 1);
  made.count(0, "tunnel", bucket, 1);
  made.clear(1);
  expect(made.of(1)).toEqual({ tunnels: 0, connections: 0 });
  expect(made.choose(0, name, "tunnel", bucket)).toBe(0);
  made.countListener(1, name, 1);
  expect(made.choose(0, name, "tunnel", bucket)).toBe(1);
});

test("whatever a worker writes there, the answer is a worker", () => {
  const words = new Int32Array(PlaceTable.bytes(3) / 4);
  const made = new PlaceTable(words, 3);
  for (const value of [-1, 2 ** 31 - 1, -(2 ** 31), 7]) {
    words.fill(value);
    for (const kind of ["tunnel", "connection"] as const)
      expect([0, 1, 2]).toContain(made.choose(1, name, kind, 0xffff));
  }
});

test("the memory of as many workers as there can be is small", () => {
  expect(PlaceTable.bytes(workerLimits.maxWorkers)).toBeLessThan(512 * 1024);
});
