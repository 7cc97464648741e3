import { describe, expect, test } from "bun:test";
import { chainDigest, rowDigest } from "../../base/audit_chain.ts";
import { stateLimits } from "../../base/limits/control.ts";
import { sha256 } from "../../base/sha256.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Database } from "../../host/database.ts";
import type { AuditEntry } from "../records/audit.ts";
import { AuditLog } from "./audit.ts";
import { migrate } from "./migrations.ts";
import { migrations } from "./schema.ts";
import { StateWorld } from "./testing/simulated_state.ts";

function entry(fields: Partial<AuditEntry> = {}): AuditEntry {
  const base = {
    atMs: 1,
    actor: "alice",
    action: "documents.apply",
    target: "shop/a",
    outcome: "ok",
  } as const;
  return { ...base, detail: "", before: null, after: null, ...fields };
}

function open(): { database: Database; audit: AuditLog } {
  const w = new StateWorld();
  w.machine.disk.makeFolder("/s");
  const database = w.host.databases.open("/s/a.db", { applicationId: 1 });
  migrate(database, migrations);
  return { database, audit: new AuditLog(database) };
}

describe("the audit log", () => {
  test("answers in pages, by who, what and whose", () => {
    const { audit } = open();
    for (let n = 0; n < 10; n++)
      audit.append(
        entry({ actor: n % 2 === 0 ? "alice" : "bob", namespace: n < 5 ? "shop" : null, atMs: n }),
      );
    const ids = (found: readonly { readonly id: number }[]) => found.map(({ id }) => id);
    expect(ids(audit.read({ limit: 3 }))).toEqual([10, 9, 8]);
    expect(ids(audit.read({ limit: 3, beforeId: 8 }))).toEqual([7, 6, 5]);
    expect(ids(audit.read({ limit: 3, afterId: 4 }))).toEqual([5, 6, 7]);
    expect(ids(audit.read({ limit: 99, namespace: "shop", actor: "bob" }))).toEqual([4, 2]);
    expect(audit.read({ limit: 1 })[0]).toEqual({
      ...entry({ actor: "bob", namespace: null, atMs: 9 }),
      id: 10,
      namespace: null,
    });
    expect(audit.read({ limit: -1 })).toEqual([]);
    expect(audit.read({ limit: 9, action: "none" })).toEqual([]);
  });

  test("takes no change and no deletion, not even by a statement of ours", () => {
    const { database, audit } = open();
    audit.append(entry());
    expect(() => database.run("UPDATE audit SET actor = 'x'")).toThrow("the audit log is not changed");
    expect(() => database.run("DELETE FROM audit")).toThrow("the audit log is not deleted");
    expect(() =>
      database.run(
        "INSERT INTO audit SELECT 9, at_ms, actor, action, target, namespace, outcome, detail, before, after, hash FROM audit",
      ),
    ).toThrow("grows at its end");
    expect(() => database.run("UPDATE audit_start SET id = -1")).toThrow("earlier");
    expect(() => database.run("DELETE FROM audit_start")).toThrow("a beginning");
    expect(audit.verify()).toMatchObject({ intact: true, rows: 1 });
  });

  const tampering: readonly (readonly [name: string, sql: string, id: number])[] = [
    ["changed", "UPDATE audit SET outcome = 'refused' WHERE id = 3", 3],
    ["taken out", "DELETE FROM audit WHERE id = 3", 4],
    ["moved", "UPDATE audit SET id = 99 WHERE id = 5", 99],
    ["given another's text", "UPDATE audit SET before = after, after = before WHERE id = 2", 2],
    ["begun later", "UPDATE audit_start SET id = 1", 2],
  ];
  for (const [name, sql, id] of tampering) {
    test(`a row that was ${name} breaks the chain`, () => {
      const { database, audit } = open();
      for (let n = 0; n < 5; n++) audit.append(entry({ after: `text ${n}` }));
      expect(audit.verify()).toMatchObject({ intact: true, rows: 5 });
      for (const trigger of ["audit_is_not_changed", "audit_is_not_deleted"])
        database.script(`DROP TRIGGER ${trigger}`);
      database.script(sql);
      expect(audit.verify()).toMatchObject({ intact: false, id });
    });
  }

  test("rows cut off at the end are known by a head kept elsewhere", () => {
    const { database, audit } = open();
    for (let n = 0; n < 3; n++) audit.append(entry());
    const head = audit.head();
    expect(audit.verify(head)).toMatchObject({ intact: true, head });
    database.script("DROP TRIGGER audit_is_not_deleted; DELETE FROM audit WHERE id = 3");
    expect(audit.verify()).toMatchObject({ intact: true });
    expect(audit.verify(head)).toEqual({ intact: false, id: 3, reason: "rows 3 to 3 are cut off" });
    audit.append(entry({ actor: "mallory" }));
    expect(audit.verify(head)).toMatchObject({ intact: false, id: 3 });
  });

  test("two heads of one row that differ were of two logs, whichever is in this one", () => {
    const { audit } = open();
    for (let n = 0; n < 5; n++) audit.append(entry());
    const head = audit.head();
    const other = { ...head, hash: "ab".repeat(32) };
    for (const heads of [
      [head, other],
      [other, head],
    ])
      expect(runSteps(audit.verifyInSteps(heads))).toMatchObject({
        intact: false,
        reason: expect.stringContaining("two signed heads name row 5"),
      });
  });

  test("the oldest can be pruned, which is a row itself, and the chain still holds", () => {
    const { audit } = open();
    for (let n = 0; n < 20; n++) audit.append(entry());
    expect(audit.prune(7, "fairlead", { keepRows: 5 })).toBe(15);
    expect(audit.read({ limit: 99 }).map(({ id }) => id)).toEqual([21, 20, 19, 18, 17, 16]);
    expect(audit.read({ limit: 1 })[0]).toMatchObject({ action: "audit.prune", atMs: 7, actor: "fairlead" });
    expect(audit.verify()).toMatchObject({ intact: true, rows: 6 });
    expect(audit.prune(8, "fairlead", { keepRows: 5 })).toBe(1);
    expect(audit.prune(8, "fairlead", { keepRows: 50 })).toBe(0);
    audit.append(entry());
    expect(audit.verify()).toMatchObject({ intact: true });
  });

  test("half of a surrogate pair, a caller's or of a text that was cut, does not break the chain; nor does a NUL", () => {
    for (const text of [
      "\ud800",
      "\udc00x",
      "a\0b",
      "\ufeff",
      `${"x".repeat(stateLimits.maxAuditTextLength - 1)}𝄞𝄞`,
    ]) {
      const { audit } = open();
      const texts = { actor: text, target: text, detail: text, before: text, after: text };
      audit.append(entry({ ...texts, namespace: text.slice(0, 10) }));
      audit.append(entry());
      expect(audit.verify()).toMatchObject({ intact: true, rows: 2 });
      expect(audit.read({ limit: 1, beforeId: 2 })[0]?.actor).toBe(text.toWellFormed());
    }
  });

  test("rows of the first programs, which had no digests, are in one chain with those of now", () => {
    const w = new StateWorld();
    w.machine.disk.makeFolder("/s");
    const database = w.host.databases.open("/s/a.db", { applicationId: 1 });
    const digests = migrations.findIndex(({ name }) => name === "digests of audit rows");
    migrate(database, migrations.slice(0, digests));
    let hash = new Uint8Array(32);
    for (let id = 1; id <= 3; id++) {
      const row = [id, 1, "alice", "x", "t", null, "ok", `did ${id}`, null, null];
      hash = new Uint8Array(sha256(hash, new TextEncoder().encode(JSON.stringify(row))));
      database.run(
        "INSERT INTO audit (id, at_ms, actor, action, target, outcome, detail, hash) VALUES (?, 1, 'alice', 'x', 't', 'ok', ?, ?)",
        id,
        `did ${id}`,
        hash,
      );
    }
    migrate(database, migrations);
    const audit = new AuditLog(database);
    const old = { id: 3, hash: hash.toHex() };
    audit.append(entry({ detail: "by the program of now" }));
    expect(audit.verify(old)).toMatchObject({ intact: true, rows: 4 });
    expect(audit.digestsAfterId).toBe(3);
    const { sinceId, sinceHash, digests: all } = runSteps(audit.proofInSteps(3, 4));
    expect([sinceId, sinceHash, chainDigest(hash, all).toHex()]).toEqual([3, old.hash, audit.head().hash]);
  });

  test("rows that are pruned while digests of them are read make no proof with a hole", () => {
    const { audit } = open();
    for (let n = 0; n < 300; n++) audit.append(entry({ detail: "x".repeat(1_000) }));
    const steps = audit.proofInSteps(10, 300);
    steps.next();
    audit.prune(1, "fairlead", { keepRows: 5 });
    expect(() => runSteps(steps)).toThrow("rows were removed while they were read");
    expect(runSteps(audit.proofInSteps(10, 300)).sinceId).toBe(audit.start().id);
  });

  test("a digest says nothing of its row to who guesses it", () => {
    const { audit } = open();
    audit.append(entry());
    const [row] = audit.page(0, 1);
    if (row === undefined) throw new Error("a row");
    const { digests } = runSteps(audit.proofInSteps(0, 1));
    expect(digests.toHex()).not.toBe(rowDigest(row.entry, new Uint8Array()).toHex());
    expect(row.salt === null ? "" : rowDigest(row.entry, row.salt).toHex()).toBe(digests.toHex());
    // Another state's salts are others.
    const other = open().audit;
    other.append(entry());
    expect(other.page(0, 1)[0]?.salt).not.toEqual(row.salt);
  });

  test("a long text is kept in part, with the hash of it all", () => {
    const { audit } = open();
    audit.append(entry({ after: "x".repeat(stateLimits.maxAuditTextLength) }));
    audit.append(entry({ after: "x".repeat(stateLimits.maxAuditTextLength + 1) }));
    const [longer, long] = audit.read({ limit: 2 });
    expect(long?.after?.length).toBe(stateLimits.maxAuditTextLength);
    expect(longer?.after).toMatch(/… 1 characters more; SHA-256 of it all [0-9a-f]{64}$/);
    expect(audit.verify()).toMatchObject({ intact: true });
  });
});
