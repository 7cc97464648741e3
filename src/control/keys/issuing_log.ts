/**
 * The record of what is issued. A durable write takes some milliseconds, whatever is in it: signings that end together share one, and
 * none is answered before it.
 */
import { keysLimits } from "../../base/limits/control.ts";
import type { Clock } from "../../host/host.ts";
import type { IssuedRecords, IssuedRow } from "../records/keys.ts";

export interface IssuingEntry {
  readonly row: IssuedRow;
  /** Why it must not be issued after all, asked in one step with the record; null when it may. */
  readonly refusal: () => Error | null;
}

interface Waiting {
  readonly entry: IssuingEntry;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class IssuingLog {
  readonly #clock: Pick<Clock, "defer">;
  readonly #records: Pick<IssuedRecords, "record" | "atOnce">;
  readonly #onRecorded: (rows: readonly IssuedRow[]) => void;
  #waiting: Waiting[] = [];
  /** Signings that are not over. */
  #underWay = 0;

  /** @param onRecorded is told what one write records, within it: what that writes is there with it or not at all. */
  constructor(
    clock: Pick<Clock, "defer">,
    records: Pick<IssuedRecords, "record" | "atOnce">,
    onRecorded: (rows: readonly IssuedRow[]) => void = () => {},
  ) {
    this.#onRecorded = onRecorded;
    this.#clock = clock;
    this.#records = records;
  }

  /**
   * Resolves once what `signing` makes is on the disk.
   *
   * @throws the signing's error; the refusal, and nothing is recorded; what the write throws, and nothing of the whole group is recorded.
   */
  async record(signing: Promise<IssuingEntry>): Promise<void> {
    this.#underWay++;
    let entry: IssuingEntry;
    try {
      entry = await signing;
    } finally {
      this.#underWay--;
    }
    await new Promise<void>((resolve, reject) => {
      if (this.#waiting.length === 0) this.#clock.defer(this.#write);
      this.#waiting.push({ entry, resolve, reject });
      // No other is about to come, or enough have: the turn's end would bring no more.
      if (this.#underWay === 0 || this.#waiting.length >= keysLimits.recordsPerWrite) this.#write();
    });
  }

  readonly #write = (): void => {
    const group = this.#waiting;
    this.#waiting = [];
    const refusals = new Map<Waiting, Error>();
    try {
      if (group.length > 0) this.#records.atOnce(() => this.#recordAll(group, refusals));
    } catch (error) {
      for (const { reject } of group) reject(error);
      return;
    }
    for (const one of group) {
      const refusal = refusals.get(one);
      if (refusal === undefined) one.resolve();
      else one.reject(refusal);
    }
  };

  #recordAll(group: readonly Waiting[], refusals: Map<Waiting, Error>): void {
    const rows: IssuedRow[] = [];
    for (const one of group) {
      const refusal = one.entry.refusal();
      if (refusal !== null) {
        refusals.set(one, refusal);
        continue;
      }
      this.#records.record(one.entry.row);
      rows.push(one.entry.row);
    }
    if (rows.length > 0) this.#onRecorded(rows);
  }
}
