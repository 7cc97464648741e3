/**
 * All that the control plane must not lose, in one database that one process holds. A write is on the disk when it returns. What
 * cannot be opened is refused with the reason, and no new state is begun in its place.
 */
import { MeshError } from "../../base/errors.ts";
import { auditExportLimits, stateLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Database, DatabaseSnapshot } from "../../host/database.ts";
import type { Host } from "../../host/host.ts";
import { type AuditDue, type AuditHold, type AuditKept, AuditLog } from "./audit.ts";
import { Authorities } from "./authorities.ts";
import { Certificates } from "./certificates.ts";
import { DocumentVersions } from "./document_versions.ts";
import type { Kept } from "./due_rows.ts";
import { type Migration, migrate, schemaVersion } from "./migrations.ts";
import { Registrations } from "./registrations.ts";
import { makeStateDirectory, openDatabase, reopenLater } from "./reopened_database.ts";
import { Revocations } from "./revocations.ts";
import { Room } from "./room.ts";
import { migrations } from "./schema.ts";
import { Settings } from "./settings.ts";
import { newStateId, readMarker, type StatePaths, statePaths, writeMarker } from "./state_files.ts";
import { Strangers } from "./strangers.ts";
import { Tokens } from "./tokens.ts";
import { type StateHealth, WatchedDatabase } from "./watched_database.ts";

export interface StateOptions {
  readonly maxBytes?: number;
  /** Room that is kept on the disk for what cannot wait. */
  readonly reserveBytes?: number;
  /** Others than the program's own, for tests of upgrades. */
  readonly migrations?: readonly Migration[];
}

export interface RoomWanted {
  /** Rows of the audit log, and versions of the documents, that stay. */
  readonly auditRows: number;
  readonly versions: number;
  /** Also rows that somebody does not have yet. */
  readonly force?: boolean;
}

export type StateHost = Pick<Host, "clock" | "databases" | "files" | "random">;

export class ControlState {
  /** Given at the first start, and kept by back-ups. */
  readonly id: string;
  readonly tokens: Tokens;
  readonly registrations: Registrations;
  readonly certificates: Certificates;
  readonly revocations: Revocations;
  readonly authorities: Authorities;
  readonly audit: AuditLog;
  readonly strangers: Strangers;
  readonly documents: DocumentVersions;
  readonly settings: Settings;
  readonly room: Room;
  readonly #database: Database;
  readonly #clock: Host["clock"];
  readonly #health: WatchSource<StateHealth>;
  readonly #logger: Logger;
  #holds: () => AuditHold | null = () => null;
  #saidHeld = false;
  #reopening: () => void = () => {};

  private constructor(
    id: string,
    database: Database,
    clock: Host["clock"],
    health: WatchSource<StateHealth>,
    room: Room,
    logger: Logger,
  ) {
    this.#logger = logger;
    this.room = room;
    this.id = id;
    this.#database = database;
    this.#clock = clock;
    this.#health = health;
    this.tokens = new Tokens(database, clock, room);
    this.registrations = new Registrations(database);
    this.certificates = new Certificates(database);
    this.revocations = new Revocations(database);
    this.authorities = new Authorities(database);
    this.audit = new AuditLog(database);
    this.strangers = new Strangers(database, room);
    this.documents = new DocumentVersions(database, room);
    this.settings = new Settings(database);
  }

