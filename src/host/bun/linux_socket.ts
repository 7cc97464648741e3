/**
 * Linux socket calls that Bun does not offer, through `bun:ffi`: marks, foreign source addresses, the original
 * destination of a redirected connection, and a connect whose errno is told (Bun calls every failure ECONNREFUSED).
 */
import { dlopen, type Pointer, read } from "bun:ffi";
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { KeepAlive } from "../host.ts";
import { RecentAddresses } from "../recent_addresses.ts";
import { keepAliveSeconds } from "../system/keep_alive.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;
const SOL_IP = 0;
const SOL_SOCKET = 1;
const IPPROTO_TCP = 6;
const SOL_IPV6 = 41;
const SO_ERROR = 4;
const SO_KEEPALIVE = 9;
const SO_LINGER = 13;
const SO_MARK = 36;
const TCP_NODELAY = 1;
const TCP_INFO = 11;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
/** Linux' own bounds (tcp(7), `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPCNT`): beyond them the call fails. */
const maxKeepAliveSeconds = 32_767;
const maxKeepAliveProbes = 127;
const IP_FREEBIND = 15;
const IP_TRANSPARENT = 19;
const IP_BIND_ADDRESS_NO_PORT = 24;
const IPV6_TRANSPARENT = 75;
const IPV6_FREEBIND = 78;
/** The same number for SO_ORIGINAL_DST (linux/netfilter_ipv4.h) and IP6T_SO_ORIGINAL_DST. */
const SO_ORIGINAL_DST = 80;
const EMFILE = 24;
const EINPROGRESS = 115;
const POLLOUT = 4;
const RLIMIT_NOFILE = 7;
/** Bytes that were written and that the peer has not acknowledged (tcp(7)). */
const SIOCOUTQ = 0x5411;
const SOCKADDR_BYTES = 28;

