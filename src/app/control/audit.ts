/** What keeps and proves the audit log: its signed heads, its receivers, and the archive of what is removed from the state. */

import type { MetricRegistry } from "../../base/metrics.ts";
import type { Watch } from "../../base/watch.ts";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { Archive } from "../../control/audit/archive.ts";
import { AuditExports } from "../../control/audit/audit_exports.ts";
import { AuditHeads } from "../../control/audit/audit_heads.ts";
import type { ControlState } from "../../control/state/control_state.ts";
import { sweep } from "../../control/state/sweep.ts";
import type { Host, TlsCredentials } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import type { Lifecycle } from "../lifecycle.ts";
import { versionFields } from "../version.ts";

export interface KeptAudit {
  readonly auditHeads: AuditHeads;
  readonly auditExports: AuditExports;
  /** Null where what is removed from the state is kept nowhere. */
  readonly archive: Archive | null;
}

export interface AuditContext {
  readonly host: Host;
  readonly config: ControlPlaneConfig;
  readonly logger: LogWriter;
  readonly life: Lifecycle;
  readonly provider: CryptoProvider;
  readonly metrics: MetricRegistry;
  readonly state: ControlState;
  readonly id: SpiffeId;
  /** By which others know this control plane. */
  readonly hostName: string;
  readonly credentials: Watch<TlsCredentials>;
  readonly rootsPem: () => string;
}

/** From here on rows whose time is over are removed, too. */
export async function keepAudit(context: AuditContext): Promise<KeptAudit> {
  const { host, config, logger, life, provider, metrics, state, id, hostName } = context;
  const { clock, files } = host;
  const auditHeads = await AuditHeads.start({
    clock,
    logger,
    files,
    provider,
    audit: state.audit,
    stateId: state.id,
    path: `${config.stateDirectory}/audit-heads.json`,
    credentials: context.credentials,
    id,
    rootsPem: context.rootsPem,
  });
  life.onStop(() => auditHeads.close());
  const auditExports = new AuditExports({
    host,
    logger,
    metrics,
    provider,
    state,
    targets: config.audit,
    hostName,
    version: versionFields(host.name).version ?? "unknown",
  });
  life.onStop(() => auditExports.close());
  state.holdAudit(() => auditExports.hold);
  const directory = config.audit.archivePath;
  const archive =
    directory === null ? null : new Archive({ clock, logger, files, metrics, state, directory });
  life.onStop(sweep(clock, archive ?? state, logger));
  return { auditHeads, auditExports, archive };
}
