/**
 * The file of a Unix socket. Runtimes bind a path with a mode of their own, and take any file there for a reason not to; so a host binds
 * inside a private directory, and the finished socket is linked to where it belongs.
 */
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  rmdirSync,
  rmSync,
  type Stats,
  unlinkSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { MeshError } from "../../base/errors.ts";
import type { Listener } from "../host.ts";
import { listenError, systemErrorName } from "../socket_errors.ts";
import { unixSocketAddress } from "../unix_address.ts";
import { randomHex } from "./random_hex.ts";

/** `sockaddr_un.sun_path` holds 108 bytes with the closing NUL (unix(7)). */
export const maxUnixPathBytes = 107;

/** What is at a path now: a socket somebody answers, one that no process answers (left over from a process that died), or none. */
export type UnixLife = "alive" | "dead" | "gone";

/**
 * @param life of the socket at `path`, by dialling it. @throws MeshError.
 * @param bind listens at a path that no one else can reach yet. @returns what ends it.
 * @throws MeshError as `Network.listenUnix` says.
 */
export function listenUnixFile(
  path: string,
  mode: number,
  life: (path: string) => UnixLife,
  bind: (path: string) => () => void,
): Listener {
  clearTheWay(path, life);
  const bound = bindPrivately(path, bind);
  try {
    chmodSync(bound.path, mode);
    // Fails, where a rename would not, when somebody else has come first.
    linkSync(bound.path, path);
  } catch (thrown) {
    bound.stop();
    throw unixListenError(thrown, path);
  } finally {
    removePrivate(bound.path);
  }
  return publishedListener(path, bound.stop);
}

/** A socket file without an answer is replaced; anything else is in use. */
function clearTheWay(path: string, life: (path: string) => UnixLife): void {
  if (Buffer.byteLength(path) > maxUnixPathBytes) throw unixListenError({ code: "ENAMETOOLONG" }, path);
  const found = look(path);
  if (found === null) return;
  if (!found.isSocket())
    throw new MeshError("address_in_use", "local", `listen on ${path}: there is a file that is no socket`);
  const answer = life(path);
  if (answer === "alive") throw unixListenError({ code: "EADDRINUSE" }, path);
  if (answer === "dead") removeIfSame(path, found);
}

/**
 * Binds below a directory that only we can enter, beside the path: a link cannot cross file systems, and until the mode
 * is set no process can connect. The umask would do as well, were it not the whole process's.
 */
function bindPrivately(
  path: string,
  bind: (path: string) => () => void,
): { readonly path: string; readonly stop: () => void } {
  const directory = join(dirname(path), `.${randomHex(3)}`);
  const bound = join(directory, "s");
  if (Buffer.byteLength(bound) > maxUnixPathBytes) throw unixListenError({ code: "ENAMETOOLONG" }, path);
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (thrown) {
    throw unixListenError(thrown, path);
  }
  try {
    return { path: bound, stop: bind(bound) };
  } catch (thrown) {
    removePrivate(bound);
    throw unixListenError(thrown, path);
  }
}

function removePrivate(bound: string): void {
  rmSync(bound, { force: true });
  rmdirSync(dirname(bound));
}

/** Of a socket that is at `path` already. */
export function publishedListener(path: string, stop: () => void): Listener {
  const published = look(path);
  let closed = false;
  return {
    address: unixSocketAddress,
    close() {
      if (closed) return;
      closed = true;
      stop();
      if (published !== null) removeIfSame(path, published);
    },
  };
}

function look(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (thrown) {
    if (systemErrorName(thrown) === "ENOENT") return null;
    throw unixListenError(thrown, path);
  }
}

/** Never a file that somebody else has put there since. */
function removeIfSame(path: string, known: Stats): void {
  try {
    const found = lstatSync(path);
    if (found.ino === known.ino && found.dev === known.dev) unlinkSync(path);
  } catch {
    // Gone already, or not ours to remove.
  }
}

export function unixListenError(thrown: unknown, path: string): MeshError {
  const name = systemErrorName(thrown) ?? String(thrown);
  return listenError(name === "EEXIST" ? "EADDRINUSE" : name, path);
}
