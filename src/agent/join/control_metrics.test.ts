import { expect, test } from "bun:test";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import type { Clock } from "../../host/host.ts";
import { registerControlMetrics } from "./control_metrics.ts";
import type { ControlStatus } from "./control_status.ts";

const nowMs = 100_000;

/** Name → value of what is collected. */
function collected(status: unknown): Record<string, number> {
  const metrics = new MetricRegistry();
  registerControlMetrics(metrics, { wallMs: () => nowMs } as Clock, () => status as ControlStatus | null);
  const found: Record<string, number> = {};
  for (const line of writeMetrics(metrics, "prometheus").split("\n")) {
    const match = /^(fairlead_\w+?)(?:_total)?(?:\{\})? (\S+)$/.exec(line);
    if (match !== null) found[match[1]?.replace(/^fairlead_/, "") ?? ""] = Number(match[2]);
  }
  return found;
}

const xds = {
  connected: true,
  current: true,
  lastAnswerMs: 70_000,
  types: [{ refused: [{}, {}] }, { refused: [{}] }],
  attempts: 7,
};
const status = { xds, restoredFromMs: 40_000, node: { notAfterMs: 900_000 }, audit: { conflicts: [{}, {}] } };
const none = {
  control_connected: 0,
  control_current: 0,
  control_stale_seconds: 0,
  control_refused_resources: 0,
  node_certificate_expiry_seconds: 0,
  control_audit_conflicts: 0,
  control_streams: 0,
};

test("a host that follows its control plane", () => {
  expect(collected(status)).toEqual({
    control_connected: 1,
    control_current: 1,
    control_stale_seconds: 0,
    control_refused_resources: 3,
    node_certificate_expiry_seconds: 900,
    control_audit_conflicts: 2,
    control_streams: 7,
  });
});

test("one that has lost it, with a mesh of before, and one that never had an answer", () => {
  const lost = { ...status, xds: { ...xds, connected: false, current: false } };
  expect(collected(lost)).toMatchObject({
    control_connected: 0,
    control_current: 0,
    control_stale_seconds: 30,
  });
  const silent = { ...lost, xds: { ...lost.xds, lastAnswerMs: null }, node: null, audit: null };
  expect(collected(silent)).toMatchObject({
    control_stale_seconds: 60,
    node_certificate_expiry_seconds: 0,
    control_audit_conflicts: 0,
  });
  expect(collected({ ...silent, restoredFromMs: null }).control_stale_seconds).toBe(0);
  expect(collected({ ...silent, restoredFromMs: nowMs + 1 }).control_stale_seconds).toBe(0);
});

test("one that has none, or does not follow it yet", () => {
  expect(collected(null)).toEqual(none);
  expect(collected({ ...status, xds: null })).toEqual(none);
});
