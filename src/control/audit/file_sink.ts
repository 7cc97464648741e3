/** The audit log into a file of JSON lines, for whatever ships files. The file may be moved away at any time (logrotate): it is begun again. */
import type { Files } from "../../host/host.ts";
import type { ChainedEntry } from "../records/audit.ts";
import type { AuditSink } from "./audit_export.ts";
import { recordLines } from "./audit_record.ts";

export class FileSink implements AuditSink {
  readonly target = "file";
  readonly where: string;
  readonly settleMs = 0;
  readonly #files: Pick<Files, "appendLines">;
  readonly #stateId: string;

  constructor(files: Pick<Files, "appendLines">, path: string, stateId: string) {
    this.#files = files;
    this.where = path;
    this.#stateId = stateId;
  }

  /** @throws MeshError `io`. */
  async send(rows: readonly ChainedEntry[]): Promise<number> {
    await this.#files.appendLines(this.where, recordLines(this.#stateId, rows), fileMode);
    return 0;
  }

  close(): void {}
}

/** The group may read it: what ships logs is rarely the same user. */
const fileMode = 0o640;