const SYMBOLS = {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
  connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
  getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getpeername: { args: ["i32", "ptr", "ptr"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
  getrlimit: { args: ["i32", "ptr"], returns: "i32" },
  ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
  poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
  __errno_location: { args: [], returns: "ptr" },
} as const;

type Library = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

export interface DialOptions {
  readonly to: SocketAddress;
  readonly from: { readonly ip: IpAddress; readonly port: number; readonly transparent: boolean } | null;
  readonly mark: number | null;
  readonly keepAlive: KeepAlive | null;
  /** A descriptor at or above it is given back, as if there were none (EMFILE). */
  readonly descriptorCeiling: number;
}

/** A call that failed, with its errno. `call` names it for the operator (`setsockopt SO_MARK`). */
export class SystemCallError extends Error {
  readonly call: string;
  readonly errno: number;

  constructor(call: string, errno: number) {
    super(`${call} failed with errno ${errno}`);
    this.call = call;
    this.errno = errno;
  }
}

/** @returns what `load` makes of the first name that it can load; null on another system, or where no name is known. */
export function openCLibrary<T>(load: (name: string) => T): T | null {
  if (process.platform !== "linux") return null;
  for (const name of ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`]) {
    try {
      return load(name);
    } catch {
      // Not this C library; the next name, or none.
    }
  }
  return null;
}

export class LinuxSockets {
  readonly #library: Library;
  readonly #errno: Pointer;
  // Over ArrayBuffers of their own: the storage of a small typed array lies in the collector's heap and may move
  // between taking its address and the call.
  readonly #address = new Uint8Array(new ArrayBuffer(SOCKADDR_BYTES));
  readonly #int = new Int32Array(new ArrayBuffer(4));
  readonly #tcpInfo = new BigUint64Array(32);
  readonly #length = new Uint32Array(new ArrayBuffer(4));
  /** `struct linger`: on, and no time at all. */
  readonly #noLinger = new Int32Array(new ArrayBuffer(8));
  /** `struct pollfd`: the descriptor, then events and revents as two shorts. */
  readonly #poll = new Int32Array(new ArrayBuffer(8));
  readonly #recent = new RecentAddresses();
  /** Where the two families have their address in `#address`. */
  readonly #ipv4 = this.#address.subarray(4, 8);
  readonly #ipv6 = this.#address.subarray(8, 24);

  private constructor(library: Library, errno: Pointer) {
    this.#library = library;
    this.#errno = errno;
    this.#noLinger[0] = 1;
  }

  /** @returns null where there is no Linux C library to call (another system, or musl without the compatibility name). */
  static open(): LinuxSockets | null {
    const library = openCLibrary((name) => dlopen(name, SYMBOLS).symbols);
    const errno = library?.__errno_location();
    return library === null || typeof errno !== "number" ? null : new LinuxSockets(library, errno);
  }

  /**
   * A non-blocking connect under way.
   *
   * @returns the descriptor, which is the caller's. @throws SystemCallError when a call fails at once.
   */
  dial(options: DialOptions): number {
    const family = options.to.ip.isIpv4 ? AF_INET : AF_INET6;
    const fd = this.#library.socket(family, SOCK_STREAM_NONBLOCK_CLOEXEC, 0);
    if (fd < 0) throw this.#failure("socket");
    try {
      if (fd >= options.descriptorCeiling) throw new SystemCallError("socket", EMFILE);
      this.tune(fd);
      if (options.keepAlive !== null) this.#keepAlive(fd, options.keepAlive);
      if (options.mark !== null) this.#set(fd, SOL_SOCKET, SO_MARK, options.mark, "setsockopt SO_MARK");
      if (options.from !== null) this.#bind(fd, options.from);
      const length = this.#writeAddress(options.to);
      if (this.#library.connect(fd, this.#address, length) < 0) {
        // No error object for what every connect says: its stack trace would cost more than the call.
        const errno = this.#readErrno();
        if (errno !== EINPROGRESS) throw new SystemCallError("connect", errno);
      }
      return fd;
    } catch (thrown) {
      this.#library.close(fd);
      throw thrown;
    }
  }

  /** TCP_NODELAY and keep-alive; set on a listener, accepted sockets inherit them. Failures are harmless and not told. */
  tune(fd: number): void {
    this.#trySet(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    this.#trySet(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    this.probeLater(fd);
    this.#trySet(fd, IPPROTO_TCP, TCP_KEEPCNT, hostLimits.keepAliveProbes);
  }

  /** What a connection inherits from its listener is the time of all others, too. */
  probeLater(fd: number): void {
    const seconds = keepAliveSeconds();
    this.#trySet(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
    this.#trySet(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
  }

  #keepAlive(fd: number, { probes, timeMs, intervalMs }: KeepAlive): void {
    const seconds = (ms: number) => Math.min(maxKeepAliveSeconds, Math.max(1, Math.round(ms / 1000)));
    if (timeMs !== null) this.#trySet(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds(timeMs));
    if (intervalMs !== null) this.#trySet(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds(intervalMs));
    if (probes !== null)
      this.#trySet(fd, IPPROTO_TCP, TCP_KEEPCNT, Math.min(maxKeepAliveProbes, Math.max(1, probes)));
  }

  /** Whoever closes it now, be it the end of the process, resets the connection (socket(7), SO_LINGER). @returns whether that was possible. */
  resetOnClose(fd: number): boolean {
    return this.#library.setsockopt(fd, SOL_SOCKET, SO_LINGER, this.#noLinger, 8) === 0;
  }

  /** Bytes written that the peer's kernel does not have yet; 0 where it cannot be told. */
  unsentBytes(fd: number): number {
    return this.#library.ioctl(fd, SIOCOUTQ, this.#int) < 0 ? 0 : (this.#int[0] ?? 0);
  }

  /** For a listener that TPROXY diverts to. @throws SystemCallError without CAP_NET_ADMIN. */
  setTransparent(fd: number, isIpv4: boolean): void {
    // An IPv6 socket serves IPv4 as well and needs both.
    this.#set(fd, SOL_IP, IP_TRANSPARENT, 1, "setsockopt IP_TRANSPARENT");
    if (!isIpv4) this.#set(fd, SOL_IPV6, IPV6_TRANSPARENT, 1, "setsockopt IPV6_TRANSPARENT");
  }

  /** The destination before netfilter's REDIRECT or DNAT; null when connection tracking knows nothing of the connection. */
  originalDestination(fd: number, isIpv4: boolean): SocketAddress | null {
    this.#length[0] = SOCKADDR_BYTES;
    const level = isIpv4 ? SOL_IP : SOL_IPV6;
    if (this.#library.getsockopt(fd, level, SO_ORIGINAL_DST, this.#address, this.#length) < 0) return null;
    return this.#readAddress();
  }

  localAddress(fd: number): SocketAddress | null {
    this.#length[0] = SOCKADDR_BYTES;
    return this.#library.getsockname(fd, this.#address, this.#length) < 0 ? null : this.#readAddress();
  }

  /** Null when it is not connected, or not any more. */
  remoteAddress(fd: number): SocketAddress | null {
    this.#length[0] = SOCKADDR_BYTES;
    return this.#library.getpeername(fd, this.#address, this.#length) < 0 ? null : this.#readAddress();
  }

  /** The pending error of a connect that failed; 0 for none. */
  takeError(fd: number): number {
    this.#length[0] = 4;
    if (this.#library.getsockopt(fd, SOL_SOCKET, SO_ERROR, this.#int, this.#length) < 0) return 0;
    return this.#int[0] ?? 0;
  }

  /** How many bytes of the peer have arrived so far, read or not; null when there is no such connection. */
  receivedBytes(fd: number): number | null {
    this.#length[0] = this.#tcpInfo.byteLength;
    if (this.#library.getsockopt(fd, IPPROTO_TCP, TCP_INFO, this.#tcpInfo, this.#length) < 0) return null;
    // `tcpi_bytes_received` of linux/tcp.h, at 128, since Linux 4.1.
    return (this.#length[0] ?? 0) < 136 ? null : Number(this.#tcpInfo[16] ?? 0n);
  }

  /** The first descriptor number that this process cannot have. */
  descriptorLimit(): number {
    const limits = new BigUint64Array(new ArrayBuffer(16));
    const result = this.#library.getrlimit(RLIMIT_NOFILE, limits);
    // RLIM_INFINITY becomes a number that no descriptor reaches.
    return result === 0 ? Number(limits[0] ?? 0n) : Number.POSITIVE_INFINITY;
  }

  close(fd: number): void {
    this.#library.close(fd);
  }

  /** Whether a write of up to PIPE_BUF bytes would be taken without waiting. */
  isWritable(fd: number): boolean {
    this.#poll[0] = fd;
    this.#poll[1] = POLLOUT;
    return this.#library.poll(this.#poll, 1, 0) === 1 && this.#poll[1] >> 16 === POLLOUT;
  }

  #bind(fd: number, from: NonNullable<DialOptions["from"]>): void {
    const { isIpv4 } = from.ip;
    if (from.transparent) {
      const level = isIpv4 ? SOL_IP : SOL_IPV6;
      this.#set(fd, level, isIpv4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, 1, "setsockopt IP_TRANSPARENT");
      this.#set(fd, level, isIpv4 ? IP_FREEBIND : IPV6_FREEBIND, 1, "setsockopt IP_FREEBIND");
    }
    // The port is chosen at connect, when the whole 4-tuple is known: many more connections from one address.
    if (from.port === 0) this.#trySet(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    const length = this.#writeAddress(from);
    if (this.#library.bind(fd, this.#address, length) < 0) throw this.#failure("bind");
  }

  #set(fd: number, level: number, option: number, value: number, call: string): void {
    if (!this.#trySet(fd, level, option, value)) throw this.#failure(call);
  }

  #trySet(fd: number, level: number, option: number, value: number): boolean {
    this.#int[0] = value;
    return this.#library.setsockopt(fd, level, option, this.#int, 4) === 0;
  }

  #failure(call: string): SystemCallError {
    return new SystemCallError(call, this.#readErrno());
  }

  /** Must be the very next thing after the call. */
  #readErrno(): number {
    return read.i32(this.#errno, 0);
  }

  /** `struct sockaddr_in` or `sockaddr_in6`. @returns its length. */
  #writeAddress(address: { readonly ip: IpAddress; readonly port: number }): number {
    const bytes = this.#address.fill(0);
    bytes[0] = address.ip.isIpv4 ? AF_INET : AF_INET6; // sa_family in host order; every Linux we build for is little-endian
    bytes[2] = address.port >> 8;
    bytes[3] = address.port & 0xff;
    bytes.set(address.ip.bytes, address.ip.isIpv4 ? 4 : 8);
    return address.ip.isIpv4 ? 16 : 28;
  }

  #readAddress(): SocketAddress | null {
    const bytes = this.#address;
    const ip = this.#recent.of(bytes[0] === AF_INET ? this.#ipv4 : this.#ipv6);
    return ip === null ? null : { ip, port: ((bytes[2] ?? 0) << 8) | (bytes[3] ?? 0) };
  }
}
