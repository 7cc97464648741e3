/** Rows whose time in the state is over: looked at first, so that they can be written elsewhere, and then removed, just these. */
import { stateLimits } from "../../base/limits/control.ts";
import type { IssuedCertificate } from "../records/certificates.ts";
import type { Revocation } from "../records/revocations.ts";
import type { StoredToken } from "../records/tokens.ts";
import type { AuditDue, AuditKept, AuditLog } from "./audit.ts";
import type { Certificates } from "./certificates.ts";
import type { Revocations } from "./revocations.ts";
import type { Tokens } from "./tokens.ts";

/** `ControlState` is one. */
interface State {
  readonly audit: AuditLog;
  readonly certificates: Certificates;
  readonly revocations: Revocations;
  readonly tokens: Tokens;
  dueAudit(kept: AuditKept): AuditDue | null;
  transaction<T>(work: () => T): T;
}

export interface DueRows {
  readonly audit: AuditDue | null;
  readonly certificates: readonly IssuedCertificate[];
  readonly revocations: readonly Revocation[];
  readonly tokens: readonly StoredToken[];
}

export interface Kept {
  readonly audit: AuditKept;
  /** How long certificates are remembered after their end. */
  readonly certificateMs: number;
}

/** At most `stateLimits.pruneRows` of each kind, the oldest first. */
export function dueRows(state: State, nowMs: number, { audit, certificateMs }: Kept): DueRows {
  return {
    audit: bounded(state.audit, state.dueAudit(audit)),
    certificates: state.certificates.due(nowMs, certificateMs),
    revocations: state.revocations.due(nowMs),
    tokens: state.tokens.due(nowMs),
  };
}

/** No more rows than may be in memory at one time. */
function bounded(audit: AuditLog, due: AuditDue | null): AuditDue | null {
  if (due === null) return null;
  let { startId: endId } = due;
  for (let pages = 0; pages < stateLimits.archivePages && endId < due.endId; pages++)
    endId = audit.page(endId, stateLimits.archivePageChars).at(-1)?.entry.id ?? due.endId;
  return { ...due, endId: Math.min(endId, due.endId) };
}

/** @returns how many, of all kinds. */
export function countRows({ audit, certificates, revocations, tokens }: DueRows): number {
  const rows = audit === null ? 0 : audit.endId - audit.startId;
  return rows + certificates.length + revocations.length + tokens.length;
}

/** Whether there are as many of one kind as are looked at, and more most likely. */
export function isFull({ audit, certificates, revocations, tokens }: DueRows): boolean {
  const rows = audit === null ? 0 : audit.endId - audit.startId;
  const hasMore = audit !== null && audit.endId < audit.wantedId;
  const counts = [rows, certificates.length, revocations.length, tokens.length];
  return hasMore || counts.some((count) => count >= stateLimits.pruneRows);
}

/** All of them or none, with `alongside` in the same transaction. */
export function removeRows(
  state: State,
  { audit, certificates, revocations, tokens }: DueRows,
  nowMs: number,
  alongside: () => void,
): void {
  state.transaction(() => {
    alongside();
    if (audit !== null) state.audit.pruneTo(audit, nowMs, "fairlead");
    state.certificates.removeAll(certificates);
    state.revocations.removeAll(revocations);
    state.tokens.removeAll(tokens);
  });
}
