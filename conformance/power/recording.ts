/** What a process asks of the kernel about the files below one folder, and what it says on standard output meanwhile, by strace. */
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";

/** In the order in which they ended: what is flushed is so when fsync returns. */
export type Operation =
  | { readonly kind: "create"; readonly path: string }
  | { readonly kind: "write"; readonly path: string; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "truncate"; readonly path: string; readonly length: number }
  | { readonly kind: "flush"; readonly path: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string }
  | { readonly kind: "remove"; readonly path: string }
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "said"; readonly text: string };

const calls = [
  "openat,open,write,pwrite64,writev,pwritev,fsync,fdatasync,ftruncate,rename,renameat,renameat2",
  "unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,copy_file_range,sendfile,close",
].join(",");
/** The room that a control plane keeps to itself: what is in it is of no importance, and it is made again where it is missing. */
export const reserve = ".reserve";
/** Of one write. */
const maxBytes = 1024 * 1024;
/** They change files in ways that are not followed here. Room that is taken before it is written (fallocate) is as good as none. */
const unknown = new Set(["writev", "pwritev", "link", "linkat", "copy_file_range", "sendfile"]);

export function hasStrace(): boolean {
  return Bun.which("strace") !== null;
}

/** @throws when the command fails, or does something to a file that is not followed here. */
export async function record(
  command: readonly string[],
  folder: string,
  scratch: string,
): Promise<readonly Operation[]> {
  const log = join(scratch, "strace.log");
  const trace = [
    "strace",
    "-f",
    "-y",
    "-xx",
    "-s",
    String(maxBytes),
    "-o",
    log,
    "-e",
    `trace=${calls}`,
    "--",
    ...command,
  ];
  const child = Bun.spawn([...trace], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const complaint = await new Response(child.stderr).text();
  const exitCode = await child.exited;
  if (exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${exitCode}: ${complaint}`);
  const text = await readFile(log, "latin1");
  await rm(log);
  return new Reader(folder).read(text);
}

interface Opened {
  position: number;
  readonly appends: boolean;
}

class Reader {
  readonly #folder: string;
  readonly #operations: Operation[] = [];
  /** By number and path, as all threads of the process share them. */
  readonly #open = new Map<string, Opened>();
  readonly #lengths = new Map<string, number>();
  /** The first half of a call that another thread's came into. */
  readonly #begun = new Map<string, string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  read(text: string): readonly Operation[] {
    for (const line of text.split("\n")) {
      const [, thread = "", rest = ""] = /^(\d+)\s+(.*)$/.exec(line) ?? [];
      if (rest.endsWith("<unfinished ...>")) {
        this.#begun.set(thread, rest.slice(0, -"<unfinished ...>".length));
        continue;
      }
      const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
      this.#call(resumed === null ? rest : `${this.#begun.get(thread) ?? ""}${resumed[1]}`);
    }
    return this.#operations;
  }

  #call(text: string): void {
    const [, name = "", given = "", returned = ""] = /^(\w+)\((.*)\)\s+= (-?\d+)/.exec(text) ?? [];
    const result = Number(returned);
    if (name === "" || result < 0) return;
    const paths = [...given.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex = ""]) => bytesOf(hex));
    const [descriptor = "", file = ""] = /^(\d+)<((?:[^<>]|\\x..)*)>/.exec(given)?.slice(1) ?? [];
    const path = plain(file);
    const key = `${descriptor} ${path}`;
    switch (name) {
      case "openat":
      case "open":
        this.#opened(textOf(paths[0]), given, result);
        return;
      case "close":
        this.#open.delete(key);
        return;
      case "write":
      case "pwrite64": {
        const bytes = new Uint8Array(result);
        bytes.set((paths[0] ?? new Uint8Array()).subarray(0, result));
        if (descriptor === "1") this.#operations.push({ kind: "said", text: textOf(bytes) });
        if (!this.#isOurs(path)) return;
        const offset =
          name === "pwrite64" ? Number(/, (\d+)$/.exec(given)?.[1]) : this.#advance(key, path, result);
        this.#write(path, offset, bytes);
        return;
      }
      case "fsync":
      case "fdatasync":
        if (path === this.#folder || this.#isOurs(path)) this.#operations.push({ kind: "flush", path });
        return;
      case "ftruncate": {
        const length = Number(/, (\d+)$/.exec(given)?.[1]);
        if (this.#isOurs(path)) this.#truncate(path, length);
        return;
      }
      default:
        this.#named(name, paths.map(textOf), path);
    }
  }

  #named(name: string, [first = "", second = ""]: readonly string[], path: string): void {
    if (name.startsWith("rename") && this.#isOurs(first)) {
      this.#operations.push({ kind: "rename", from: first, to: second });
      this.#lengths.set(second, this.#lengths.get(first) ?? 0);
      this.#lengths.delete(first);
    } else if ((name.startsWith("unlink") || name === "rmdir") && this.#isOurs(first)) {
      this.#operations.push({ kind: "remove", path: first });
      this.#lengths.delete(first);
    } else if (name.startsWith("mkdir") && this.#isOurs(first))
      this.#operations.push({ kind: "folder", path: first });
    else if (unknown.has(name) && [first, second, path].some((one) => this.#isOurs(one)))
      throw new Error(`${name} of ${first || path} is not followed`);
  }

  #opened(path: string, given: string, descriptor: number): void {
    if (!this.#isOurs(path)) return;
    if (given.includes("O_CREAT") && !this.#lengths.has(path)) {
      this.#operations.push({ kind: "create", path });
      this.#lengths.set(path, 0);
    }
    if (given.includes("O_TRUNC") && (this.#lengths.get(path) ?? 0) > 0) this.#truncate(path, 0);
    this.#open.set(`${descriptor} ${path}`, { position: 0, appends: given.includes("O_APPEND") });
  }

  #advance(key: string, path: string, by: number): number {
    const opened = this.#open.get(key) ?? { position: 0, appends: false };
    const offset = opened.appends ? (this.#lengths.get(path) ?? 0) : opened.position;
    opened.position = offset + by;
    return offset;
  }

  #write(path: string, offset: number, bytes: Uint8Array): void {
    this.#operations.push({ kind: "write", path, offset, bytes });
    this.#lengths.set(path, Math.max(this.#lengths.get(path) ?? 0, offset + bytes.length));
  }

  #truncate(path: string, length: number): void {
    this.#operations.push({ kind: "truncate", path, length });
    this.#lengths.set(path, length);
  }

  #isOurs(path: string): boolean {
    return path.startsWith(`${this.#folder}/`) && !path.includes(reserve);
  }
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex.replaceAll("\\x", ""), "hex"));
}

function textOf(bytes: Uint8Array | undefined): string {
  return new TextDecoder().decode(bytes);
}

/** With `-xx` strace writes the paths of descriptors in hexadecimal too. */
function plain(path: string): string {
  return path.includes("\\x") ? textOf(bytesOf(path)) : path;
}
