import { describe, expect, test } from "bun:test";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { CallAudit, type CallEntry } from "./call_audit.ts";

function bench() {
  const clock = new FakeClock(1_000_000);
  const told: CallEntry[] = [];
  return { clock, told, audit: new CallAudit(clock, { append: (entry) => void told.push(entry) }) };
}

describe("what a caller does again and again", () => {
  test("is told once in a while, with how often it was; another caller, action, target or outcome is told by itself", async () => {
    const { clock, told, audit } = bench();
    for (let n = 0; n < 3; n++) audit.granted("uid 7", "secret.get", "default");
    audit.granted("uid 8", "secret.get", "default");
    audit.granted("uid 7", "secret.watch", "default");
    audit.granted("uid 7", "secret.get", "ROOTCA");
    audit.refused("uid 7", "secret.get", "default", "it is not for this caller");
    expect(
      told.map(({ actor, action, target, outcome, detail }) => [actor, action, target, outcome, detail]),
    ).toEqual([
      ["uid 7", "secret.get", "default", "ok", ""],
      ["uid 8", "secret.get", "default", "ok", ""],
      ["uid 7", "secret.watch", "default", "ok", ""],
      ["uid 7", "secret.get", "ROOTCA", "ok", ""],
      ["uid 7", "secret.get", "default", "refused", "it is not for this caller"],
    ]);
    expect(told[0]).toMatchObject({ atMs: 1_000_000, before: null, after: null });
    await clock.advance(workloadApiLimits.auditIntervalMs - 1);
    audit.granted("uid 7", "secret.get", "default");
    audit.refused("uid 7", "secret.get", "default", "it is not for this caller");
    expect(told).toHaveLength(5);
    await clock.advance(1);
    audit.granted("uid 7", "secret.get", "default");
    audit.refused("uid 7", "secret.get", "default", "there is none");
    audit.granted("uid 8", "secret.get", "default");
    expect(told.slice(5).map(({ detail }) => detail)).toEqual([
      "3 more before this",
      "there is none; 1 more before this",
      "",
    ]);
  });

  test("is counted for so many callers; past that the one that was told longest ago is forgotten", async () => {
    const { clock, told, audit } = bench();
    const { maxAuditKeys, auditIntervalMs } = workloadApiLimits;
    const call = (uid: number): number => {
      audit.granted(`uid ${uid}`, "secret.get", "default");
      return told.length;
    };
    for (let uid = 0; uid < maxAuditKeys; uid++) call(uid);
    expect([call(0), call(1)]).toEqual([maxAuditKeys, maxAuditKeys]);
    // Told again, it is not the one that was told longest ago any more.
    await clock.advance(auditIntervalMs);
    expect(call(0)).toBe(maxAuditKeys + 1);
    expect(call(maxAuditKeys)).toBe(maxAuditKeys + 2);
    expect(told.at(-2)?.detail).toBe("1 more before this");
    expect(call(0)).toBe(maxAuditKeys + 2);
    expect(call(1)).toBe(maxAuditKeys + 3);
    expect(told.at(-1)?.detail).toBe("");
  });
});
