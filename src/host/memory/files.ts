/**
 * The disk of a simulated machine, and a process's view of it. Reading takes time; a write may fail; a reader may see half. What was not
 * flushed is in memory alone, and a power cut takes it.
 */
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { FileEntry, Files, Timer } from "../host.ts";
import type { SeededRandom } from "./random.ts";
import type { Owner, Schedule } from "./schedule.ts";

/** A file without its name: a rename moves the name. */
interface Inode {
  content: Uint8Array;
  /** What is on the disk of it; null before it was ever flushed. */
  flushed: Uint8Array | null;
}

export class MemoryDisk {
  readonly #inodes = new Map<string, Inode>();
  /** Names that are on the disk: those of a folder get there when it is flushed. */
  readonly #flushedNames = new Map<string, Inode>();
  readonly #folders = new Set<string>(["/"]);
  /** Whom files and folders are for, by path, where it was said: who may write what is in them is a promise like any other. */
  readonly #modes = new Map<string, number>();
  /** Of what is there, by path, once it was asked for. */
  readonly #identities = new Map<string, { readonly of: Inode | null; readonly number: number }>();
  #lastIdentity = 0;
  readonly #watchers = new Set<{ readonly path: string; readonly onChange: () => void }>();
  /** ENOSPC for whatever is written. */
  full = false;
  /** Paths that cannot be read (EIO); what lies below them neither. */
  readonly unreadable = new Set<string>();

