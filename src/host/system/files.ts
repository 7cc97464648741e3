/** Files of the hosts that are real. */
import { constants } from "node:fs";
import {
  access,
  chmod,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Clock, FileEntry, Files } from "../host.ts";
import { systemErrorName } from "../socket_errors.ts";
import { randomHex } from "./random_hex.ts";
import { watchPath } from "./watch.ts";

export class SystemFiles implements Files {
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  readText(path: string): Promise<string> {
    return readFile(path, "utf8").catch(failed("read", path));
  }

  async readBytes(path: string): Promise<Uint8Array> {
    const buffer = await readFile(path).catch(failed("read", path));
    return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  }

  async list(path: string): Promise<readonly FileEntry[] | null> {
    let names: string[];
    try {
      names = await readdir(path);
    } catch (thrown) {
      const name = systemErrorName(thrown);
      if (name === "ENOTDIR" || name === "ENOENT") return null;
      return failed("list", path)(thrown);
    }
    return Promise.all(names.sort().map((name) => entry(join(path, name))));
  }

  exists(path: string): Promise<boolean> {
    return access(path).then(
      () => true,
      () => false,
    );
  }

  identity(path: string): Promise<string | null> {
    return stat(path, { bigint: true }).then(
      ({ dev, ino }) => `${dev}:${ino}`,
      () => null,
    );
  }

  async writeAtomic(path: string, bytes: Uint8Array, mode: number): Promise<void> {
    // In the same directory: a rename across file systems is no rename.
    const temporary = join(dirname(path), `.${basename(path)}.${randomHex(6)}`);
    try {
      await writeFlushed(temporary, [bytes], mode);
      await rename(temporary, path);
      await flushDirectory(dirname(path));
    } catch (thrown) {
      await rm(temporary, { force: true }).catch(() => {});
      return failed("write", path)(thrown);
    }
  }

  async writeStream(path: string, pieces: AsyncIterable<Uint8Array>, mode: number): Promise<number> {
    const temporary = join(dirname(path), `.${basename(path)}.${randomHex(6)}`);
    try {
      const written = await writeFlushed(temporary, pieces, mode);
      await rename(temporary, path);
      await flushDirectory(dirname(path));
      return written;
    } catch (thrown) {
      await rm(temporary, { force: true }).catch(() => {});
      if (thrown instanceof MeshError) throw thrown;
      return failed("write", path)(thrown);
    }
  }

  async appendLines(path: string, lines: Uint8Array, mode: number): Promise<void> {
    // O_NONBLOCK: opening a pipe would otherwise wait for its reader, for ever.
    const { O_APPEND, O_CREAT, O_NONBLOCK, O_RDWR } = constants;
    const file = await open(path, O_APPEND | O_CREAT | O_NONBLOCK | O_RDWR, mode).catch(failed("open", path));
    try {
      const status = await file.stat();
      if (!status.isFile()) throw new MeshError("io", "local", `${path}: it is no regular file`);
      const size = await wholeLines(file, status.size, path);
      if (size !== status.size) await file.truncate(size);
      try {
        await file.writeFile(lines);
        await file.sync();
      } catch (thrown) {
        // A disk that was full in the middle: half of it is worth nothing.
        await file.truncate(size).catch(() => {});
        throw thrown;
      }
      if (size === 0) await flushDirectory(dirname(path));
    } catch (thrown) {
      if (thrown instanceof MeshError) throw thrown;
      return failed("write", path)(thrown);
    } finally {
      await file.close().catch(() => {});
    }
  }

  async makeDirectory(path: string, mode: number): Promise<void> {
    try {
      const first = await mkdir(path, { recursive: true, mode });
      await chmod(path, mode);
      if (first === undefined) return;
      // Each new one is a name in the one above it, and is lost in a power cut with all that is in it unless that is flushed.
      for (let folder = resolve(path); ; folder = dirname(folder)) {
        await flushDirectory(dirname(folder));
        if (folder === resolve(first)) return;
      }
    } catch (thrown) {
      return failed("make directory", path)(thrown);
    }
  }

  async remove(path: string): Promise<void> {
    await rm(path, { recursive: true, force: true }).catch(failed("remove", path));
  }

  watch(path: string, onChange: () => void): () => void {
    return watchPath(this.#clock, path, onChange);
  }
}

/** A symbolic link is what it points to: Kubernetes and others publish whole directories through links. */
async function entry(path: string): Promise<FileEntry> {
  const isDirectory = await stat(path).then(
    (status) => status.isDirectory(),
    () => false,
  );
  return { path, isDirectory };
}

async function writeFlushed(
  path: string,
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  mode: number,
): Promise<number> {
  const file = await open(path, "wx", mode);
  try {
    // The mode given to open is cut by the umask.
    await file.chmod(mode);
    let written = 0;
    for await (const bytes of pieces) {
      await file.writeFile(bytes);
      written += bytes.length;
    }
    await file.sync();
    return written;
  } finally {
    await file.close();
  }
}

/**
 * Where the last whole line ends. What is behind it is cut off only where it can be ours, the beginning of a JSON object: a path that
 * names some other file by mistake is left as it is.
 *
 * @throws MeshError `io`.
 */
async function wholeLines(file: FileHandle, size: number, path: string): Promise<number> {
  const wanted = Math.min(size, hostLimits.maxTornLineBytes);
  const end = new Uint8Array(wanted);
  const tail = new Uint8Array(1);
  if (size > 0) await file.read(tail, 0, 1, size - 1);
  if (size === 0 || tail[0] === lineFeed) return size;
  await file.read(end, 0, wanted, size - wanted);
  const last = end.lastIndexOf(lineFeed);
  const isWithin = last !== -1 || wanted === size;
  if (isWithin && end[last + 1] === openBrace) return size - wanted + last + 1;
  throw new MeshError(
    "io",
    "local",
    `${path}: its last line has no end and is not one of ours; name another file`,
  );
}

const openBrace = 0x7b;
const lineFeed = 0x0a;

/** The rename itself survives a power cut only when the directory is flushed. */
async function flushDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

function failed(what: string, path: string): (thrown: unknown) => never {
  return (thrown) => {
    const name = systemErrorName(thrown);
    const said = thrown instanceof Error ? thrown.message : String(thrown);
    const reason = name === null ? said : (words[name] ?? name);
    const code = name === "EROFS" ? "disk_read_only" : "io";
    throw new MeshError(code, "local", `cannot ${what} ${path}: ${reason}`, { cause: thrown });
  };
}

/** What an operator meets, in words; every other is told by its name. */
const words: Readonly<Record<string, string>> = {
  ENOENT: "it does not exist",
  EACCES: "permission denied",
  EPERM: "not permitted",
  EISDIR: "it is a directory",
  ENOTDIR: "a part of the path is no directory",
  ENOSPC: "the disk is full (ENOSPC)",
  EROFS: "the file system is read-only (EROFS)",
};
