import { edenGC, fullGC, heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import type { H2StreamEvents } from "./stream.ts";
import { type StreamOwner, StreamState } from "./stream_state.ts";
import { ended, StreamTable } from "./stream_table.ts";

const owner: StreamOwner = {
  highWaterBytes: 1,
  sendHeaders: () => {},
  sendQueued: () => {},
  consumed: () => {},
  resetByUser: () => {},
};
const events: H2StreamEvents = {
  onHeaders: () => {},
  onData: () => {},
  onTrailers: () => {},
  onReset: () => {},
  onWritable: () => {},
  onClose: () => {},
};
const streamOf = (id: number) => new StreamState(owner, id, events, 1, 1);

describe("streams that are open", () => {
  test("are those of a Map, whatever numbers a peer skips", () => {
    const seed = Math.floor(Math.random() * 2 ** 31);
    console.log(`stream table seed ${seed}`);
    let state = seed;
    const below = (limit: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
      return (state >>> 8) % limit;
    };
    // Next to each other, far apart, and all of them at one place of a small table.
    for (const step of [() => 2, () => 2 + 2 * below(1_000), () => 1 << 12]) {
      const table = new StreamTable(16);
      const map = new Map<number, StreamState>();
      for (let id = 1, turn = 0; turn < 3_000; turn++, id += step()) {
        const stream = streamOf(id);
        table.add(stream);
        map.set(id, stream);
        while (map.size > below(60)) {
          const gone = [...map.keys()][below(map.size)] ?? 0;
          table.close(gone, ended.normally);
          map.delete(gone);
        }
        expect(table.openCount).toBe(map.size);
        for (const [known, value] of map) expect(table.get(known)).toBe(value);
        expect(table.get(id + 2)).toBeUndefined();
      }
      expect(table.values()).toEqual([...map.values()]);
      expect(table.takeAll()).toEqual([...map.values()]);
      expect(table.openCount).toBe(0);
      expect(table.get(1)).toBeUndefined();
    }
  });

  test("one that is closed and was never opened changes nothing", () => {
    const table = new StreamTable(16);
    table.close(5, ended.resetByUs);
    table.add(streamOf(7));
    table.close(9, ended.resetByUs);
    expect(table.openCount).toBe(1);
    expect(table.howEnded(5)).toBe(ended.resetByUs);
  });

  test("those that are over are garbage at once, not at the next collection of the whole heap", () => {
    const table = new StreamTable(16);
    const rounds = 20;
    const perRound = 5_000;
    let id = 1;
    fullGC();
    const before = heapStats().objectCount;
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < perRound; i++, id += 2) {
        table.add(streamOf(id));
        if (table.openCount > 32) table.close(id - 64, ended.normally);
      }
      edenGC();
    }
    // A Map leaves three quarters of them.
    expect(heapStats().objectCount - before).toBeLessThan((rounds * perRound) / 20);
  });
});
