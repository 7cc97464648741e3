/**
 * What is removed from the state is written to files first: audit rows, certificates that have ended, revocations and join tokens. A segment
 * is on the disk before its rows go, and the state goes on naming the newest one, so archive and state are proven together.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { auditExportLimits, stateLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import { sha256InSteps } from "../../base/sha256.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock, Files } from "../../host/host.ts";
import type { AuditExportStatus } from "../records/audit.ts";
import type { ControlState, RoomWanted } from "../state/control_state.ts";
import { countRows, type DueRows, dueRows, isFull, removeRows } from "../state/due_rows.ts";
import { type ArchiveHead, archiveFormat, segmentLines, segmentName } from "./archive_segment.ts";

export interface ArchiveOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: Pick<Files, "makeDirectory" | "writeAtomic">;
  readonly metrics: MetricRegistry;
  readonly state: ControlState;
  readonly directory: string;
}

export class Archive {
  readonly #options: ArchiveOptions;
  readonly #counts: { readonly rows: (count: number) => void; readonly lost: (count: number) => void };
  #failing: AuditExportStatus["failing"] = null;
  #waiting = 0;
  #lost = 0;
  /** Monotonic: of the last segment, or of the start. */
  #writtenAtMs: number;
  #stuck = false;
  /** One at a time: a second one would write the same rows. */
  #work: Promise<unknown> = Promise.resolve();

  constructor(options: ArchiveOptions) {
    this.#options = options;
    this.#writtenAtMs = options.clock.now();
    const { metrics } = options;
    const rows = metrics.counter(
      "fairlead_archive_rows",
      "Rows that went from the state to the archive.",
      [],
    );
    const lost = metrics.counter("fairlead_archive_lost_rows", "Rows that went without being archived.", []);
    const failing = metrics.gauge("fairlead_archive_failing", "1 while the archive cannot be written.", []);
    metrics.onCollect(() => failing.with({}).set(this.#failing === null ? 0 : 1));
    this.#counts = { rows: (count) => rows.with({}).add(count), lost: (count) => lost.with({}).add(count) };
  }

  get status(): AuditExportStatus {
    const { state, directory } = this.#options;
    const exportedId = state.audit.start().id;
    const [waiting, failing, lost] = [this.#waiting, this.#failing, this.#lost];
    return { target: "archive", where: directory, exportedId, waiting, failing, lost, refused: 0 };
  }

  get head(): ArchiveHead | null {
    return readArchiveHead(this.#options.state.settings.get(archiveSetting));
  }

  /** For a timer. @returns whether there is more. */
  prune(): Promise<boolean> {
    return this.#inTurn(async () => {
      const { clock, state } = this.#options;
      const kept = state.keptNow();
      const due = dueRows(state, clock.wallMs(), kept);
      const isShort = state.room.shortage;
      const forgets = state.forgetVersions(null);
      this.#waiting = countRows(due);
      // A few rows wait for others: not one file a minute.
      const isDue =
        isFull(due) || isShort || clock.now() - this.#writtenAtMs >= stateLimits.archiveIntervalMs;
      const moved = isDue && this.#waiting > 0 && (await this.#move(due, isShort));
      return forgets || (moved && isFull(due));
    });
  }

  /** For an operator who needs room; see `ControlState.makeRoom`. @throws MeshError `io` where it cannot be written, unless it is forced. */
  makeRoom({ auditRows, versions, force = false }: RoomWanted): Promise<boolean> {
    return this.#inTurn(async () => {
      const { clock, state } = this.#options;
      const kept = { audit: { keepRows: auditRows, hold: state.holdNow(force) }, certificateMs: 0 };
      const due = dueRows(state, clock.wallMs(), kept);
      const rows = countRows(due);
      // Each segment adds the row that names it: one that holds no more than the row of the one before is none.
      const more = rows > 2 && (await this.#move(due, force || state.room.shortage));
      if (rows > 2 && !more && this.#failing !== null) throw asMeshError(this.#failing.reason, "io", "local");
      return state.forgetVersions(versions) || more;
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#work.then(work);
    this.#work = mine.catch(() => {});
    return mine;
  }

  /** @param mayLose rows go even when they cannot be written. @returns whether any went. */
  async #move(due: DueRows, mayLose: boolean): Promise<boolean> {
    const { clock, logger, state, directory } = this.#options;
    let head: ArchiveHead;
    try {
      head = await this.#write(due);
    } catch (thrown) {
      this.#fails(asMeshError(thrown, "io", "local").message);
      return this.#removeWithout(mayLose ? due : this.#overdue());
    }
    // Where the state cannot be written these rows stay, and the same file is written once more.
    const rows = countRows(due);
    removeRows(state, due, clock.wallMs(), () => {
      state.settings.set(archiveSetting, JSON.stringify(head));
      state.audit.append({
        atMs: clock.wallMs(),
        actor: "fairlead",
        action: archiveAction,
        target: segmentName(head),
        outcome: "ok",
        detail: `${rows} rows; SHA-256 ${head.sha256}`,
        before: null,
        after: null,
      });
    });
    this.#counts.rows(rows);
    this.#waiting = 0;
    this.#writtenAtMs = clock.now();
    if (this.#failing !== null)
      logger.log("info", "archive", "the archive can be written again", { directory });
    this.#failing = null;
    return true;
  }

  async #write(due: DueRows): Promise<ArchiveHead> {
    const { clock, files, state, directory } = this.#options;
    const before = this.head;
    const number = (before?.number ?? 0) + 1;
    const previous = before?.sha256 ?? null;
    const header = { archive: archiveFormat, state: state.id, segment: number, previous } as const;
    const slice = new TimeSlice(clock);
    const bytes = await slice.run(segmentLines(state, due, header));
    const head = { number, sha256: (await slice.run(sha256InSteps(bytes))).toHex() };
    // Its name has its hash: what a restored state writes again replaces no segment of the state that was.
    await this.#inTime(async () => {
      await files.makeDirectory(directory, 0o700);
      await files.writeAtomic(`${directory}/${segmentName(head)}`, bytes, 0o400);
    });
    return head;
  }

  /** A network file system that hangs may never answer. Pruning goes on without it, and it is not asked for anything else meanwhile. */
  async #inTime(work: () => Promise<void>): Promise<void> {
    const { clock } = this.#options;
    if (this.#stuck) throw new MeshError("io", "local", "the write before has not ended");
    this.#stuck = true;
    const done = work().finally(() => {
      this.#stuck = false;
    });
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = clock.setTimer(auditExportLimits.stuckMs, () => {
      reject(
        new MeshError("io", "local", `the write has not ended for ${auditExportLimits.stuckMs / 1000} s`),
      );
    });
    done.catch(() => {});
    late.catch(() => {});
    try {
      await Promise.race([done, late]);
    } finally {
      timer.cancel();
    }
  }

  #fails(reason: string): void {
    const { clock, logger, directory } = this.#options;
    if (this.#failing === null)
      logger.log("error", "archive", "the archive cannot be written; rows stay in the state, up to a bound", {
        directory,
        reason,
      });
    this.#failing = { sinceMs: this.#failing?.sinceMs ?? clock.wallMs(), reason };
  }

  /** Audit rows that are more than the state keeps for somebody who does not have them. */
  #overdue(): DueRows {
    const { state } = this.#options;
    const hold = { afterId: state.audit.start().id, waitsFor: "the archive" };
    const audit = state.audit.due({ ...state.keptNow().audit, hold });
    return { audit: audit?.overruled === true ? audit : null, certificates: [], revocations: [], tokens: [] };
  }

  #removeWithout(due: DueRows): boolean {
    const { clock, logger, state, directory } = this.#options;
    const rows = countRows(due);
    if (rows === 0) return false;
    removeRows(state, due, clock.wallMs(), () => {});
    this.#lost += rows;
    this.#counts.lost(rows);
    logger.log("error", "archive", "rows were removed from the state without being archived", {
      directory,
      rows,
    });
    return true;
  }
}

const archiveSetting = "archive.head";
/** Of the row that names a segment. */
export const archiveAction = "state.archive";

function readArchiveHead(text: string | null): ArchiveHead | null {
  if (text === null) return null;
  const { number, sha256 } = JSON.parse(text) as Partial<ArchiveHead>;
  return typeof number === "number" && typeof sha256 === "string" ? { number, sha256 } : null;
}
