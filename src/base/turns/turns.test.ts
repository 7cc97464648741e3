import { beforeEach, describe, expect, test } from "bun:test";
import { hostLimits } from "../limits/host.ts";
import { Turns } from "./turns.ts";

let nowMs: number;
let deferred: (() => void)[];
let turns: Turns;
let done: string[];

beforeEach(() => {
  nowMs = 0;
  deferred = [];
  done = [];
  turns = Turns.of({ now: () => nowMs, defer: (work) => void deferred.push(work) });
});

/** @returns what was thrown, as the loop tells it. */
function turn(): readonly unknown[] {
  const thrown: unknown[] = [];
  for (const work of deferred.splice(0))
    try {
      work();
    } catch (error) {
      thrown.push(error);
    }
  return thrown;
}

const named = (name: string, takesMs = 0) => ({
  name,
  job: () => {
    done.push(name);
    nowMs += takesMs;
  },
});
const run = (name: string, takesMs = 0) => turns.runCounted(named(name, takesMs).job);
const later = (name: string) => turns.later(named(name).job);
const fault = new Error("a bug");
const faulty = (name: string) => (): void => {
  done.push(name);
  throw fault;
};

test("the turns of one clock are one, and those of another are others", () => {
  const clock = { now: () => 0, defer: () => {} };
  expect(Turns.of(clock)).toBe(Turns.of(clock));
  expect(Turns.of({ ...clock })).not.toBe(Turns.of(clock));
});

test("a job runs at once while its turn has time, and not one more when the time is over", () => {
  run("most", hostLimits.turnMs - 1);
  expect(turns.hasTime).toBe(true);
  run("the rest", 1);
  expect(turns.hasTime).toBe(false);
  run("late");
  expect([done, turns.waiting]).toEqual([["most", "the rest"], 1]);
  turn();
  expect([done.at(-1), turns.waiting, turns.hasTime]).toEqual(["late", 0, true]);
});

test("what waits is done in its order, as much in a turn as it has time for, and nothing newer before it", () => {
  run("all of it", hostLimits.turnMs);
  for (const name of ["a", "b", "c"]) run(name, hostLimits.turnMs / 2);
  turn();
  expect(done.slice(1)).toEqual(["a", "b"]);
  run("d");
  turn();
  expect(done.slice(1)).toEqual(["a", "b", "c", "d"]);
});

test("a job that comes while others wait waits behind them, also where its turn has time", () => {
  run("all of it", hostLimits.turnMs);
  run("first", 1);
  later("next turn");
  turns.later(() => run("last"));
  turn();
  expect(done.slice(1)).toEqual(["next turn", "first", "last"]);
});

test("little that was spent costs no turn of its own; what is counted is forgotten with its turn", () => {
  turns.spend(hostLimits.uncountedTurnMs / 2);
  expect(deferred.length).toBe(0);
  turns.spend(hostLimits.uncountedTurnMs / 2);
  expect(deferred.length).toBe(1);
  turns.spend(hostLimits.turnMs);
  expect([deferred.length, turns.hasTime]).toEqual([1, false]);
  turn();
  expect([deferred.length, turns.hasTime]).toEqual([0, true]);
});

test("what is for the next turn comes then, time or not, in its order and once; what asks again comes after that", () => {
  turns.later(() => {
    turns.spend(hostLimits.turnMs);
    later("again");
  });
  later("b");
  expect(done).toEqual([]);
  turn();
  expect(done).toEqual(["b"]);
  turn();
  turn();
  expect(done).toEqual(["b", "again"]);
});

test("before jobs that wait come those who were promised this turn", () => {
  run("all of it", hostLimits.turnMs);
  run("a job");
  later("promised");
  turn();
  expect(done.slice(1)).toEqual(["promised", "a job"]);
});

describe("a bug in one", () => {
  test("of the jobs is told, counted, and keeps no other one from being done, once", () => {
    run("all of it", hostLimits.turnMs);
    run("before");
    turns.runCounted(() => {
      nowMs += 1;
      faulty("the bug")();
    });
    run("behind", hostLimits.turnMs - 1);
    run("too late");
    expect(turn()).toEqual([fault]);
    expect(turns.hasTime).toBe(true);
    expect(turn()).toEqual([]);
    turn();
    turn();
    expect(done.slice(1)).toEqual(["before", "the bug", "behind", "too late"]);
    expect([turns.waiting, deferred.length]).toEqual([0, 0]);
  });

  test("of those that wait for the next turn keeps neither others nor jobs from theirs", () => {
    run("all of it", hostLimits.turnMs);
    run("a job");
    later("a");
    turns.later(faulty("the bug"));
    later("b");
    expect(turn()).toEqual([fault]);
    expect(turn()).toEqual([]);
    expect(done.slice(1)).toEqual(["a", "the bug", "b", "a job"]);
    expect(deferred.length).toBe(0);
  });

  test("which is the last keeps no job from its turn", () => {
    run("all of it", hostLimits.turnMs);
    run("a job");
    turns.later(faulty("the bug"));
    expect(turn()).toEqual([fault]);
    turn();
    expect(done.slice(1)).toEqual(["the bug", "a job"]);
  });

  test("that runs at once is thrown to whoever asked, and its time is spent", () => {
    expect(() =>
      turns.runCounted(() => {
        nowMs += hostLimits.turnMs;
        throw fault;
      }),
    ).toThrow(fault);
    expect(turns.hasTime).toBe(false);
  });
});
