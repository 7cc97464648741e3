/** Unix sockets by the C library: a connect whose errno is told, and who is at the other end (unix(7), SO_PEERCRED, SO_PEERGROUPS). */
import { dlopen, type Pointer, read } from "bun:ffi";
import type { PeerCredentials } from "../host.ts";
import { maxUnixPathBytes } from "../system/unix_file.ts";
import { openCLibrary, SystemCallError } from "./linux_socket.ts";

const AF_UNIX = 1;
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
/** Linux' NGROUPS_MAX is 65536; a user in more than these counts as in none. */
const maxGroups = 4096;
/** `struct ucred`: pid, uid, gid. */
const UCRED_BYTES = 12;
const ENAMETOOLONG = 36;
const EMFILE = 24;

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  __errno_location: { args: [], returns: "ptr" },
} as const;

type Library = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

export class LinuxUnixSockets {
  readonly #library: Library;
  readonly #errno: Pointer;
  // Over ArrayBuffers of their own, as in `LinuxSockets`.
  readonly #address = new Uint8Array(new ArrayBuffer(2 + maxUnixPathBytes + 1));
  readonly #credentials = new Int32Array(new ArrayBuffer(UCRED_BYTES));
  readonly #groups = new Uint32Array(new ArrayBuffer(4 * maxGroups));
  readonly #length = new Uint32Array(new ArrayBuffer(4));
  readonly #pair = new Int32Array(new ArrayBuffer(8));

  private constructor(library: Library, errno: Pointer) {
    this.#library = library;
    this.#errno = errno;
  }

  /** @returns null where there is no Linux C library to call. */
  static open(): LinuxUnixSockets | null {
    const library = openCLibrary((name) => dlopen(name, SYMBOLS).symbols);
    const errno = library?.__errno_location();
    return library === null || typeof errno !== "number" ? null : new LinuxUnixSockets(library, errno);
  }

  /** @returns a connected descriptor, which is the caller's. @throws SystemCallError; EAGAIN while the listener's backlog is full. */
  dial(path: string, descriptorCeiling: number): number {
    const length = this.#writePath(path);
    const fd = this.#library.socket(AF_UNIX, SOCK_STREAM_NONBLOCK_CLOEXEC, 0);
    if (fd < 0) throw new SystemCallError("socket", this.#readErrno());
    if (fd >= descriptorCeiling) {
      this.#library.close(fd);
      throw new SystemCallError("socket", EMFILE);
    }
    if (this.#library.connect(fd, this.#address, length) === 0) return fd;
    const errno = this.#readErrno();
    this.#library.close(fd);
    throw new SystemCallError("connect", errno);
  }

  /** @returns two connected descriptors, which are the caller's. @throws SystemCallError. */
  pair(descriptorCeiling: number): readonly [number, number] {
    if (this.#library.socketpair(AF_UNIX, SOCK_STREAM_NONBLOCK_CLOEXEC, 0, this.#pair) !== 0)
      throw new SystemCallError("socketpair", this.#readErrno());
    const [first = -1, second = -1] = this.#pair;
    if (Math.max(first, second) < descriptorCeiling) return [first, second];
    this.#library.close(first);
    this.#library.close(second);
    throw new SystemCallError("socketpair", EMFILE);
  }

  close(fd: number): void {
    this.#library.close(fd);
  }

  /** Who connected, or who listened; as it was at that moment. Null for what is no Unix socket. */
  peerCredentials(fd: number): PeerCredentials | null {
    this.#length[0] = UCRED_BYTES;
    // A socket of another family answers too, with -1 for user and group: "unknown" must not look like a user.
    if (this.#library.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, this.#credentials, this.#length) < 0)
      return null;
    const [pid = 0, uid = -1, gid = -1] = this.#credentials;
    return this.#length[0] !== UCRED_BYTES || uid === -1 || gid === -1
      ? null
      : { pid, uid: uid >>> 0, gid: gid >>> 0, groups: this.#peerGroups(fd) };
  }

  /** Linux 4.13; none where the kernel does not tell. */
  #peerGroups(fd: number): readonly number[] {
    this.#length[0] = this.#groups.byteLength;
    if (this.#library.getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, this.#groups, this.#length) < 0) return [];
    return [...this.#groups.subarray(0, (this.#length[0] ?? 0) / 4)];
  }

  /** `struct sockaddr_un`. @returns its length. */
  #writePath(path: string): number {
    const encoded = new TextEncoder().encode(path);
    if (encoded.length > maxUnixPathBytes) throw new SystemCallError("connect", ENAMETOOLONG);
    this.#address.fill(0);
    this.#address[0] = AF_UNIX;
    this.#address.set(encoded, 2);
    return 2 + encoded.length + 1;
  }

  /** Must be the very next thing after the call. */
  #readErrno(): number {
    return read.i32(this.#errno, 0);
  }
}
