/** The disk of a simulated machine, and a process's view of it. Reading takes time; a write may fail; a reader may see half. */
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { FileEntry, Files, Timer } from "../host.ts";
import type { SeededRandom } from "./random.ts";
import type { Owner, Schedule } from "./schedule.ts";

export class MemoryDisk {
  readonly #files = new Map<string, Uint8Array>();
  readonly #folders = new Set<string>(["/"]);
  readonly #watchers = new Set<{ readonly path: string; readonly onChange: () => void }>();
  /** ENOSPC for whatever is written. */
  full = false;
  /** Paths that cannot be read (EIO); what lies below them neither. */
  readonly unreadable = new Set<string>();

  /** By an editor or another program: not through a `Host`, and not atomic. */
  write(path: string, content: string | Uint8Array): void {
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    for (let folder = parent(path); folder !== "/"; folder = parent(folder)) this.#folders.add(folder);
    this.#files.set(path, bytes);
    this.#changed(path);
  }

  remove(path: string): void {
    this.#files.delete(path);
    this.#folders.delete(path);
    for (const file of [...this.#files.keys()]) if (isBelow(file, path)) this.#files.delete(file);
    for (const folder of [...this.#folders]) if (isBelow(folder, path)) this.#folders.delete(folder);
    this.#changed(path);
  }

  makeFolder(path: string): void {
    for (let folder = path; folder !== "/"; folder = parent(folder)) this.#folders.add(folder);
  }

  /** @throws MeshError `io`. */
  read(path: string): Uint8Array {
    for (const bad of this.unreadable) if (path === bad || isBelow(path, bad)) throw failure("EIO", path);
    const bytes = this.#files.get(path);
    if (bytes === undefined) throw failure(this.#folders.has(path) ? "EISDIR" : "ENOENT", path);
    return bytes.slice();
  }

  exists(path: string): boolean {
    return this.#files.has(path) || this.#folders.has(path);
  }

  list(path: string): readonly FileEntry[] | null {
    if (!this.#folders.has(path)) return null;
    const entries = new Map<string, FileEntry>();
    for (const file of this.#files.keys())
      if (parent(file) === path) entries.set(file, { path: file, isDirectory: false });
    for (const folder of this.#folders)
      if (folder !== "/" && parent(folder) === path) entries.set(folder, { path: folder, isDirectory: true });
    return [...entries.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  watch(path: string, onChange: () => void): () => void {
    const watcher = { path, onChange };
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  #changed(path: string): void {
    for (const watcher of [...this.#watchers]) {
      if (path === watcher.path || isBelow(path, watcher.path) || isBelow(watcher.path, path))
        watcher.onChange();
    }
  }
}

export function openFiles(disk: MemoryDisk, schedule: Schedule, owner: Owner, random: SeededRandom): Files {
  /** Another process may act between the call and its effect. */
  const soon = <T>(act: () => T): Promise<T> =>
    new Promise((resolve, reject) => {
      schedule.io(random.between(0.02, 0.5), owner, () => {
        try {
          resolve(act());
        } catch (error) {
          reject(error);
        }
      });
    });
  return {
    readText: (path) => soon(() => new TextDecoder().decode(disk.read(path))),
    readBytes: (path) => soon(() => disk.read(path)),
    list: (path) => soon(() => disk.list(path)),
    exists: (path) => soon(() => disk.exists(path)),
    writeAtomic: (path, bytes) => {
      const copy = bytes.slice();
      return soon(() => {
        if (disk.full) throw failure("ENOSPC", path);
        if (disk.list(parent(path)) === null) throw failure("ENOENT", path);
        disk.write(path, copy);
      });
    },
    writeStream: async (path, pieces) => {
      const all: Uint8Array[] = [];
      for await (const piece of pieces) all.push(piece.slice());
      const whole = new Uint8Array(all.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const piece of all) {
        whole.set(piece, at);
        at += piece.length;
      }
      return await soon(() => {
        if (disk.full) throw failure("ENOSPC", path);
        if (disk.list(parent(path)) === null) throw failure("ENOENT", path);
        disk.write(path, whole);
        return whole.length;
      });
    },
    appendLines: (path, lines) => {
      const copy = lines.slice();
      return soon(() => {
        if (disk.full) throw failure("ENOSPC", path);
        if (disk.list(parent(path)) === null) throw failure("ENOENT", path);
        const before = disk.exists(path) ? disk.read(path) : new Uint8Array();
        const whole = before.subarray(0, before.lastIndexOf(0x0a) + 1);
        if (whole.length < before.length && before[whole.length] !== 0x7b) throw failure("EINVAL", path);
        const bytes = new Uint8Array(whole.length + copy.length);
        bytes.set(whole);
        bytes.set(copy, whole.length);
        disk.write(path, bytes);
      });
    },
    makeDirectory: (path) =>
      soon(() => {
        if (disk.full) throw failure("ENOSPC", path);
        disk.makeFolder(path);
      }),
    remove: (path) => soon(() => disk.remove(path)),
    watch: (path, onChange) => watchCoalesced(disk, schedule, owner, path, onChange),
  };
}

function watchCoalesced(
  disk: MemoryDisk,
  schedule: Schedule,
  owner: Owner,
  path: string,
  onChange: () => void,
): () => void {
  let timer: Timer | null = null;
  const stop = disk.watch(path, () => {
    timer ??= schedule.timer(hostLimits.watchCoalesceMs, owner, () => {
      timer = null;
      onChange();
    });
  });
  return () => {
    stop();
    timer?.cancel();
  };
}

function parent(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(folder === "/" ? "/" : `${folder}/`);
}

function failure(name: string, path: string): MeshError {
  return new MeshError("io", "local", `${path}: ${name}`);
}
