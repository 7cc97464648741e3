/** What becomes of a change in state: its version with its audit rows, or the row of its refusal. */
import { asMeshError } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock } from "../../host/host.ts";
import type { DocumentVersion } from "../records/document_versions.ts";
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

  /** The version and its audit rows, together or not at all. */
  write(
    { action, detail }: RecordedIntent,
    replacements: readonly Replacement[],
    { actor, force }: ChangeRequest,
    expected: number,
  ): number {
    const { state, clock } = this.#sources;
    const atMs = clock.wallMs();
    return state.transaction(() => {
      const changes = replacements.map(({ change }) => change);
      const version = state.documents.apply(changes, { atMs, actor, action, detail }, expected);
      for (const { change, old } of replacements) {
        state.audit.append({
          atMs,
          actor,
          action: `documents.${action}`,
          target: change.key,
          namespace: owningNamespace(change),
          outcome: "ok",
          detail: `version ${version}${force === true ? ", forced" : ""}: ${detail}`,
          before: old?.text ?? null,
          after: change.text,
        });
      }
      return version;
    });
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
