/** Descriptors from process to process over a Unix socket (unix(7), SCM_RIGHTS), and memory that both have. */
import { dlopen, ptr } from "bun:ffi";
import { MeshError } from "../../../base/errors.ts";
import { openCLibrary } from "../linux_socket.ts";

const AF_UNIX = 1;
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MFD_CLOEXEC_AND_SEALING = 1 | 2;
const F_ADD_SEALS = 1033;
/** F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW. */
const keepsItsSize = 1 | 2 | 4;
/** `struct cmsghdr` of 16 bytes and one descriptor, without and with its padding. */
const controlBytes = 20;
const paddedControlBytes = 24;
/** Each message has so many bytes, so that none is ever read in pieces. */
export const descriptorMessageBytes = 64;
const headBytes = 2;

const SYMBOLS = {
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  sendmsg: { args: ["i32", "ptr", "i32"], returns: "i32" },
  recvmsg: { args: ["i32", "ptr", "i32"], returns: "i32" },
  memfd_create: { args: ["ptr", "u32"], returns: "i32" },
  ftruncate: { args: ["i32", "i64"], returns: "i32" },
  // Variadic in C; on every system that we build for the third argument is passed alike.
  fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
  write: { args: ["i32", "ptr", "u64"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
} as const;

type Library = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

/** What goes with a descriptor: a number of 16 bits and a name. */
export interface DescriptorNote {
  readonly number: number;
  readonly name: string;
}

export interface DescriptorMessage extends DescriptorNote {
  /** The receiver's from now on; null when this process has no room for it: the connection is closed then. */
  readonly fd: number | null;
}

export class DescriptorMessages {
  readonly #library: Library;
  // Over ArrayBuffers of their own, as in `LinuxSockets`: the kernel is given their addresses.
  readonly #bytes = new Uint8Array(new ArrayBuffer(descriptorMessageBytes));
  readonly #vector = new BigUint64Array(new ArrayBuffer(16));
  readonly #control = new Int32Array(new ArrayBuffer(paddedControlBytes));
  /** `struct msghdr`: name, its length, vector, its length, control, its length, flags. */
  readonly #head = new BigUint64Array(new ArrayBuffer(56));

  private constructor(library: Library) {
    this.#library = library;
    this.#vector[0] = BigInt(ptr(this.#bytes));
    this.#vector[1] = BigInt(descriptorMessageBytes);
    this.#head[2] = BigInt(ptr(this.#vector));
    this.#head[3] = 1n;
    this.#head[4] = BigInt(ptr(this.#control));
  }

  /** @returns null where there is no Linux C library to call. */
  static open(): DescriptorMessages | null {
    const library = openCLibrary((name) => dlopen(name, SYMBOLS).symbols);
    return library === null ? null : new DescriptorMessages(library);
  }

  /** Two ends of a stream, which no program that this one starts has by itself. @throws MeshError `descriptors_exhausted`. */
  pair(): readonly [number, number] {
    const ends = new Int32Array(new ArrayBuffer(8));
    if (this.#library.socketpair(AF_UNIX, SOCK_STREAM_NONBLOCK_CLOEXEC, 0, ends) !== 0)
      throw new MeshError("descriptors_exhausted", "local", "no descriptor is left for a pair of sockets");
    return [ends[0] ?? -1, ends[1] ?? -1];
  }

  /** A file in memory alone, full of zeros, whose size no process can change: to shrink it would end each that has it mapped. @throws MeshError `io`. */
  memory(bytes: number): number {
    const name = new TextEncoder().encode("fairlead\0");
    const fd = this.#library.memfd_create(ptr(name), MFD_CLOEXEC_AND_SEALING);
    if (fd < 0) throw new MeshError("io", "local", "the kernel gives no memory to share (memfd_create)");
    const hasSize = this.#library.ftruncate(fd, BigInt(bytes)) === 0;
    if (hasSize && this.#library.fcntl(fd, F_ADD_SEALS, keepsItsSize) === 0) return fd;
    this.close(fd);
    throw new MeshError("io", "local", "the kernel gives no memory to share (ftruncate, F_ADD_SEALS)");
  }

  /** @param fd stays the sender's as well. @returns whether it is on its way; a note that is too long never is. */
  send(to: number, fd: number, { number, name }: DescriptorNote): boolean {
    this.#bytes.fill(0);
    this.#bytes[0] = number & 0xff;
    this.#bytes[1] = number >> 8;
    const { read } = new TextEncoder().encodeInto(name, this.#bytes.subarray(headBytes));
    if (read !== name.length) return false;
    this.#control[0] = controlBytes;
    this.#control[1] = 0;
    this.#control[2] = SOL_SOCKET;
    this.#control[3] = SCM_RIGHTS;
    this.#control[4] = fd;
    this.#head[5] = BigInt(paddedControlBytes);
    this.#head[6] = 0n;
    return this.#library.sendmsg(to, ptr(this.#head), MSG_DONTWAIT | MSG_NOSIGNAL) === descriptorMessageBytes;
  }

  /** @returns the next one that is there; null when none is. */
  receive(from: number): DescriptorMessage | null {
    this.#control.fill(0);
    // Room for one: whoever sends more has the rest closed by the kernel.
    this.#head[5] = BigInt(controlBytes);
    this.#head[6] = 0n;
    const got = this.#library.recvmsg(from, ptr(this.#head), MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got <= 0) return null;
    const end = this.#bytes.indexOf(0, headBytes);
    const name = this.#bytes.subarray(headBytes, end < 0 ? descriptorMessageBytes : end);
    const hasOne = this.#control[2] === SOL_SOCKET && this.#control[3] === SCM_RIGHTS;
    return {
      number: (this.#bytes[0] ?? 0) | ((this.#bytes[1] ?? 0) << 8),
      name: new TextDecoder().decode(name),
      fd: hasOne ? (this.#control[4] ?? null) : null,
    };
  }

  /** One byte. Where it does not fit there are some already, and they say the same. */
  ring(bell: number): void {
    this.#library.write(bell, this.#bytes, 1);
  }

  close(fd: number): void {
    this.#library.close(fd);
  }
}
