/** What becomes of a change in state: its version with its audit rows, or the row of its refusal. */
import { asMeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import type { AuditEntry } from "../records/audit.ts";
import type {
  DocumentChange,
  DocumentVersion,
  RecordedChange,
  StagedVersion,
} from "../records/document_versions.ts";
import type { ControlState } from "../state/control_state.ts";
import type { ChangeRefusal, ChangeRequest } from "./change_request.ts";
import { owningNamespace, type Replacement } from "./document_diff.ts";

export interface ChangeRecordSources {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly state: ControlState;
}

type RecordedIntent = Pick<DocumentVersion, "action" | "detail">;

export class ChangeRecords {
  readonly #sources: ChangeRecordSources;

  constructor(sources: ChangeRecordSources) {
    this.#sources = sources;
  }

  /**
   * The version and its audit rows, together or not at all. A large one is written in pieces that are nothing until a last small write
   * publishes them; its audit rows follow, and where this process ends before they are all there the next start writes them.
   *
   * @throws MeshError `disk_full`, `io`, …: there is no new version then.
   */
  async write(
    { action, detail }: RecordedIntent,
    replacements: readonly Replacement[],
    { actor, force = false }: ChangeRequest,
    expected: number,
    slice: TimeSlice,
  ): Promise<number> {
    const { state, clock } = this.#sources;
    await this.finish(slice);
    const made = { atMs: clock.wallMs(), actor, action, detail };
    const [piece = [], ...others] = inPieces(replacements.map(({ change }) => change));
    if (others.length === 0) {
      const version = state.transaction(() => {
        const written = state.documents.apply(piece, made, expected);
        for (const { change, old } of replacements)
          state.audit.append(
            auditRow({ ...made, version: written, forced: force }, { change, before: old?.text ?? null }),
          );
        return written;
      });
      await this.#forget(slice);
      return version;
    }
    try {
      const version = state.documents.begin({ ...made, forced: force }, expected);
      for (const each of [piece, ...others]) {
        state.documents.stage(version, each);
        await slice.giveWay();
      }
      state.documents.publish(made, expected, replacements.length);
    } catch (thrown) {
      await this.#quietly("what was begun of a change could not be taken back", () => this.finish(slice));
      throw thrown;
    }
    // It is there, whatever becomes of the rest.
    await this.#quietly("the audit log does not have all of a change yet", () => this.finish(slice));
    await this.#forget(slice);
    return expected + 1;
  }

  /** At a start. Where the disk is full it waits for the next change. */
  resume(slice: TimeSlice): Promise<void> {
    return this.#quietly("a change that was being written could not be brought to its end", () =>
      this.finish(slice),
    );
  }

  /** Makes an end to a version that was being written: what is not published goes, what is gets its audit rows. */
  async finish(slice: TimeSlice): Promise<void> {
    const { state } = this.#sources;
    const { staging } = state.documents;
    while (staging.discard()) await slice.giveWay();
    for (let staged = staging.current(); staged !== null; staged = staging.current()) {
      this.#auditPiece(staged);
      await slice.giveWay();
    }
  }

  #auditPiece(staged: StagedVersion): void {
    const { state } = this.#sources;
    state.transaction(() => {
      let after = staged.auditedKey;
      let rows = 0;
      let bytes = 0;
      while (rows < stateLimits.documentRowsPerWrite && bytes < stateLimits.documentBytesPerWrite) {
        const page = state.documents.recordedChanges(staged.version, after, changesPerRead);
        for (const recorded of page) {
          state.audit.append(auditRow(staged, recorded));
          bytes += (recorded.before?.length ?? 0) + (recorded.change.text?.length ?? 0);
        }
        rows += page.length;
        const last = page.at(-1);
        if (last === undefined || page.length < changesPerRead) {
          state.documents.staging.audited(null);
          return;
        }
        after = last.change.key;
      }
      state.documents.staging.audited(after);
    });
  }

  #forget(slice: TimeSlice): Promise<void> {
    const { state } = this.#sources;
    return this.#quietly("old versions could not be forgotten", () =>
      slice.run(state.documents.forgetInSteps()),
    );
  }

  async #quietly(what: string, act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      this.#sources.logger.log("error", "documents", what, { reason: message });
    }
  }

  /** A refusal is worth a row; that the disk is full does not turn it into anything else. */
  refuse(
    refused: ChangeRefusal,
    { action, detail }: RecordedIntent,
    { actor, dryRun }: ChangeRequest,
  ): ChangeRefusal {
    if (dryRun === true) return refused;
    const { state, clock, logger } = this.#sources;
    try {
      state.audit.append({
        atMs: clock.wallMs(),
        actor,
        action: `documents.${action}`,
        target: refused.errors[0]?.resource ?? refused.lockOuts[0]?.resource ?? "documents",
        outcome: "refused",
        detail: `${refused.message} (${detail})`,
        before: null,
        after: null,
      });
    } catch (thrown) {
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("error", "documents", "a refusal could not be written to the audit log", {
        reason: message,
      });
    }
    return refused;
  }
}

/** Texts of both sides may have a quarter of a mebibyte each. */
const changesPerRead = 8;

function auditRow(
  made: Pick<StagedVersion, "atMs" | "actor" | "action" | "detail" | "forced" | "version">,
  { change, before }: RecordedChange,
): AuditEntry {
  return {
    atMs: made.atMs,
    actor: made.actor,
    action: `documents.${made.action}`,
    target: change.key,
    namespace: owningNamespace(change),
    outcome: "ok",
    detail: `version ${made.version}${made.forced ? ", forced" : ""}: ${made.detail}`,
    before,
    after: change.text,
  };
}

function inPieces(changes: readonly DocumentChange[]): readonly (readonly DocumentChange[])[] {
  const pieces: DocumentChange[][] = [];
  let bytes = 0;
  let piece: DocumentChange[] = [];
  for (const change of changes) {
    const isFull =
      piece.length >= stateLimits.documentRowsPerWrite || bytes >= stateLimits.documentBytesPerWrite;
    if (isFull) {
      pieces.push(piece);
      piece = [];
      bytes = 0;
    }
    piece.push(change);
    bytes += change.text?.length ?? 0;
  }
  return [...pieces, piece];
}