  /**
   * @param directory is made when it is not there, with mode 0700.
   * @throws MeshError, blame local: `database_locked` (another control plane runs on it), `database_damaged`, `database_missing`
   *   (there was one here), `database_version` (of a later program), `disk_full`, `io`.
   */
  static async open(
    host: StateHost,
    directory: string,
    logger: Logger,
    options: StateOptions = {},
  ): Promise<ControlState> {
    const paths = statePaths(directory);
    await makeStateDirectory(host.files, directory);
    const marker = await readMarker(host.files, paths.marker);
    const opened = openDatabase(host, paths, marker, options);
    const { database } = opened;
    try {
      const wanted = options.migrations ?? migrations;
      const copy = await keepCopy(host, database, paths, wanted.length);
      if (copy !== null)
        logger.log("info", "state", "copied the state before its schema changes", { path: copy });
      const steps = migrate(database, wanted);
      for (const { name } of steps) logger.log("info", "state", "schema brought up to date", { step: name });
      const id = identify(host, database, paths, marker);
      if (marker === null) await writeMarker(host.files, paths.marker, id);
      const health = new WatchSource<StateHealth>({ writable: true });
      health.subscribe((now) => tellHealth(logger, now));
      const room = new Room(database, host.clock, options.maxBytes ?? stateLimits.maxDatabaseBytes);
      const state = new ControlState(
        id,
        new WatchedDatabase(database, health, room),
        host.clock,
        health,
        room,
        logger,
      );
      if (opened.frozen !== null) {
        health.set({ writable: false, code: "disk_read_only", reason: opened.reason });
        state.#reopening = reopenLater({
          ...opened.frozen,
          clock: host.clock,
          audit: state.audit,
          health,
          room,
        });
      }
      return state;
    } catch (thrown) {
      database.close();
      throw thrown;
    }
  }

  get health(): Watch<StateHealth> {
    return this.#health;
  }

  get schemaVersion(): number {
    return schemaVersion(this.#database);
  }

  /** All writes within it together, or none. Synchronous; durable when it returns. */
  transaction<T>(work: () => T): T {
    return this.#database.transaction(work);
  }

  /** Forgets what ended long ago, so little at a time that no call waits for it. For a timer. @returns whether there is more. */
  prune(): boolean {
    const nowMs = this.#clock.wallMs();
    this.tokens.prune(nowMs);
    this.revocations.prune(nowMs);
    const { audit, certificateMs } = this.keptNow();
    const certificates = this.certificates.prune(nowMs, certificateMs);
    const rows = this.#pruneAudit(nowMs, audit);
    const forgets = this.forgetVersions(null);
    return certificates >= stateLimits.pruneRows || rows >= stateLimits.pruneRows || forgets;
  }

  /** What pruning leaves: a quarter while room is short, and no certificate that has ended. */
  keptNow(): Kept {
    const { shortage } = this.room;
    const part = shortage ? 4 : 1;
    const keepRows = stateLimits.auditRetentionRows / part;
    const keepBytes = stateLimits.auditRetentionBytes / part;
    return {
      audit: { keepRows, keepBytes, hold: this.holdNow() },
      certificateMs: shortage ? 0 : stateLimits.certificateRetentionMs,
    };
  }

  /** Nothing is held while room is short. */
  holdNow(force = false): AuditHold | null {
    return force || this.room.shortage ? null : this.#holds();
  }

  /** @param holds who does not have the whole audit log yet: rows wait for them, up to a bound, and for as long as there is room. */
  holdAudit(holds: () => AuditHold | null): void {
    this.#holds = holds;
  }

  #pruneAudit(nowMs: number, kept: AuditKept): number {
    const due = this.dueAudit(kept);
    return due === null ? 0 : this.audit.pruneTo(due, nowMs, "fairlead");
  }

  /** `AuditLog.due`; that rows wait is said when it begins. */
  dueAudit(kept: AuditKept): AuditDue | null {
    const due = this.audit.due(kept);
    const waitsFor = due?.waitsFor ?? null;
    if (waitsFor !== null && !this.#saidHeld)
      this.#logger.log(
        "error",
        "audit",
        `rows of the audit log are past their time and stay, since ${waitsFor} does not have them; when there are ${auditExportLimits.maxWaitFactor} times as many as are kept, or when room is short, they go without it`,
        { waitsFor },
      );
    this.#saidHeld = waitsFor !== null;
    return due;
  }

  /**
   * For an operator who needs room: forgets down to what is said, so much at a time. Rows of the audit log that a receiver does not have
   * yet stay, unless room is short or it is forced. @returns whether there is more.
   */
  makeRoom({ auditRows, versions, force = false }: RoomWanted): boolean {
    const nowMs = this.#clock.wallMs();
    const certificates = this.certificates.prune(nowMs, 0);
    const rows = this.#pruneAudit(nowMs, { keepRows: auditRows, hold: this.holdNow(force) });
    const forgets = this.forgetVersions(versions);
    return certificates >= stateLimits.pruneRows || rows > 1 || forgets;
  }

  /** Versions of the documents, a few steps of it. @param keep how many; null: as much as is kept now. @returns whether there is more. */
  forgetVersions(keep: number | null): boolean {
    const maxBytes = stateLimits.maxDocumentTextBytes / (this.room.shortage ? 4 : 1);
    const steps = this.documents.forgetInSteps(keep === null ? { maxBytes } : { maxVersions: keep });
    for (let count = 0; count < forgettingStepsPerTurn; count++) if (steps.next().done === true) return false;
    return true;
  }

  /** Pages, indexes, constraints and the audit chain. @returns what is wrong, one line each. */
  check(): readonly string[] {
    const verdict = this.audit.verify();
    return [...this.#database.check(), ...(verdict.intact ? [] : [`audit log: ${verdict.reason}`])];
  }

  /** A copy as of now, of mode 0600; it holds token hashes and sealed keys. @throws MeshError `io` when the file is there and `replace` was not asked for. */
  backup(path: string, options: { readonly replace?: boolean } = {}): void {
    this.#database.backup(path, options);
  }

  /** The same, to be read piece by piece while everything goes on. @throws MeshError `limit_reached` while another is read. */
  snapshot(): DatabaseSnapshot {
    return this.#database.snapshot();
  }

  close(): void {
    this.#reopening();
    this.#database.close();
  }
}

