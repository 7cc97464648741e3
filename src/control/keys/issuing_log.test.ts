import { describe, expect, test } from "bun:test";
import { keysLimits } from "../../base/limits/control.ts";
import type { IssuedRow } from "../records/keys.ts";
import { type IssuingEntry, IssuingLog } from "./issuing_log.ts";
import { MemoryRecords } from "./testing/memory_records.ts";

function setUp() {
  const { certificates } = new MemoryRecords();
  const deferred: (() => void)[] = [];
  const writes: number[] = [];
  let recorded = 0;
  const log = new IssuingLog(
    { defer: (callback) => void deferred.push(callback) },
    {
      record: (row) => {
        certificates.record(row);
        recorded++;
      },
      atOnce: (work) => {
        recorded = 0;
        certificates.atOnce(work);
        writes.push(recorded);
      },
    },
  );
  const turn = () => {
    for (const callback of deferred.splice(0)) callback();
  };
  return { certificates, log, turn, writes, deferred };
}

function entry(serial: string, refusal: () => Error | null = () => null): IssuingEntry {
  const row: IssuedRow = {
    serial,
    identity: "spiffe://a/ns/b/sa/c",
    issuerKey: "key",
    notBeforeMs: 0,
    notAfterMs: 10,
    requestedBy: "edge-1",
    issuedAtMs: 0,
  };
  return { row, refusal };
}

const endings = async (recording: readonly Promise<void>[]): Promise<readonly string[]> =>
  (await Promise.allSettled(recording)).map((one) =>
    one.status === "fulfilled" ? "recorded" : String(one.reason),
  );

describe("what is issued", () => {
  test("alone is written at once", async () => {
    const { log, writes, certificates, turn } = setUp();
    const recording = log.record(Promise.resolve(entry("01")));
    await Bun.sleep(1);
    expect([writes, certificates.bySerial("01")?.serial]).toEqual([[1], "01"]);
    await recording;
    turn();
    expect(writes).toEqual([1]);
  });

  test("together is written together, and no caller is answered before", async () => {
    const { log, writes, turn, certificates, deferred } = setUp();
    const slow = Promise.withResolvers<IssuingEntry>();
    const told: string[] = [];
    const recording = [
      ...["01", "02", "03"].map((serial) => Promise.resolve(entry(serial))),
      slow.promise,
    ].map((signing, index) => log.record(signing).then(() => void told.push(String(index))));
    await Bun.sleep(1);
    expect([told, writes, deferred.length]).toEqual([[], [], 1]);
    // A slow one holds no other up.
    turn();
    expect(["01", "02", "03"].map((serial) => certificates.bySerial(serial)?.serial)).toEqual([
      "01",
      "02",
      "03",
    ]);
    await Bun.sleep(1);
    expect([told, writes]).toEqual([["0", "1", "2"], [3]]);
    slow.resolve(entry("04"));
    await Promise.all(recording);
    expect(writes).toEqual([3, 1]);
  });

  test("that is refused meanwhile takes no other with it", async () => {
    const { log, certificates } = setUp();
    const refused = entry("02", () =>
      certificates.bySerial("01") === null ? null : new Error("one too many"),
    );
    const recording = [entry("01"), refused, entry("03")].map((one) => log.record(Promise.resolve(one)));
    expect(await endings(recording)).toEqual(["recorded", "Error: one too many", "recorded"]);
    expect([certificates.bySerial("02"), certificates.bySerial("03")?.serial]).toEqual([null, "03"]);
  });

  test("and cannot be written is never answered as issued, and the next one is", async () => {
    const { log, certificates, writes } = setUp();
    const full = (): Error | null => {
      throw new Error("disk full");
    };
    const recording = [entry("01"), entry("02", full), entry("03")].map((one) =>
      log.record(Promise.resolve(one)),
    );
    expect(await endings(recording)).toEqual(Array.from({ length: 3 }, () => "Error: disk full"));
    expect(certificates.all({})).toEqual([]);
    await log.record(Promise.resolve(entry("04")));
    expect(writes).toEqual([1]);
  });

  test("by a signer that fails is nothing, and holds up nothing", async () => {
    const { log, writes } = setUp();
    expect(await endings([log.record(Promise.reject(new Error("no key")))])).toEqual(["Error: no key"]);
    await log.record(Promise.resolve(entry("01")));
    expect(writes).toEqual([1]);
  });

  test("by a crowd is written in groups of a bounded size", async () => {
    const { log, writes } = setUp();
    const never = new Promise<IssuingEntry>(() => {});
    void log.record(never);
    const count = keysLimits.recordsPerWrite * 2;
    const recording = Array.from({ length: count }, (_, index) =>
      log.record(Promise.resolve(entry(index.toString(16)))),
    );
    await Bun.sleep(1);
    expect(writes).toEqual([keysLimits.recordsPerWrite, keysLimits.recordsPerWrite]);
    await Promise.all(recording);
  });
});

test("what cannot be written down is not issued: the record goes with it, and its caller is told", async () => {
  const { certificates } = new MemoryRecords();
  const told: string[][] = [];
  let isFull = true;
  const log = new IssuingLog({ defer: queueMicrotask }, certificates, (rows) => {
    if (isFull) throw new Error("no room");
    told.push(rows.map(({ serial }) => serial));
  });
  expect(await log.record(Promise.resolve(entry("1"))).catch(({ message }) => message)).toBe("no room");
  isFull = false;
  const refused = entry("3", () => new Error("revoked"));
  await Promise.allSettled([log.record(Promise.resolve(entry("2"))), log.record(Promise.resolve(refused))]);
  expect(told).toEqual([["2"]]);
  // Of a write that records nothing there is nothing to tell.
  await Promise.allSettled([log.record(Promise.resolve(refused))]);
  expect(told).toEqual([["2"]]);
});
