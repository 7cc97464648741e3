/** Which worker has what comes next. */
import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../../base/ip.ts";
import { workerLimits } from "../../../base/limits/host.ts";
import { type PlaceKind, PlaceTable } from "./place_table.ts";

const listener = PlaceTable.listenerOf("tcp 0.0.0.0:15008");
const bucket = PlaceTable.bucketOf(ip("10.0.0.1"));

function ip(text: string): IpAddress {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

/** All of them listen. */
function table(workers: number): PlaceTable {
  const made = new PlaceTable(new Int32Array(PlaceTable.bytes(workers) / 4), workers);
  for (let worker = 0; worker < workers; worker++) made.countListener(worker, listener, 1);
  return made;
}

/** As the kernel chose, and then as the table says. @returns how many each has. */
function spread(made: PlaceTable, kind: PlaceKind, arrivals: readonly number[]): number[] {
  const had = new Map<number, number>();
  for (const own of arrivals) {
    const chosen = made.choose(own, listener, kind, bucket);
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
      expect(made.choose(own, listener, "tunnel", bucket)).toBe(own);
      made.count(own, "tunnel", bucket, 1);
    }
  });

  test("of many peers with one each are spread, too", () => {
    const made = table(2);
    for (let peer = 0; peer < 20; peer++) {
      const its = PlaceTable.bucketOf(ip(`10.0.1.${peer}`));
      made.count(made.choose(0, listener, "tunnel", its), "tunnel", its, 1);
    }
    expect([made.of(0).tunnels, made.of(1).tunnels]).toEqual([10, 10]);
  });

  test("those of one peer go apart before all of them are even", () => {
    const made = table(2);
    const other = PlaceTable.bucketOf(ip("fd00::2"));
    expect(other).not.toBe(bucket);
    for (let at = 0; at < 5; at++) made.count(1, "tunnel", other, 1);
    made.count(0, "tunnel", bucket, 1);
    expect(made.choose(0, listener, "tunnel", bucket)).toBe(1);
  });

  test("one that ended makes room", () => {
    const made = table(2);
    for (const worker of [0, 1]) made.count(worker, "tunnel", bucket, 1);
    made.count(1, "tunnel", bucket, -1);
    expect(made.choose(0, listener, "tunnel", bucket)).toBe(1);
  });
});

describe("other connections", () => {
  test("a few are as good as even", () => {
    expect(spread(table(2), "connection", Array<number>(32).fill(0))).toEqual([18, 14]);
    expect(spread(table(4), "connection", Array<number>(32).fill(1))).toEqual([7, 9, 8, 8]);
  });

  test("of many, what chance makes uneven stays where the kernel put it", () => {
    const made = table(2);
    for (let at = 0; at < 1100; at++) made.count(0, "connection", bucket, 1);
    for (let at = 0; at < 900; at++) made.count(1, "connection", bucket, 1);
    expect(made.choose(0, listener, "connection", bucket)).toBe(0);
    for (let at = 0; at < 26; at++) made.count(0, "connection", bucket, 1);
    expect(made.choose(0, listener, "connection", bucket)).toBe(1);
  });

  test("tunnels are counted apart from them", () => {
    const made = table(2);
    for (let at = 0; at < 9; at++) made.count(0, "connection", bucket, 1);
    expect(made.choose(0, listener, "tunnel", bucket)).toBe(0);
    expect(made.of(0)).toEqual({ tunnels: 0, connections: 9 });
  });
});

test("who has no such listener is given nothing", () => {
  const made = table(2);
  made.countListener(1, listener, -1);
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
  expect(made.choose(0, listener, "tunnel", bucket)).toBe(0);
  made.countListener(1, listener, 1);
  expect(made.choose(0, listener, "tunnel", bucket)).toBe(1);
});

describe("a tunnel that is there", () => {
  const held = (made: PlaceTable) => ({ ofSource: made.of(0).tunnels, all: made.of(0).tunnels });

  test("is better off with another worker that has two less of its peer, or of all", () => {
    const made = table(2);
    made.count(0, "tunnel", bucket, 1);
    expect(made.hasRoomElsewhere(0, listener, bucket, held(made))).toBe(false);
    made.count(0, "tunnel", bucket, 1);
    expect(made.hasRoomElsewhere(0, listener, bucket, held(made))).toBe(true);
    expect(made.hasRoomElsewhere(0, listener, bucket, { ofSource: 1, all: 2 })).toBe(true);
    made.count(1, "tunnel", bucket, 1);
    expect(made.hasRoomElsewhere(0, listener, bucket, held(made))).toBe(false);
    // It has as many of that peer: what went there would come back.
    expect(made.hasRoomElsewhere(0, listener, bucket, { ofSource: 1, all: 9 })).toBe(false);
  });

  test("stays where no other worker listens", () => {
    const made = table(2);
    made.countListener(1, listener, -1);
    expect(made.hasRoomElsewhere(0, listener, bucket, { ofSource: 9, all: 9 })).toBe(false);
  });

  test("goes once: where it went to, nothing wants it back", () => {
    for (const [mine, theirs, others] of [
      [2, 0, 0],
      [1, 0, 12],
      [7, 2, 3],
      [9, 0, 40],
    ] as const) {
      const made = table(2);
      const other = PlaceTable.bucketOf(ip("fd00::2"));
      const add = (worker: number, of: number, count: number) => {
        for (let at = 0; at < count; at++) made.count(worker, "tunnel", of, 1);
      };
      add(0, bucket, mine);
      add(0, other, others);
      add(1, bucket, theirs);
      let moved = 0;
      const has: number[] = [mine, theirs];
      const goes = (own: number) =>
        made.hasRoomElsewhere(own, listener, bucket, { ofSource: has[own] ?? 0, all: made.of(own).tunnels });
      for (; goes(0) && moved < 50; moved++) {
        made.count(0, "tunnel", bucket, -1);
        has[0] = (has[0] ?? 0) - 1;
        const to = made.choose(0, listener, "tunnel", bucket);
        expect(to).toBe(1);
        made.count(1, "tunnel", bucket, 1);
        has[1] = (has[1] ?? 0) + 1;
      }
      expect(moved).toBeGreaterThan(0);
      expect(moved).toBeLessThan(10);
      expect(goes(1)).toBe(false);
    }
  });
});

test("whatever a worker writes there, the answer is a worker", () => {
  const words = new Int32Array(PlaceTable.bytes(3) / 4);
  const made = new PlaceTable(words, 3);
  for (const value of [-1, 2 ** 31 - 1, -(2 ** 31), 7]) {
    words.fill(value);
    for (const kind of ["tunnel", "connection"] as const)
      expect([0, 1, 2]).toContain(made.choose(1, listener, kind, 0xffff));
  }
});

test("the memory of as many workers as there can be is small", () => {
  expect(PlaceTable.bytes(workerLimits.maxWorkers)).toBeLessThan(512 * 1024);
});
