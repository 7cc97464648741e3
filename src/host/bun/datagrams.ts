/** Datagrams to one receiver, by the C library: Bun has no Unix datagram sockets, and its UDP tells no full buffer. */
import { dlopen, type Pointer, read } from "bun:ffi";
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import type { Datagrams } from "../host.ts";
import { connectError, errnoName } from "../socket_errors.ts";
import { maxUnixPathBytes } from "../system/unix_file.ts";
import { openCLibrary } from "./linux_socket.ts";

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
const MSG_DONTWAIT_NOSIGNAL = 0x40 | 0x4000;
const EMSGSIZE = 90;
const EAGAIN = 11;
const ENOBUFS = 105;

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  send: { args: ["i32", "ptr", "u64", "i32"], returns: "i64" },
  close: { args: ["i32"], returns: "i32" },
  __errno_location: { args: [], returns: "ptr" },
} as const;

type Library = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

/** @throws MeshError as `Network.openDatagrams` says. */
export function openDatagrams(to: SocketAddress | string, descriptorCeiling: number): Datagrams {
  const library = openCLibrary((name) => dlopen(name, SYMBOLS).symbols);
  const errno = library?.__errno_location();
  if (library === null || typeof errno !== "number")
    throw new MeshError("unsupported", "local", "datagrams need Linux");
  const name = typeof to === "string" ? to : formatSocketAddress(to);
  const address = encodeAddress(to);
  if (address === null) throw connectError("ENAMETOOLONG", name);
  const fd = library.socket(familyOf(to), SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
  if (fd < 0) throw failure(errno, name);
  if (fd >= descriptorCeiling) {
    library.close(fd);
    throw connectError("EMFILE", name);
  }
  if (library.connect(fd, address, address.length) < 0) {
    const error = failure(errno, name);
    library.close(fd);
    throw error;
  }
  return new LinuxDatagrams(library, errno, fd, name);
}

class LinuxDatagrams implements Datagrams {
  readonly #library: Library;
  readonly #errno: Pointer;
  readonly #name: string;
  #fd: number;

  constructor(library: Library, errno: Pointer, fd: number, name: string) {
    this.#library = library;
    this.#errno = errno;
    this.#fd = fd;
    this.#name = name;
  }

  send(bytes: Uint8Array): boolean {
    if (this.#fd < 0)
      throw new MeshError("connection_closed", "upstream", `${this.#name}: the socket is closed`);
    // Over an ArrayBuffer of its own, as in `LinuxSockets`.
    const copy = new Uint8Array(new ArrayBuffer(Math.max(1, bytes.length)));
    copy.set(bytes);
    if (Number(this.#library.send(this.#fd, copy, bytes.length, MSG_DONTWAIT_NOSIGNAL)) >= 0) return true;
    const errno = read.i32(this.#errno, 0);
    if (errno === EAGAIN || errno === ENOBUFS) return false;
    if (errno === EMSGSIZE)
      throw new MeshError(
        "limit_reached",
        "upstream",
        `${this.#name}: ${bytes.length} bytes are more than one datagram holds`,
      );
    throw connectError(errnoName(errno), this.#name);
  }

  close(): void {
    if (this.#fd >= 0) this.#library.close(this.#fd);
    this.#fd = -1;
  }
}

function failure(errno: Pointer, name: string): MeshError {
  return connectError(errnoName(read.i32(errno, 0)), name);
}

function familyOf(to: SocketAddress | string): number {
  return typeof to === "string" ? AF_UNIX : to.ip.isIpv4 ? AF_INET : AF_INET6;
}

/** `struct sockaddr_un`, `sockaddr_in` or `sockaddr_in6`. @returns null for a path that is too long. */
function encodeAddress(to: SocketAddress | string): Uint8Array | null {
  const path = typeof to === "string" ? new TextEncoder().encode(to) : null;
  if (path !== null && path.length > maxUnixPathBytes) return null;
  const isIpv4 = typeof to !== "string" && to.ip.isIpv4;
  const bytes = new Uint8Array(new ArrayBuffer(path !== null ? 2 + path.length + 1 : isIpv4 ? 16 : 28));
  bytes[0] = familyOf(to);
  if (path !== null) bytes.set(path, 2);
  else if (typeof to !== "string") {
    bytes[2] = to.port >> 8;
    bytes[3] = to.port & 0xff;
    bytes.set(to.ip.bytes, isIpv4 ? 4 : 8);
  }
  return bytes;
}
