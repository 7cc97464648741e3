import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { identityLimits } from "../../base/limits/control.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { grpcCode } from "../../wire/grpc/status.ts";
import type { AuditEntry } from "../records/audit.ts";
import { Refusals, type Refused } from "./refusals.ts";

const stranger: Refused = {
  action: "node.join",
  actor: "192.0.2.7",
  target: "edge-1",
  reason: "token_spent",
  detail: "token t1 is spent",
};
const known: Refused = {
  action: "certificate.create",
  actor: "node edge-2",
  target: "spiffe://mesh/ns/shop/sa/cart",
  reason: "not_here",
  detail: "no workload of it is there",
  namespace: "shop",
};

/** `{action="…",reason="…"} 3` of each series. */
function counted(metrics: MetricRegistry): readonly string[] {
  return [...metrics.collect()].flatMap((family) =>
    [...family.series()].map(
      ([labels, child]) => `${family.name}{${labels}} ${"value" in child ? child.value : ""}`,
    ),
  );
}

function bench() {
  const clock = new FakeClock(5_000_000);
  const metrics = new MetricRegistry();
  const lines: string[] = [];
  const rows = { known: [] as AuditEntry[], strangers: [] as AuditEntry[] };
  const disk = { isFull: false };
  const logOf = (to: AuditEntry[]) => ({
    append: (entry: AuditEntry) => {
      if (disk.isFull) throw new MeshError("io", "local", "no space left");
      to.push(entry);
    },
  });
  const refusals = new Refusals({
    clock,
    audit: logOf(rows.known),
    strangers: logOf(rows.strangers),
    logger: {
      log: (level, target, message, fields) =>
        void lines.push(`${level} ${target} ${message} ${JSON.stringify(fields)}`),
    },
    metrics,
  });
  const refuse = (refused: Refused) => refusals.refuse(grpcCode.permissionDenied, "no", refused);
  return { clock, metrics, lines, rows, disk, refusals, refuse };
}

describe("a refusal", () => {
  test("tells the caller nothing but a code, and the audit log all: of strangers in a place of their own", () => {
    const { rows, lines, refuse } = bench();
    const error = refuse(stranger);
    expect([error.code, error.message]).toEqual([grpcCode.permissionDenied, "no"]);
    refuse(known);
    expect(rows.strangers).toEqual([
      {
        atMs: 5_000_000,
        actor: "192.0.2.7",
        action: "node.join",
        target: "edge-1",
        namespace: null,
        outcome: "refused",
        detail: "token_spent: token t1 is spent",
        before: null,
        after: null,
      },
    ]);
    expect(rows.known).toEqual([
      {
        atMs: 5_000_000,
        actor: "node edge-2",
        action: "certificate.create",
        target: "spiffe://mesh/ns/shop/sa/cart",
        namespace: "shop",
        outcome: "refused",
        detail: "not_here: no workload of it is there",
        before: null,
        after: null,
      },
    ]);
    expect(lines[0]).toStartWith(
      'warn identity refused {"action":"node.join","actor":"192.0.2.7","target":"edge-1"',
    );
  });

  test("that failed says so", () => {
    const { rows, refuse } = bench();
    refuse({ ...known, outcome: "failed" });
    expect(rows.known[0]?.outcome).toBe("failed");
  });

  test("is counted always by action and reason, and written at a rate; the next one that is tells how many were not", async () => {
    const { clock, metrics, rows, refuse } = bench();
    const { burst, perSecond } = identityLimits.auditRate;
    for (let n = 0; n < burst + 3; n++) refuse(stranger);
    expect(rows.strangers).toHaveLength(burst);
    // Strangers use up nothing of what is known of others.
    refuse(known);
    expect(rows.known).toHaveLength(1);
    await clock.advance(1_000 / perSecond);
    refuse(stranger);
    refuse(stranger);
    expect(rows.strangers).toHaveLength(burst + 1);
    expect(rows.strangers.at(-1)?.detail).toBe(
      "token_spent: token t1 is spent (and 3 refusals before it were not written)",
    );
    await clock.advance(1_000 / perSecond);
    refuse(stranger);
    expect(rows.strangers.at(-1)?.detail).toEndWith("(and 1 refusals before it were not written)");
    await clock.advance(1_000 / perSecond);
    refuse(stranger);
    expect(rows.strangers.at(-1)?.detail).toBe("token_spent: token t1 is spent");
    expect(counted(metrics)).toEqual([
      `fairlead_control_refusals{action="node.join",reason="token_spent"} ${burst + 3 + 4}`,
      'fairlead_control_refusals{action="certificate.create",reason="not_here"} 1',
    ]);
  });

  test("is written as far as there is room for its reason", () => {
    const { rows, refuse } = bench();
    const { maxAuditDetailChars } = identityLimits;
    refuse({ ...known, detail: `${"d".repeat(maxAuditDetailChars - 1)}e` });
    refuse({ ...known, detail: `${"d".repeat(maxAuditDetailChars)}e` });
    expect(rows.known.map(({ detail }) => detail)).toEqual([
      `not_here: ${"d".repeat(maxAuditDetailChars - 1)}e`,
      `not_here: ${"d".repeat(maxAuditDetailChars)}`,
    ]);
  });

  test("that is an alarm is written whatever else was, and counted", () => {
    const { metrics, rows, refuse, refusals } = bench();
    for (let n = 0; n < identityLimits.auditRate.burst + 2; n++) refuse(known);
    const error = refusals.alarm(grpcCode.alreadyExists, "there is one", {
      ...known,
      action: "node.renew",
      reason: "twins",
    });
    expect([error.code, error.message]).toEqual([grpcCode.alreadyExists, "there is one"]);
    expect(rows.known.at(-1)).toMatchObject({ action: "node.renew" });
    expect(rows.known.at(-1)?.detail).toEndWith("(and 2 refusals before it were not written)");
    expect(counted(metrics)).toContain('fairlead_control_refusals{action="node.renew",reason="twins"} 1');
  });

  test("is no consent when the disk is full, and what could not be written is told later", () => {
    const { disk, rows, lines, refuse } = bench();
    for (let n = 0; n < identityLimits.auditRate.burst + 2; n++) refuse(known);
    disk.isFull = true;
    expect(refuse(stranger).code).toBe(grpcCode.permissionDenied);
    expect(lines.at(-1)).toBe(
      'error identity a refusal could not be written to the audit log {"cause":"no space left"}',
    );
    expect(rows.strangers).toEqual([]);
  });
});
