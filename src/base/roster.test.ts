import { edenGC, fullGC, heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { type Listed, notListed, Roster } from "./roster.ts";

class Member implements Listed {
  rosterAt = notListed;
}

test("it holds what a Set holds, whatever comes and goes", () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`roster seed ${seed}`);
  let state = seed;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return (state >>> 8) % limit;
  };
  const all = Array.from({ length: 50 }, () => new Member());
  const roster = new Roster<Member>();
  const set = new Set<Member>();
  for (let step = 0; step < 5_000; step++) {
    const member = all[below(all.length)];
    if (member === undefined) throw new Error("there is one");
    if (below(2) === 0) {
      roster.add(member);
      set.add(member);
    } else expect(roster.delete(member)).toBe(set.delete(member));
    expect(roster.has(member)).toBe(set.has(member));
    expect(roster.size).toBe(set.size);
  }
  expect(new Set(roster)).toEqual(set);
});

test("one that is on another roster is not on this one", () => {
  const [mine, theirs] = [new Roster<Member>(), new Roster<Member>()];
  const [a, b] = [new Member(), new Member()];
  mine.add(a);
  theirs.add(b);
  expect(mine.has(b)).toBe(false);
  expect(mine.delete(b)).toBe(false);
  expect([...theirs]).toEqual([b]);
});

test("members that are gone are garbage at once, not at the next collection of the whole heap", () => {
  const roster = new Roster<Member>();
  const open: Member[] = [];
  const rounds = 20;
  const perRound = 5_000;
  fullGC();
  const before = heapStats().objectCount;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < perRound; i++) {
      const member = new Member();
      roster.add(member);
      open.push(member);
      const oldest = open.length > 32 ? open.shift() : undefined;
      if (oldest !== undefined) roster.delete(oldest);
    }
    edenGC();
  }
  // A Set leaves three quarters of them.
  expect(heapStats().objectCount - before).toBeLessThan((rounds * perRound) / 20);
});
