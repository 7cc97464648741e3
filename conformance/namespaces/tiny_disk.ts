/** A file system of a few kilobytes, to be full. */
import { mkdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runToEnd } from "../peer/lab/subprocess.ts";

const open = new Set<TinyDisk>();

/** For the end of the program. */
export function closeAllDisks(): void {
  for (const disk of open) disk.close();
}

export class TinyDisk {
  readonly path: string;

  constructor(path: string, kilobytes: number) {
    this.path = path;
    mkdirSync(path);
    runToEnd(["mount", "-t", "tmpfs", "-o", `size=${kilobytes}k`, "tmpfs", path]);
    open.add(this);
  }

  /** To the last block. */
  fill(): void {
    const { bavail, bsize } = statfsSync(this.path);
    writeFileSync(this.#filler, new Uint8Array(bavail * bsize));
  }

  free(): void {
    rmSync(this.#filler);
  }

  close(): void {
    if (open.delete(this)) Bun.spawnSync(["umount", "-l", this.path]);
  }

  get #filler(): string {
    return join(this.path, "filler");
  }
}
