/** How a host stands with its control plane, as metrics; read when they are collected. */
import type { MetricRegistry } from "../../base/metrics.ts";
import type { Clock } from "../../host/host.ts";
import type { ControlStatus } from "./control_status.ts";

export function registerControlMetrics(
  metrics: MetricRegistry,
  clock: Clock,
  read: () => ControlStatus | null,
): void {
  const gauge = (name: string, help: string) => metrics.gauge(name, help, []).with({});
  const connected = gauge(
    "fairlead_control_connected",
    "1 while a stream to the control plane is open and has answered",
  );
  const current = gauge(
    "fairlead_control_current",
    "1 while the mesh is what the control plane has; 0: as it was last known",
  );
  const staleFor = gauge("fairlead_control_stale_seconds", "How long the mesh has not been current");
  const refused = gauge(
    "fairlead_control_refused_resources",
    "Resources of the control plane that could not be taken",
  );
  const expiry = gauge(
    "fairlead_node_certificate_expiry_seconds",
    "When this host's own certificate ends, since the Unix epoch; 0 without one",
  );
  const conflicts = gauge(
    "fairlead_control_audit_conflicts",
    "Times that the control plane's audit log was not the one that this host knew, newest 16",
  );
  const attempts = metrics
    .counter("fairlead_control_streams", "Streams to the control plane that were tried", [])
    .with({});
  metrics.onCollect(() => {
    const status = read();
    const xds = status?.xds ?? null;
    if (status === null || xds === null) return;
    connected.set(xds.connected ? 1 : 0);
    current.set(xds.current ? 1 : 0);
    const sinceMs = xds.connected ? null : (xds.lastAnswerMs ?? status.restoredFromMs);
    staleFor.set(sinceMs === null ? 0 : Math.max(0, clock.wallMs() - sinceMs) / 1000);
    refused.set(xds.types.reduce((sum, type) => sum + type.refused.length, 0));
    expiry.set(status.node === null ? 0 : status.node.notAfterMs / 1000);
    conflicts.set(status.audit?.conflicts.length ?? 0);
    attempts.add(xds.attempts - attempts.value);
  });
}
