/** A back-up in place of a state, while no control plane runs on it. */
import { MeshError } from "../../base/errors.ts";
import type { Database } from "../../host/database.ts";
import type { AuditHead } from "../records/audit.ts";
import { AuditLog } from "./audit.ts";
import { type CarriedOver, carryOver } from "./carry_over.ts";
import type { StateHost } from "./control_state.ts";
import { DocumentVersions } from "./document_versions.ts";
import { schemaVersion } from "./migrations.ts";
import { migrations } from "./schema.ts";
import { Settings } from "./settings.ts";
import { applicationId, readMarker, statePaths, writeMarker } from "./state_files.ts";

/** What a back-up holds, so that an operator can tell whether it is the right one. */
export interface BackupSummary {
  readonly stateId: string;
  readonly schemaVersion: number;
  readonly documentVersion: number;
  readonly auditHead: AuditHead;
  /** Of the newest audit row; null when there is none. */
  readonly lastAuditMs: number | null;
}

/** What is in place now. */
export interface RestoreSummary extends BackupSummary {
  readonly carriedOver: CarriedOver;
}

export interface RestoreOptions {
  /** Replaces a state that is there; without it that is refused. */
  readonly overwrite?: boolean;
}

/** Reads all of it: pages, indexes, constraints, the audit chain. @throws MeshError `database_missing`, `database_damaged`, `database_version`, `io`. */
export function inspectBackup(host: Pick<StateHost, "databases">, path: string): BackupSummary {
  return withBackup(host, path, (backup) => summarize(backup, path));
}

/**
 * The back-up is read through first, and put in place by a rename. Killed in between, the old state or the new one is there. What
 * was revoked in the state that it replaces stays revoked, and its join tokens end.
 *
 * @throws MeshError as `inspectBackup`; `database_locked` when a control plane runs on the state; `configuration` when there is one
 *   and `overwrite` was not asked for.
 */
export async function restore(
  host: StateHost,
  backupPath: string,
  directory: string,
  { overwrite = false }: RestoreOptions = {},
): Promise<RestoreSummary> {
  const paths = statePaths(directory);
  const summary = inspectBackup(host, backupPath);
  await host.files.makeDirectory(directory, 0o700);
  const isThere = await host.files.exists(paths.database);
  if ((isThere || (await host.files.exists(paths.marker))) && !overwrite) {
    throw new MeshError(
      "configuration",
      "local",
      `${directory} already has a state; use --overwrite to replace it`,
    );
  }
  const staged = `${paths.database}.restoring`;
  await removeDatabase(host, staged);
  withBackup(host, backupPath, (backup) => backup.backup(staged, { replace: true }));
  const carriedOver = takeOver(host, staged, isThere ? paths.database : null);
  if (isThere) await removeLogs(host, paths.database);
  withBackup(host, staged, (whole) => whole.backup(paths.database, { replace: true }));
  await removeDatabase(host, staged);
  const marker = await readMarker(host.files, paths.marker).catch(() => null);
  if (marker !== summary.stateId) await writeMarker(host.files, paths.marker, summary.stateId);
  return { ...summary, carriedOver };
}

/** @param replacedPath of the old state; opening it makes sure that no control plane runs on it, and closing folds its log in. */
function takeOver(host: StateHost, stagedPath: string, replacedPath: string | null): CarriedOver {
  const replaced = replacedPath === null ? null : openReplaced(host, replacedPath);
  try {
    const staged = host.databases.open(stagedPath, { mode: "existing", applicationId });
    try {
      return carryOver(staged, replaced, host.clock.wallMs());
    } finally {
      staged.close();
    }
  } finally {
    replaced?.close();
  }
}

/** A state that is damaged cannot be opened. */
function openReplaced(host: StateHost, path: string): Database | null {
  try {
    return host.databases.open(path, { mode: "create", applicationId });
  } catch (thrown) {
    if (thrown instanceof MeshError && thrown.code === "database_damaged") return null;
    throw thrown;
  }
}

async function removeDatabase(host: StateHost, path: string): Promise<void> {
  await host.files.remove(path);
  await removeLogs(host, path);
}

/** SQLite would take a log that is left for the new file's; a damaged state's is as lost as it is. */
async function removeLogs(host: StateHost, path: string): Promise<void> {
  for (const suffix of ["-wal", "-shm", "-journal"]) await host.files.remove(`${path}${suffix}`);
}

function withBackup<T>(host: Pick<StateHost, "databases">, path: string, use: (backup: Database) => T): T {
  const backup = host.databases.open(path, { mode: "readOnly", applicationId });
  try {
    return use(backup);
  } finally {
    backup.close();
  }
}

function summarize(backup: Database, path: string): BackupSummary {
  const version = schemaVersion(backup);
  if (version === 0 || version > migrations.length) {
    const message = `${path} is of version ${version}; this fairlead knows up to ${migrations.length}`;
    throw new MeshError("database_version", "local", message);
  }
  const [first] = backup.check();
  if (first !== undefined)
    throw new MeshError("database_damaged", "local", `${path}: it is damaged: ${first}`);
  const audit = new AuditLog(backup);
  const verdict = audit.verify();
  if (!verdict.intact)
    throw new MeshError(
      "database_damaged",
      "local",
      `${path}: its audit log is not intact: ${verdict.reason}`,
    );
  const stateId = new Settings(backup).get("state.id");
  if (stateId === null)
    throw new MeshError("database_damaged", "local", `${path}: the state in it is not complete`);
  return {
    stateId,
    schemaVersion: version,
    documentVersion: new DocumentVersions(backup).version(),
    auditHead: verdict.head,
    lastAuditMs: audit.read({ limit: 1 })[0]?.atMs ?? null,
  };
}
