import { expect, test } from "bun:test";
import { adminLimits } from "../../base/limits/admin.ts";
import type { LogEntry, LogFields } from "../../base/log.ts";
import { type TapFilter, Taps } from "./tap.ts";

const everything: TapFilter = { from: null, to: null, failed: false };

function bench() {
  const listeners = new Set<(entry: LogEntry) => void>();
  const taps = new Taps((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  });
  const say = (fields: LogFields, level: LogEntry["level"] = "info"): void => {
    for (const listener of listeners)
      listener({ wallMs: 0, level, target: "access", message: "connection complete", fields });
  };
  return { taps, say, listeners };
}

function opened(taps: Taps, filter: TapFilter = everything) {
  const gone = new AbortController();
  const stream = taps.open(filter, gone.signal);
  if (stream === null) throw new Error("no more taps");
  const reader = stream.getReader();
  const read = async (): Promise<readonly Record<string, unknown>[]> => {
    const { value } = await reader.read();
    return new TextDecoder()
      .decode(value)
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
  };
  return { read, cancel: () => reader.cancel(), gone, reader };
}

test("a record comes as soon as there is one, as the JSON log writes it", async () => {
  const { taps, say } = bench();
  const { read } = opened(taps);
  const first = read();
  say({ "src.workload": "frontend", "dst.identity": null, bytes_sent: 3 });
  expect(await first).toEqual([
    {
      level: "info",
      time: "1970-01-01T00:00:00.000Z",
      scope: "access",
      message: "connection complete",
      "src.workload": "frontend",
      bytes_sent: 3,
    },
  ]);
});

test("who does not read loses records, is told how many, and gets those that come later", async () => {
  const { taps, say } = bench();
  const slow = opened(taps);
  for (let at = 0; at < adminLimits.maxTapRecords + 7; at++) say({ at });
  const waiting = await slow.read();
  expect(waiting).toHaveLength(adminLimits.maxTapRecords + 1);
  expect([waiting.at(-2)?.at, waiting.at(-1)]).toEqual([adminLimits.maxTapRecords - 1, { dropped: 7 }]);
  say({ at: -1 });
  expect((await slow.read()).map((record) => record.at)).toEqual([-1]);
  // Long records fill another bound.
  const long = "x".repeat(adminLimits.maxTapChars / 4);
  for (let at = 0; at < 6; at++) say({ long });
  expect((await slow.read()).at(-1)).toEqual({ dropped: 2 });
  // What was read makes room again, for as much as before.
  for (let at = 0; at < 3; at++) say({ long });
  expect((await slow.read()).length).toBe(3);
});

test("as many may look on at one time as there are places; who leaves makes room, and is told no more", async () => {
  const { taps, listeners } = bench();
  const all = Array.from({ length: adminLimits.maxTaps }, () => opened(taps));
  const another = () => taps.open(everything, new AbortController().signal);
  expect(another()).toBeNull();
  await all[0]?.cancel();
  expect(listeners.size).toBe(adminLimits.maxTaps - 1);
  expect(another()).not.toBeNull();
  expect(another()).toBeNull();
  // A client that is gone has its place no longer, although nothing was written to it that could have failed.
  const read = all[1]?.reader.read();
  all[1]?.gone.abort();
  all[1]?.gone.abort();
  expect((await read)?.done).toBe(true);
  expect(listeners.size).toBe(adminLimits.maxTaps - 1);
  expect(another()).not.toBeNull();
  expect(another()).toBeNull();
});

test("filters by either party, by every name that it has, and by failure", async () => {
  const record = {
    "src.addr": "10.0.0.1:4000",
    "src.workload": "frontend",
    "src.namespace": "shop",
    "src.identity": "spiffe://cluster.local/ns/shop/sa/front",
    "dst.addr": "10.0.0.2:80",
    "dst.hbone_addr": "10.0.0.9:8080",
    "dst.service": "backend.shop",
    "dst.workload": "backend-v1",
    "dst.namespace": "store",
    "dst.identity": "spiffe://cluster.local/ns/store/sa/back",
  };
  const found = async (filter: Partial<TapFilter>, level: LogEntry["level"] = "info") => {
    const { taps, say } = bench();
    const { read } = opened(taps, { ...everything, ...filter });
    say(record, level);
    say({ "src.namespace": filter.from ?? "", "dst.namespace": filter.to ?? "", last: true }, "error");
    return (await read()).length === 2;
  };
  const source = ["shop", "shop/frontend", "frontend", record["src.identity"], "10.0.0.1", "10.0.0.1:4000"];
  const destination = [
    "store",
    "store/backend-v1",
    "backend-v1",
    "backend.shop",
    record["dst.identity"],
    "10.0.0.2",
    "10.0.0.2:80",
    "10.0.0.9",
  ];
  for (const from of source) {
    expect(await found({ from })).toBe(true);
    expect(await found({ to: from })).toBe(false);
  }
  for (const to of destination) {
    expect(await found({ to })).toBe(true);
    expect(await found({ from: to })).toBe(false);
  }
  for (const from of ["sho", "shop/front", "10.0.0", "10.0.0.1:400", "store/frontend"])
    expect(await found({ from })).toBe(false);
  expect(await found({ failed: true })).toBe(false);
  expect([await found({ failed: true }, "warn"), await found({ failed: true }, "error")]).toEqual([
    true,
    true,
  ]);
});
