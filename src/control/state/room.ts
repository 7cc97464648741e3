/**
 * Room in the state: how full it is, and what is kept free. What can wait (documents, tokens, refusals) is refused early, so that
 * revocation, renewal and recovery always find room, in the database's bound and on the disk.
 */
import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { Database } from "../../host/database.ts";
import type { Clock } from "../../host/host.ts";
import { RowReader } from "./row_reader.ts";

export class Room {
  readonly #database: Database;
  readonly #clock: Clock;
  readonly #maxBytes: number;
  readonly #keptBytes: number;
  #reserveKept: boolean;
  #triedMs = 0;
  /** What is being written can wait, so no reserve is given up for it. */
  #canWait = false;

  /** @param maxBytes of the database. */
  constructor(database: Database, clock: Clock, maxBytes: number) {
    this.#database = database;
    this.#clock = clock;
    this.#maxBytes = maxBytes;
    // Of a small state a small part: tests have some, and whoever sets a bound.
    this.#keptBytes = Math.min(stateLimits.reservedDatabaseBytes, maxBytes / 4);
    this.#reserveKept = database.keepReserve();
  }

  get usedBytes(): number {
    const pragma = (name: string): number =>
      new RowReader("pragma", this.#database.get(`PRAGMA ${name}`) ?? {}).integer(name);
    return (pragma("page_count") - pragma("freelist_count")) * pragma("page_size");
  }

  /** What pruning is to leave: all of a bound, or a part of it while room is short. */
  get shortage(): boolean {
    return this.usedBytes > this.#maxBytes * stateLimits.pressureShare;
  }

  /** Before something is written that can wait. @throws MeshError `disk_full` while there is only room for what cannot. */
  demand(): void {
    this.#canWait = true;
    if (!this.#reserveKept && this.#clock.now() - this.#triedMs > stateLimits.reserveRetryMs) this.#keep();
    if (this.#reserveKept && this.usedBytes <= this.#maxBytes - this.#keptBytes) return;
    this.#canWait = false;
    throw new MeshError(
      "disk_full",
      "local",
      this.#reserveKept
        ? "the state is nearly full; the rest is for revocation, renewal and recovery. Make room with `fairlead prune`"
        : "the disk of the state is full; the rest is for revocation, renewal and recovery. Free some space",
    );
  }

  /** A write found the disk full. @returns whether to try it once more. */
  giveUp(): boolean {
    if (this.#canWait || !this.#database.giveUpReserve()) return false;
    this.#reserveKept = false;
    this.#triedMs = this.#clock.now();
    return true;
  }

  /** The database could not be written until now, and has taken its reserve as far as there is one. */
  reopened(): void {
    this.#keep();
  }

  /** The outermost write is over. */
  ended(): void {
    this.#canWait = false;
  }

  #keep(): void {
    this.#triedMs = this.#clock.now();
    this.#reserveKept = this.#database.keepReserve();
  }
}
