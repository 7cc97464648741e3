/**
 * A disk that holds what was flushed and nothing else for certain. What was written since, and which names there are in a folder since that
 * was flushed, may be there after a power cut, in part, or not.
 */
import { dirname } from "node:path";
import type { Operation } from "./recording.ts";

interface Inode {
  /** As every process sees it. */
  content: Uint8Array;
  flushed: Uint8Array;
  /** What it was before the last write. */
  before: Uint8Array;
}

/** What a power cut makes of all that was not flushed. */
export const cuts = [
  "nothing is there",
  "names are there, contents are not",
  "contents are there, names are not",
  "the last write is torn",
] as const;
export type Cut = (typeof cuts)[number];

/** Files by path, and folders. */
export interface Image {
  readonly folders: readonly string[];
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export class Disk {
  readonly #root: string;
  readonly #names = new Map<string, Inode | "folder">();
  readonly #flushedNames = new Map<string, Inode | "folder">();
  #written: Inode | null = null;

  /** @param root is there. */
  constructor(root: string) {
    this.#root = root;
  }

  apply(operation: Operation): void {
    switch (operation.kind) {
      case "create":
        this.#names.set(operation.path, { content: none, flushed: none, before: none });
        return;
      case "folder":
        this.#names.set(operation.path, "folder");
        return;
      case "write":
        this.#change(operation.path, (content) => {
          const { offset, bytes } = operation;
          const next = new Uint8Array(Math.max(content.length, offset + bytes.length));
          next.set(content);
          next.set(bytes, offset);
          return next;
        });
        return;
      case "truncate":
        this.#change(operation.path, (content) => {
          const next = new Uint8Array(operation.length);
          next.set(content.subarray(0, operation.length));
          return next;
        });
        return;
      case "rename": {
        const inode = this.#names.get(operation.from);
        if (inode === undefined) return;
        this.#names.delete(operation.from);
        this.#names.set(operation.to, inode);
        return;
      }
      case "remove":
        this.#names.delete(operation.path);
        return;
      case "flush":
        this.#flush(operation.path);
        return;
      case "said":
        return;
    }
  }

  /** What there is when power is back. */
  image(cut: Cut): Image {
    const names =
      cut === "nothing is there" || cut === "contents are there, names are not"
        ? this.#flushedNames
        : this.#names;
    const folders: string[] = [];
    const files = new Map<string, Uint8Array>();
    for (const [path, inode] of names) {
      // A folder that is lost takes along what is in it.
      if (!this.#isReachable(path, names)) continue;
      if (inode === "folder") folders.push(path);
      else files.set(path, this.#contentOf(inode, cut));
    }
    return { folders: folders.sort(), files };
  }

  #contentOf(inode: Inode, cut: Cut): Uint8Array {
    if (cut === "nothing is there" || cut === "names are there, contents are not") return inode.flushed;
    if (cut === "contents are there, names are not" || inode !== this.#written) return inode.content;
    const { before, content } = inode;
    // Every other sector of what the last write changed.
    const torn = content.slice();
    for (let at = 0; at < torn.length; at += 2 * sectorBytes)
      torn.set(padded(before, at, Math.min(sectorBytes, torn.length - at)), at);
    return torn;
  }

  #isReachable(path: string, names: ReadonlyMap<string, unknown>): boolean {
    for (let folder = dirname(path); folder !== this.#root; folder = dirname(folder))
      if (!names.has(folder)) return false;
    return true;
  }

  #change(path: string, change: (content: Uint8Array) => Uint8Array): void {
    const inode = this.#names.get(path);
    if (inode === undefined || inode === "folder") return;
    inode.before = inode.content;
    inode.content = change(inode.content);
    this.#written = inode;
  }

  #flush(path: string): void {
    const inode = this.#names.get(path);
    if (inode !== undefined && inode !== "folder") {
      inode.flushed = inode.content;
      if (this.#written === inode) this.#written = null;
      return;
    }
    for (const known of [...this.#flushedNames.keys()])
      if (dirname(known) === path && !this.#names.has(known)) this.#flushedNames.delete(known);
    for (const [name, there] of this.#names) if (dirname(name) === path) this.#flushedNames.set(name, there);
  }
}

const none = new Uint8Array(0);
const sectorBytes = 512;

function padded(bytes: Uint8Array, at: number, length: number): Uint8Array {
  const piece = new Uint8Array(length);
  piece.set(bytes.subarray(at, at + length));
  return piece;
}
