/**
 * A copy of a database that is being written, read piece by piece. Everything is folded into the main file first, and until the copy is released
 * nothing is: what is written meanwhile stays in the log (https://www.sqlite.org/wal.html#ckpt), so that the main file is as it was.
 */
import type { Database as Sqlite } from "bun:sqlite";
import { statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { DatabaseSnapshot } from "../database.ts";
import { systemErrorName } from "../socket_errors.ts";

/** SQLite's own default: pages of the log after which it is folded in. */
const checkpointPages = 1_000;
/** File format write and read versions: 2 is a log beside the file, 1 is none (https://www.sqlite.org/fileformat.html §1.3.3). */
const formatVersions = 18;

export class FileSnapshot implements DatabaseSnapshot {
  readonly bytes: number;
  readonly #sqlite: Sqlite;
  readonly #path: string;
  readonly #onRelease: () => void;
  #file: Promise<FileHandle> | null = null;
  #released = false;

  /** @throws what SQLite throws. */
  constructor(sqlite: Sqlite, path: string, onRelease: () => void) {
    this.#sqlite = sqlite;
    this.#path = path;
    this.#onRelease = onRelease;
    sqlite.run("PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite.run("PRAGMA wal_autocheckpoint = 0");
    this.bytes = statSync(path).size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    this.#check();
    try {
      this.#file ??= open(this.#path, "r");
      const file = await this.#file;
      const bytes = new Uint8Array(Math.min(length, this.bytes - offset));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, offset);
      this.#check();
      if (bytesRead !== bytes.length)
        throw new MeshError("io", "local", `${this.#path}: it is shorter than it was`);
      // By itself it has no log; who opens it for reading alone could not make one.
      for (let at = formatVersions; at < formatVersions + 2; at++)
        if (at >= offset && at < offset + bytes.length) bytes[at - offset] = 1;
      return bytes;
    } catch (thrown) {
      if (thrown instanceof MeshError) throw thrown;
      throw new MeshError("io", "local", `${this.#path}: ${systemErrorName(thrown) ?? "cannot be read"}`, {
        cause: thrown,
      });
    }
  }

  /** Idempotent. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    void this.#file?.then(
      (file) => file.close(),
      () => {},
    );
    this.#onRelease();
    this.#sqlite.run(`PRAGMA wal_autocheckpoint = ${checkpointPages}`);
  }

  #check(): void {
    if (this.#released)
      throw new MeshError("io", "local", "the database is closed, or the copy was given up");
    const log = statSync(`${this.#path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    if (log > stateLimits.maxSnapshotLogBytes)
      throw new MeshError(
        "limit_reached",
        "local",
        `more than ${stateLimits.maxSnapshotLogBytes} bytes were written while the copy was read; read it faster`,
      );
  }
}