  /** By an editor or another program: not through a `Host`, not atomic, and on the disk at once. */
  write(path: string, content: string | Uint8Array): void {
    this.makeFolder(parent(path));
    this.writeUnflushed(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
    this.flush(path);
    this.flushNames(parent(path));
  }

  /** Seen by everybody, and gone after a power cut. */
  writeUnflushed(path: string, content: Uint8Array): void {
    const known = this.#inodes.get(path);
    if (known === undefined) this.#inodes.set(path, { content, flushed: null });
    else known.content = content;
    this.#changed(path);
  }

  /** fsync of a file: its content, not its name. */
  flush(path: string): void {
    const inode = this.#inodes.get(path);
    if (inode !== undefined) inode.flushed = inode.content;
  }

  /** fsync of a folder: which names there are in it, and whose. */
  flushNames(folder: string): void {
    for (const path of [...this.#flushedNames.keys()])
      if (parent(path) === folder && !this.#inodes.has(path)) this.#flushedNames.delete(path);
    for (const [path, inode] of this.#inodes)
      if (parent(path) === folder) this.#flushedNames.set(path, inode);
  }

  /** Over whatever has the name by now. */
  rename(from: string, to: string): void {
    const inode = this.#inodes.get(from);
    if (inode === undefined) throw failure("ENOENT", from);
    this.#inodes.delete(from);
    this.#inodes.set(to, inode);
    const mode = this.#modes.get(from);
    this.#modes.delete(from);
    if (mode === undefined) this.#modes.delete(to);
    else this.#modes.set(to, mode);
    this.#changed(to);
  }

  /** chmod. */
  setMode(path: string, mode: number): void {
    this.#modes.set(path, mode);
  }

  /** Null for what no program of ours has made. */
  modeOf(path: string): number | null {
    return this.#modes.get(path) ?? null;
  }

  /**
   * The machine is without power for a moment: every process must have been killed. A file whose name is on the disk and whose content is
   * not comes back torn, as file systems order the two as they like.
   */
  losePower(): void {
    this.#inodes.clear();
    for (const [path, inode] of this.#flushedNames) {
      const torn = inode.content.slice(0, Math.floor(inode.content.length / 2));
      const content = inode.flushed ?? torn;
      this.#inodes.set(path, { content, flushed: content });
    }
    this.#flushedNames.clear();
    for (const [path, inode] of this.#inodes) this.#flushedNames.set(path, inode);
  }

  remove(path: string): void {
    this.#inodes.delete(path);
    this.#folders.delete(path);
    this.#identities.delete(path);
    for (const file of [...this.#inodes.keys()]) if (isBelow(file, path)) this.#inodes.delete(file);
    for (const folder of [...this.#folders]) if (isBelow(folder, path)) this.#folders.delete(folder);
    for (const known of [...this.#identities.keys()])
      if (isBelow(known, path)) this.#identities.delete(known);
    for (const known of [...this.#modes.keys()])
      if (known === path || isBelow(known, path)) this.#modes.delete(known);
    this.#changed(path);
  }

  makeFolder(path: string): void {
    for (let folder = path; folder !== "/"; folder = parent(folder)) this.#folders.add(folder);
  }

  /** @throws MeshError `io`. */
  read(path: string): Uint8Array {
    for (const bad of this.unreadable) if (path === bad || isBelow(path, bad)) throw failure("EIO", path);
    const bytes = this.#inodes.get(path)?.content;
    if (bytes === undefined) throw failure(this.#folders.has(path) ? "EISDIR" : "ENOENT", path);
    return bytes.slice();
  }

  exists(path: string): boolean {
    return this.#inodes.has(path) || this.#folders.has(path);
  }

  identity(path: string): string | null {
    if (!this.exists(path)) return null;
    const inode = this.#inodes.get(path) ?? null;
    const known = this.#identities.get(path);
    if (known !== undefined && known.of === inode) return String(known.number);
    const number = ++this.#lastIdentity;
    this.#identities.set(path, { of: inode, number });
    return String(number);
  }

  list(path: string): readonly FileEntry[] | null {
    if (!this.#folders.has(path)) return null;
    const entries = new Map<string, FileEntry>();
    for (const file of this.#inodes.keys())
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
  const demandRoom = (path: string): void => {
    if (disk.full) throw failure("ENOSPC", path);
    if (disk.list(parent(path)) === null) throw failure("ENOENT", path);
  };
  /** In the steps of the real host: between any two of them the process may be killed, or the power go. */
  const replace = async (path: string, bytes: Uint8Array, mode: number): Promise<void> => {
    const temporary = `${parent(path)}/.${path.slice(path.lastIndexOf("/") + 1)}.${random.next().toString(16)}`;
    await soon(() => {
      demandRoom(path);
      disk.writeUnflushed(temporary, bytes);
      disk.setMode(temporary, mode);
    });
    await soon(() => disk.flush(temporary));
    await soon(() => disk.rename(temporary, path));
    await soon(() => disk.flushNames(parent(path)));
  };
  return {
    readText: (path) => soon(() => new TextDecoder().decode(disk.read(path))),
    readBytes: (path) => soon(() => disk.read(path)),
    list: (path) => soon(() => disk.list(path)),
    exists: (path) => soon(() => disk.exists(path)),
    identity: (path) => soon(() => disk.identity(path)),
    writeAtomic: (path, bytes, mode) => replace(path, bytes.slice(), mode),
    writeStream: async (path, pieces, mode) => {
      const all: Uint8Array[] = [];
      for await (const piece of pieces) all.push(piece.slice());
      const whole = new Uint8Array(all.reduce((sum, { length }) => sum + length, 0));
      let at = 0;
      for (const piece of all) {
        whole.set(piece, at);
        at += piece.length;
      }
      await replace(path, whole, mode);
      return whole.length;
    },
    appendLines: async (path, lines, mode) => {
      const copy = lines.slice();
      await soon(() => {
        demandRoom(path);
        const before = disk.exists(path) ? disk.read(path) : new Uint8Array();
        if (!disk.exists(path)) disk.setMode(path, mode);
        const whole = before.subarray(0, before.lastIndexOf(0x0a) + 1);
        if (whole.length < before.length && before[whole.length] !== 0x7b) throw failure("EINVAL", path);
        const bytes = new Uint8Array(whole.length + copy.length);
        bytes.set(whole);
        bytes.set(copy, whole.length);
        disk.writeUnflushed(path, bytes);
      });
      await soon(() => disk.flush(path));
      await soon(() => disk.flushNames(parent(path)));
    },
    makeDirectory: (path, mode) =>
      soon(() => {
        if (disk.full) throw failure("ENOSPC", path);
        disk.makeFolder(path);
        disk.setMode(path, mode);
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