/** Some 64 rows each. */
const forgettingStepsPerTurn = 4;

/**
 * A copy of a state that this program is about to change for good: an earlier program goes back to it. One for each version it had.
 *
 * @returns its path; null when nothing is to change. @throws MeshError `database_version` for a state of a later program, naming the
 *   copy that this one can read; `disk_full` when there is no room for a copy, and then nothing is changed.
 */
async function keepCopy(
  host: StateHost,
  database: Database,
  { database: path, directory }: StatePaths,
  version: number,
): Promise<string | null> {
  const found = schemaVersion(database);
  if (found === version || found === 0) return null;
  const copyOf = (of: number): string => `${path}.schema-${of}`;
  if (found > version) {
    const copy = copyOf(version);
    const way = (await host.files.exists(copy))
      ? `; to go back to the state as it was before that, run \`fairlead restore ${copy} --state-directory ${directory} --overwrite\``
      : "; start the later one, or restore a back-up that this one has made";
    throw new MeshError(
      "database_version",
      "local",
      `the control plane's state has schema ${found}, written by a later fairlead; this one knows up to ${version}${way}`,
    );
  }
  database.backup(copyOf(found), { replace: true });
  return copyOf(found);
}

/** The state's identity; a new state gets one. */
function identify(host: StateHost, database: Database, paths: StatePaths, marker: string | null): string {
  const settings = new Settings(database);
  const known = settings.get("state.id");
  if (known === null && marker === null) {
    const id = newStateId(host.random);
    settings.set("state.id", id);
    return id;
  }
  if (known !== null && (marker === null || marker === known)) return known;
  throw new MeshError(
    "database_damaged",
    "local",
    `${paths.database} is not the state that ${paths.marker} names; restore a back-up with \`fairlead restore\``,
  );
}

function tellHealth(logger: Logger, health: StateHealth): void {
  if (health.writable) logger.log("info", "state", "the control plane's state can be written again");
  else logger.log("error", "state", "the control plane's state cannot be written", { reason: health.reason });
}
