import { describe, expect, test } from "bun:test";
import { stateLimits } from "../../base/limits/control.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { Room } from "./room.ts";
import { StateWorld } from "./testing/simulated_state.ts";

const maxBytes = 4 * 1024 * 1024;
const made = { atMs: 1, actor: "blue", action: "apply", detail: "" } as const;
const entry = {
  atMs: 1,
  actor: "blue",
  action: "documents.apply",
  target: "t",
  namespace: "blue",
  outcome: "ok",
  detail: "",
  before: null,
} as const;

function change(index: number, text: string | null) {
  const name = `d${index}`;
  const key = `ServiceEntry blue/${name}`;
  return { key, namespace: "blue", name, kind: "ServiceEntry", text, source: "f", line: 1, createdMs: 1 };
}

function revocation(index: number) {
  const value = `n${index}`;
  return {
    kind: "node",
    value,
    issuerKey: "",
    reason: "r",
    byWhom: "root",
    atMs: 1,
    expiresAtMs: null,
  } as const;
}

describe("a state that a tenant has filled with what it may write", () => {
  test("refuses documents and tokens; revokes, opens again, and takes documents once there is room", async () => {
    const w = new StateWorld();
    let state = await w.open({ maxBytes });
    const fill = (): void => {
      for (let index = 0; index < 1_000; index++)
        state.transaction(() => {
          const text = `${index}${"x".repeat(20_000)}`;
          state.documents.apply([change(index % 5, text)], made);
          state.audit.append({ ...entry, after: text });
        });
    };
    expect(fill).toThrow(expect.objectContaining({ code: "disk_full" }));
    const token = {
      id: "t",
      secretHash: new Uint8Array(32),
      binding: { kind: "node", node: "n" },
      expiresAtMs: 2,
      createdBy: "blue",
      byNamespace: "blue",
      replace: false,
    } as const;
    expect(() => state.tokens.create(token)).toThrow(expect.objectContaining({ code: "disk_full" }));
    const revoke = (from: number): void => {
      for (let index = from; index < from + 500; index++)
        state.transaction(() => {
          state.revocations.add(revocation(index));
          state.audit.append({ ...entry, namespace: null, actor: "root", after: null });
        });
    };
    revoke(0);
    w.restart();
    state = await w.open({ maxBytes });
    revoke(500);
    expect(state.revocations.list().length).toBe(1_000);
    expect(state.audit.verify()).toMatchObject({ intact: true });

    // The way to make room: the sweep does it by itself while room is short.
    for (let count = 0; count < 1_000 && state.makeRoom({ auditRows: 10, versions: 10 }); count++);
    expect(state.documents.count()).toBe(10);
    state.documents.apply([change(1, "y")], made);
    state.tokens.create(token);
    expect(state.check()).toEqual([]);
    expect(state.documents.current().documents.map(({ name }) => name)).toEqual([
      "d0",
      "d1",
      "d2",
      "d3",
      "d4",
    ]);
  });

  test("a tenant's rows keep no texts past its share; the bytes are counted as they come and go", async () => {
    const state = await new StateWorld().open();
    const text = "x".repeat(32_000);
    const rows = Math.ceil(stateLimits.auditTenantBytes / 2 / text.length) + 10;
    state.transaction(() => {
      for (let index = 0; index < rows; index++) state.audit.append({ ...entry, before: text, after: text });
      state.audit.append({ ...entry, namespace: "red", before: null, after: text });
    });
    expect(state.audit.bytes("blue")).toBeGreaterThan(stateLimits.auditTenantBytes);
    expect(state.audit.bytes("blue")).toBeLessThan(stateLimits.auditTenantBytes + 200_000);
    const [last] = state.audit.read({ limit: 1, namespace: "blue" });
    expect(last?.after).toContain("left out");
    expect(state.audit.read({ limit: 1, namespace: "red" })[0]?.after).toBe(text);
    for (let more = true; more; )
      more = state.audit.prune(1, "a", { keepBytes: 1024 * 1024 }) >= stateLimits.pruneRows;
    expect(state.audit.bytes()).toBeLessThan(4 * 1024 * 1024);
    expect(state.audit.verify()).toMatchObject({ intact: true });
  }, 300_000);
});

test("texts of earlier versions are forgotten by their bytes, and no version that is kept loses a document", async () => {
  const state = await new StateWorld().open();
  for (let index = 0; index < 60; index++)
    state.documents.apply([change(index % 7, index % 9 === 0 ? null : `${index}`.padEnd(1_000))], made);
  const before = new Map([55, 58, 60].map((version) => [version, state.documents.at(version)]));
  runSteps(state.documents.forgetInSteps({ maxBytes: 20_000 }));
  expect(state.documents.textBytes()).toBeLessThanOrEqual(20_000);
  expect(state.documents.count()).toBeGreaterThanOrEqual(stateLimits.minDocumentVersions);
  for (const [version, set] of before) expect(state.documents.at(version)).toEqual(set);
  expect(state.check()).toEqual([]);
});

test("of the whole bound a part is kept for what cannot wait, to the page", () => {
  const { maxDatabaseBytes, reservedDatabaseBytes } = stateLimits;
  const pageBytes = 4_096;
  const used = { pages: 0 };
  const database = {
    get: (sql: string) => ({
      [sql.slice("PRAGMA ".length)]: sql.endsWith("page_size")
        ? pageBytes
        : sql.endsWith("count")
          ? used.pages
          : 0,
    }),
    keepReserve: () => true,
  };
  // Free pages are none that are used.
  const counted = {
    ...database,
    get: (sql: string) => (sql.endsWith("freelist_count") ? { freelist_count: 0 } : database.get(sql)),
  };
  const room = new Room(
    counted as unknown as ConstructorParameters<typeof Room>[0],
    { now: () => 0 } as unknown as ConstructorParameters<typeof Room>[1],
    maxDatabaseBytes,
  );
  used.pages = (maxDatabaseBytes - reservedDatabaseBytes) / pageBytes;
  room.demand();
  used.pages++;
  expect(() => room.demand()).toThrow("the state is nearly full");
});

test("the reserve is for what cannot wait alone, and what can waits until there is one again", () => {
  let nowMs = 0;
  const disk = { isFull: true, hasReserve: true, asked: 0 };
  const database = {
    get: (sql: string) => ({ [sql.slice("PRAGMA ".length)]: 1 }),
    keepReserve: () => {
      disk.asked++;
      disk.hasReserve ||= !disk.isFull;
      return disk.hasReserve;
    },
    giveUpReserve: () => {
      const had = disk.hasReserve;
      disk.hasReserve = false;
      return had;
    },
  };
  const room = new Room(
    database as unknown as ConstructorParameters<typeof Room>[0],
    { now: () => nowMs } as unknown as ConstructorParameters<typeof Room>[1],
    stateLimits.maxDatabaseBytes,
  );
  // A document that finds the disk full takes no reserve from a revocation.
  room.demand();
  expect([room.giveUp(), disk.hasReserve]).toEqual([false, true]);
  room.ended();
  expect([room.giveUp(), disk.hasReserve]).toEqual([true, false]);
  // There was one, once.
  expect(room.giveUp()).toBe(false);
  const refusal = "the disk of the state is full";
  expect(() => room.demand()).toThrow(refusal);
  room.ended();
  disk.isFull = false;
  const { asked } = disk;
  nowMs = stateLimits.reserveRetryMs;
  expect(() => room.demand()).toThrow(refusal);
  expect(disk.asked).toBe(asked);
  nowMs++;
  room.demand();
  expect(disk.asked).toBe(asked + 1);
});
