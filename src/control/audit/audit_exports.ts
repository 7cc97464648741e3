/** The audit log to all of its receivers, each at its own pace: one that is away holds up no other. */
import type { Logger } from "../../base/log.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import type { Host } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import type { AuditExportStatus } from "../records/audit.ts";
import type { AuditHold, AuditLog } from "../state/audit.ts";
import type { Room } from "../state/room.ts";
import type { Settings } from "../state/settings.ts";
import { AuditExport, type AuditSink } from "./audit_export.ts";
import { auditExportMetrics } from "./audit_export_metrics.ts";
import { FileSink } from "./file_sink.ts";
import { OtlpSink, type OtlpTarget } from "./otlp_sink.ts";
import { SyslogSink, type SyslogTarget } from "./syslog_sink.ts";

export interface AuditTargets {
  readonly filePath: string | null;
  readonly syslog: SyslogTarget | null;
  readonly otlp: OtlpTarget | null;
}

export interface AuditExportsOptions {
  readonly host: Pick<Host, "clock" | "files" | "http" | "net" | "process" | "random">;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly provider: CryptoProvider;
  readonly state: {
    readonly id: string;
    readonly audit: AuditLog;
    readonly settings: Settings;
    readonly room: Pick<Room, "demand">;
  };
  readonly targets: AuditTargets;
  /** By which others know this control plane. */
  readonly hostName: string;
  /** Of this program. */
  readonly version: string;
}

export class AuditExports {
  readonly #exports: readonly AuditExport[];

  constructor(options: AuditExportsOptions) {
    const { host, logger, metrics, state } = options;
    const { clock, random } = host;
    const countsOf = auditExportMetrics(metrics, () => this.status);
    this.#exports = sinksOf(options).map(
      (sink) =>
        new AuditExport({
          clock,
          random,
          logger,
          audit: state.audit,
          settings: state.settings,
          demandRoom: () => state.room.demand(),
          sink,
          counts: countsOf(sink.target),
        }),
    );
  }

  get status(): readonly AuditExportStatus[] {
    return this.#exports.map((one) => one.status);
  }

  /** What pruning is to leave for receivers. */
  get hold(): AuditHold | null {
    const held = this.#exports.map(({ keptId, target }) => ({ afterId: keptId, waitsFor: target }));
    return held.reduce<AuditHold | null>(
      (least, one) => (least === null || one.afterId < least.afterId ? one : least),
      null,
    );
  }

  async close(): Promise<void> {
    await Promise.all(this.#exports.map((one) => one.close()));
  }
}

function sinksOf({
  host,
  provider,
  state,
  targets,
  hostName,
  version,
}: AuditExportsOptions): readonly AuditSink[] {
  const { clock, files, net, http, process } = host;
  const { filePath, syslog, otlp } = targets;
  const stateId = state.id;
  const origin = { hostName, pid: process.pid, stateId };
  return [
    ...(filePath === null ? [] : [new FileSink(files, filePath, stateId)]),
    ...(syslog === null ? [] : [new SyslogSink({ clock, net, files, provider, target: syslog, origin })]),
    ...(otlp === null ? [] : [new OtlpSink({ http, files, target: otlp, stateId, version, hostName })]),
  ];
}
