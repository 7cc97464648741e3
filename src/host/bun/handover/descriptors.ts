/**
 * Descriptors themselves, by the C library. `Bun.listen` takes a listening socket by its descriptor; `Bun.serve` and `Bun.udpSocket` (Bun
 * 1.4.5) do not, so theirs is exchanged below them: the number stays, and what it means becomes the socket that was handed over.
 */

import { dlopen, ptr } from "bun:ffi";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { MeshError } from "../../../base/errors.ts";
import { openCLibrary } from "../linux_socket.ts";

const F_SETFD = 2;
const F_DUPFD_CLOEXEC = 1030;
const FD_CLOEXEC = 1;
const O_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
/** Below it are standard input, output and error. */
const firstFree = 3;

const SYMBOLS = {
  // Variadic in C; on every system that we build for the third argument is passed alike.
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  dup3: { args: ["i32", "i32", "i32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
} as const;

type Library = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

export class Descriptors {
  readonly #library: Library;

  private constructor(library: Library) {
    this.#library = library;
  }

  /** @returns null where there is no Linux C library to call. */
  static open(): Descriptors | null {
    const library = openCLibrary((name) => dlopen(name, SYMBOLS).symbols);
    return library === null ? null : new Descriptors(library);
  }

  /** Another number for the same socket; no program that this one starts has it. @throws MeshError `descriptors_exhausted`. */
  duplicate(fd: number): number {
    const copy = this.#library.fcntl(fd, F_DUPFD_CLOEXEC, firstFree);
    if (copy < 0)
      throw new MeshError("descriptors_exhausted", "local", "no descriptor is left for a listening socket");
    return copy;
  }

  /** Of one that was inherited. */
  keepFromChildren(fd: number): void {
    this.#library.fcntl(fd, F_SETFD, FD_CLOEXEC);
  }

  close(fd: number): void {
    this.#library.close(fd);
  }

  /** What `number` meant is closed, and it means the socket of `fd` from now on; `fd` is used up. @throws MeshError `io`. */
  exchange(number: number, fd: number): void {
    const watch = findWatch(number);
    if (watch === null)
      throw new MeshError("io", "local", "a listening socket is not watched by this program");
    if (this.#library.dup3(fd, number, O_CLOEXEC) < 0)
      throw new MeshError("io", "local", "a listening socket cannot be taken over (dup3)");
    this.close(fd);
    // The kernel watches sockets and not numbers, so the new one has to be watched as the old one was (epoll(7), Q6).
    if (this.#library.epoll_ctl(watch.epoll, EPOLL_CTL_ADD, number, ptr(watch.event)) < 0)
      throw new MeshError("io", "local", "a listening socket cannot be taken over (epoll_ctl)");
  }
}

/** `struct epoll_event`, packed on x86-64 and not elsewhere, as the kernel shows that it has it (proc(5), fdinfo). */
function findWatch(number: number): { readonly epoll: number; readonly event: Uint8Array } | null {
  for (const name of readdirSync("/proc/self/fd")) {
    if (linkOf(name) !== "anon_inode:[eventpoll]") continue;
    const line = new RegExp(`^tfd:\\s+${number} events:\\s+([0-9a-f]+) data:\\s+([0-9a-f]+)`, "m").exec(
      readFileSync(`/proc/self/fdinfo/${name}`, "utf8"),
    );
    const [, events = "", data = ""] = line ?? [];
    if (line === null) continue;
    const isPacked = process.arch === "x64";
    const event = new Uint8Array(new ArrayBuffer(isPacked ? 12 : 16));
    const view = new DataView(event.buffer);
    view.setUint32(0, Number.parseInt(events, 16), true);
    view.setBigUint64(isPacked ? 4 : 8, BigInt(`0x${data}`), true);
    return { epoll: Number(name), event };
  }
  return null;
}

function linkOf(name: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${name}`);
  } catch {
    return "";
  }
}

/** The numbers of the sockets that this process has. */
export function socketNumbers(): ReadonlySet<number> {
  return new Set(
    readdirSync("/proc/self/fd")
      .filter((name) => linkOf(name).startsWith("socket:"))
      .map(Number),
  );
}
