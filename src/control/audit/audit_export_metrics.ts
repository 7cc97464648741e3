/** What is counted of the audit log's way to its receivers. */
import type { Counter, MetricRegistry } from "../../base/metrics.ts";
import type { AuditExportStatus } from "../records/audit.ts";

export interface AuditExportCounts {
  readonly rows: Counter;
  readonly failures: Counter;
  readonly lost: Counter;
  readonly refused: Counter;
  readonly breaks: Counter;
}

/** @param statuses of all receivers, now. @returns what one receiver counts by. */
export function auditExportMetrics(
  metrics: MetricRegistry,
  statuses: () => readonly AuditExportStatus[],
): (target: string) => AuditExportCounts {
  const counter = (name: string, help: string) =>
    metrics.counter(`fairlead_audit_export_${name}`, help, ["target"]);
  const rows = counter("rows", "Rows of the audit log that a receiver has taken, repeated ones included.");
  const failures = counter("failures", "Attempts to send rows of the audit log that failed.");
  const lost = counter("lost_rows", "Rows of the audit log that were removed before a receiver had them.");
  const refused = counter("refused_rows", "Rows of the audit log that a receiver has refused for good.");
  const breaks = counter("breaks", "Times that the audit log did not go on from the row that was sent last.");
  const waiting = metrics.gauge(
    "fairlead_audit_export_waiting_rows",
    "Rows of the audit log that a receiver does not have yet.",
    ["target"],
  );
  const failing = metrics.gauge(
    "fairlead_audit_export_failing",
    "1 while the audit log does not get to a receiver.",
    ["target"],
  );
  metrics.onCollect(() => {
    for (const status of statuses()) {
      waiting.with({ target: status.target }).set(status.waiting);
      failing.with({ target: status.target }).set(status.failing === null ? 0 : 1);
    }
  });
  return (target) => {
    const of = { target };
    return {
      rows: rows.with(of),
      failures: failures.with(of),
      lost: lost.with(of),
      refused: refused.with(of),
      breaks: breaks.with(of),
    };
  };
}
