/**
 * The outside world: sockets, clock, randomness, files, the process. This interface is the only way to any of them,
 * so a simulator can take the place of all of it. `contract.ts` is the suite that every Host passes.
 */
import type { MeshError } from "../base/errors.ts";
import type { IpAddress, SocketAddress } from "../base/ip.ts";
import type { Databases } from "./database.ts";

export interface Host {
  /** `bun`, `memory`, …; shown by `fairlead version`. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly net: Network;
  readonly files: Files;
  readonly process: Process;
  /** Requests of the program's own to other services; the data path never goes through here. */
  readonly http: HttpClient;
  readonly databases: Databases;
}

export interface Clock {
  /** Monotonic milliseconds with a fraction; never goes back. */
  now(): number;
  /** Milliseconds since the Unix epoch; may jump either way. Certificates and log lines use it, time-outs never do. */
  wallMs(): number;
  /** Runs `callback` once, at least `delayMs` from now. A pending timer does not keep the process alive. */
  setTimer(delayMs: number, callback: () => void): Timer;
  /** Runs `callback` after everything that is ready now was handled: where output of many sockets is gathered into one write. */
  defer(callback: () => void): void;
}

export interface Timer {
  /** Idempotent; harmless after the timer fired. */
  cancel(): void;
}

export interface Random {
  /** Cryptographic quality on a real host; seeded in the simulator. */
  fill(bytes: Uint8Array): void;
  /** Uniform in [0, 1), for jitter and load balancing. */
  float(): number;
}

/** What a socket tells. `onClose` is the last call, and comes exactly once, unless the handler was replaced. */
export interface SocketHandler {
  /** Bytes of the peer. They belong to the handler from now on; the host does not reuse them. */
  onData(bytes: Uint8Array): void;
  /** After `write` took less than it was given: there is room again. */
  onDrain(): void;
  /** The peer has half-closed: no more data. We may go on writing. */
  onEnd(): void;
  /** Gone. Null after an orderly close of both sides or our own `close()`; a reset or I/O failure says so. */
  onClose(error: MeshError | null): void;
}

export interface Socket {
  /** Of a Unix socket both ends are `unixSocketAddress`. */
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** Starts delivery. Data that came earlier is delivered first; before the first handler nothing is lost and nothing is read without bound. */
  setHandler(handler: SocketHandler): void;
  /** @returns how many bytes were taken; when fewer than given, the rest is the caller's to keep until `onDrain`. Never throws; on a dead socket takes nothing. */
  write(bytes: Uint8Array): number;
  /** `write` keeps what it was given by reference: whoever writes scratch memory gives it a copy. */
  readonly retainsWrites?: true;
  /** Half-close: our FIN (or close_notify) after what was written. Reading goes on. */
  end(): void;
  /** Stop and restart reading: back-pressure to the peer. Idempotent. */
  pause(): void;
  resume(): void;
  /** Orderly close of both directions now; what was written is still sent. `onClose(null)` follows. */
  close(): void;
  /** Abortive close: the peer sees RST, and may never see what was written last. `onClose(null)` follows. */
  reset(): void;
  /** The same, but what was written reaches the peer first, if it takes it in bounded time: for passing on another's reset. */
  resetAfterSent(): void;
}

/** A socket after the TLS handshake. The peer is not verified yet: `pki/trust/verifier` must do it before a byte is read or written. */
export interface TlsSocket extends Socket {
  /** The peer's certificates in DER, leaf first, as presented; empty when it showed none. */
  readonly peerChain: readonly Uint8Array[];
  /** The negotiated protocol, for example `h2`; null without one. */
  readonly alpn: string | null;
  /** `TLSv1.3`. */
  readonly tlsVersion: string;
  /** `TLS_AES_128_GCM_SHA256`, … */
  readonly cipherSuite: string;
  /** `X25519MLKEM768`, `X25519`, … or null where the runtime does not tell. */
  readonly keyExchange: string | null;
}

/** Our end's credentials in a handshake. PEM lives in memory only. */
export interface TlsCredentials {
  /**
   * Leaf, then intermediates. Empty, as the key then is, for a client that shows none. The root is left out, but for the
   * control plane's: who joins with nothing but the root's fingerprint finds the root at the chain's end.
   */
  readonly certificateChainPem: string;
  /** PKCS#8. */
  readonly privateKeyPem: string;
  /** Trust anchors in PEM; a hint to the TLS library, the decision is `pki/trust/verifier`'s. */
  readonly trustedRootsPem: string;
}

export interface TlsOptions {
  readonly credentials: TlsCredentials;
  /** Offered or accepted protocols; a handshake that negotiates none of them fails. Empty, for a client alone: none is offered. */
  readonly alpn: readonly string[];
  readonly timeoutMs: number;
  /** Gives a handshake that is under way up: it fails with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Client only; Istio sends none between tunnels. */
  readonly serverName?: string;
  /** Server only; default `require`. With `request` a client may show none, and `peerChain` is empty then. */
  readonly clientCertificate?: "require" | "request";
}

export interface ListenOptions {
  /** An IPv6 address serves IPv6 alone: both wildcards can be listened on at one port. */
  readonly address: SocketAddress;
  /** Several listeners may share the port (SO_REUSEPORT). */
  readonly reusePort?: boolean;
  /** Own marks on accepted sockets are not needed; IP_TRANSPARENT is set for TPROXY-style listeners. */
  readonly transparent?: boolean;
  /** Every accepted socket is going to be upgraded with `tlsServer`, never read plain: saves a copy of each read of ciphertext. */
  readonly tls?: boolean;
  /** A connection was refused because descriptors run out (`descriptors_exhausted`, blame local). The listener goes on. */
  readonly onRefused?: (error: MeshError) => void;
}

export interface Listener {
  /** The bound address; the port is real when 0 was asked for. */
  readonly address: SocketAddress;
  /** Stops accepting; accepted sockets live on. Idempotent. */
  close(): void;
}

export interface ConnectOptions {
  readonly to: SocketAddress;
  readonly timeoutMs: number;
  /** Bind this source first. With `transparent` it may be an address that is not ours (IP_TRANSPARENT, IP_FREEBIND; root). */
  readonly from?: { readonly ip: IpAddress; readonly port: number; readonly transparent: boolean };
  /** SO_MARK, which keeps our own traffic out of capture (CAP_NET_ADMIN). */
  readonly mark?: number;
  /** In place of the host's own; whole seconds, at least one. Null: the host's own. Linux only. */
  readonly keepAlive?: KeepAlive;
}

export interface KeepAlive {
  readonly probes: number | null;
  readonly timeMs: number | null;
  readonly intervalMs: number | null;
}

export interface Datagrams {
  /**
   * One datagram, whole. @returns false when there is no room for it now. @throws MeshError, blame upstream: `connect_refused` (no receiver,
   * as far as that is told), `limit_reached` (too large for one datagram), `connection_closed`.
   */
  send(bytes: Uint8Array): boolean;
  /** Idempotent. */
  close(): void;
}

/** A UDP socket that hears and answers many. */
export interface UdpSocket {
  /** The bound address; the port is real when 0 was asked for. */
  readonly address: SocketAddress;
  /** One datagram, or none: UDP promises nothing, so what cannot be sent now is lost, as on its way. Never throws. */
  send(bytes: Uint8Array, to: SocketAddress): void;
  /** Idempotent. */
  close(): void;
}

/** Who is at the other end of a Unix socket, as the kernel knows it since the connect. */
export interface PeerCredentials {
  readonly uid: number;
  readonly gid: number;
  /** The supplementary ones. */
  readonly groups: readonly number[];
  /** 0 when the process is outside our process name space. It may be another's by now: for logs, never for a decision. */
  readonly pid: number;
}

export interface Network {
  /** `onAccept` sets a handler or upgrades, now or later. @throws MeshError `address_in_use`, `permission_denied`. */
  listen(options: ListenOptions, onAccept: (socket: Socket) => void): Listener;
  /** @throws MeshError with blame `upstream`: `connect_refused`, `connect_timeout`, `connect_unreachable`; blame `local`: `descriptors_exhausted`, `permission_denied`. */
  connect(options: ConnectOptions): Promise<Socket>;
  /**
   * A Unix stream socket at `path`, which has `mode` before anybody can connect. A stale socket file is replaced; the file
   * goes when the listener closes. Linux only.
   *
   * @throws MeshError, blame local: `address_in_use` for a live socket or a file that is none, `permission_denied`, `io`
   *   (no such directory, a path over 107 bytes), `unsupported`.
   */
  listenUnix(path: string, mode: number, onAccept: (socket: Socket) => void): Listener;
  /** @throws MeshError `connect_refused` (no listener), `connect_unreachable` (no such file), `connect_timeout`, blame upstream; `permission_denied`, `descriptors_exhausted`, `unsupported`, blame local. */
  connectUnix(path: string, timeoutMs: number): Promise<Socket>;
  /**
   * Two connected sockets that no other process has: for what only takes a socket of the kernel, TLS among it, inside something that is
   * none. A reset of one may look like an orderly end at the other. Linux only.
   *
   * @throws MeshError, blame local: `descriptors_exhausted`, `unsupported`.
   */
  socketPair(): Promise<readonly [Socket, Socket]>;
  /**
   * A socket that sends datagrams to one receiver: an address (UDP), or the path of a Unix datagram socket (`/dev/log`). Linux only.
   *
   * @throws MeshError, blame upstream: `connect_refused`, `connect_unreachable`; blame local: `descriptors_exhausted`, `permission_denied`,
   *   `unsupported`.
   */
  openDatagrams(to: SocketAddress | string): Datagrams;
  /**
   * UDP at an address of this host. Each datagram comes whole, in a buffer of its own.
   *
   * @throws MeshError, blame local: `address_in_use`, `permission_denied`, `descriptors_exhausted`, `unsupported`.
   */
  bindUdp(
    address: SocketAddress,
    onDatagram: (bytes: Uint8Array, from: SocketAddress) => void,
  ): Promise<UdpSocket>;
  /** Null for all but Unix sockets. Still told after the connection is gone. */
  peerCredentials(socket: Socket): PeerCredentials | null;
  /** Upgrades an accepted socket that has no handler yet; a client certificate is requested and, by default, required. @throws MeshError `tls_handshake`, `certificate_missing`, `tls_parameters`. */
  tlsServer(socket: Socket, options: TlsOptions): Promise<TlsSocket>;
  /** Upgrades a connected socket that has no handler yet. The server's name is never checked here. @throws MeshError `tls_handshake`, `tls_parameters`. */
  tlsClient(socket: Socket, options: TlsOptions): Promise<TlsSocket>;
  /** Where a redirected connection was really going; null when it was not redirected or the host cannot tell. */
  originalDestination(socket: Socket): SocketAddress | null;
  /**
   * Of an accepted socket that has no handler and no TLS yet: tells, then and later, whether the peer has sent anything at all, TLS
   * or not. Null where the host cannot know.
   */
  speech(socket: Socket): (() => boolean) | null;
  /** Addresses of this machine's interfaces. */
  localAddresses(): readonly IpAddress[];
  /** @throws MeshError `name_not_found`. */
  resolve(hostname: string): Promise<readonly IpAddress[]>;
}

export interface FileEntry {
  readonly path: string;
  readonly isDirectory: boolean;
}

export interface Files {
  /** @throws MeshError `io` (blame local) with the path in the message. */
  readText(path: string): Promise<string>;
  readBytes(path: string): Promise<Uint8Array>;
  /** Sorted by name; null when `path` is not a directory. */
  list(path: string): Promise<readonly FileEntry[] | null>;
  exists(path: string): Promise<boolean>;
  /** Tells what is there now from what had this name before, its content aside; null when nothing is. */
  identity(path: string): Promise<string | null>;
  /** Written to a neighbour, flushed, then renamed over: a reader sees the old or the new, never half. @throws MeshError `io`. */
  writeAtomic(path: string, bytes: Uint8Array, mode: number): Promise<void>;
  /** `writeAtomic`, of pieces as they come; whatever ends them early, nothing is left. @returns how many bytes. */
  writeStream(path: string, pieces: AsyncIterable<Uint8Array>, mode: number): Promise<number>;
  /**
   * Lines at the end of a file, flushed. The file is found by its name each time, so one that was moved away (logrotate) is begun again,
   * with `mode`. What an earlier call left without its line end is cut off first, if it
   * begins as a JSON object does.
   *
   * @param lines ends with a line feed. @throws MeshError `io`, also for what is no regular file; all or nothing is there then, but for a
   *   process that is killed.
   */
  appendLines(path: string, lines: Uint8Array, mode: number): Promise<void>;
  makeDirectory(path: string, mode: number): Promise<void>;
  remove(path: string): Promise<void>;
  /** Calls back, coalesced, after anything at or below `path` may have changed; also when a file is replaced by rename. @returns a function that ends the watch. */
  watch(path: string, onChange: () => void): () => void;
}

export interface Process {
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly pid: number;
  /** The user it runs as. */
  readonly uid: number;
  readonly isTerminal: boolean;
  /** Never throws and never blocks the data path; when the descriptor is full or broken the line is lost and counted by the caller. @returns whether it was written. */
  writeOut(text: string): boolean;
  writeError(text: string): boolean;
  /** SIGTERM, SIGINT, SIGHUP. @returns a function that ends the subscription. */
  onSignal(listener: (signal: "SIGTERM" | "SIGINT" | "SIGHUP") => void): () => void;
  /**
   * An error that no code caught: a bug of ours. While there is a listener the process goes on, since one connection's bug must not end
   * the others'. @returns a function that ends the subscription.
   */
  onUncaught(listener: (error: unknown) => void): () => void;
  exit(code: number): void;
  /**
   * A file of TypeScript or JavaScript as a module: code of users, with all that this process may do. The same file and version give the same
   * module; another version reads the file again. What was loaded is never unloaded.
   *
   * @returns its exports. @throws MeshError `configuration` when it cannot be read, is no module, or throws.
   */
  loadModule(path: string, version: string): Promise<Readonly<Record<string, unknown>>>;
  /** Runs a program to its end (capture rules). @throws MeshError `io` when it cannot be started. */
  run(
    program: string,
    args: readonly string[],
    input?: string,
  ): Promise<{ readonly exitCode: number; readonly output: string }>;
  /**
   * Runs a program that goes on, and tells whenever it writes something; what that is is not kept. Its standard input stays open as long as this
   * process is there and has not stopped it. @throws MeshError `io` when it cannot be started.
   */
  follow(program: string, args: readonly string[], events: FollowEvents): { stop(): void };
  /** How this very program is run: the command, and what comes before its own arguments. */
  readonly self: readonly string[];
  /**
   * Runs a program in a session of its own, which goes on when this process has ended, however that came about. @throws MeshError `io` when it
   * cannot be started.
   */
  detach(program: string, args: readonly string[]): Detached;
  /** What comes by standard input, until its end. */
  input(): AsyncIterable<Uint8Array>;
  /** Resident memory, bytes. */
  residentBytes(): number;
  /**
   * Gives back what only the start needed: garbage, and code that ran once. What runs later is had again as it is needed, so not while there is
   * something to do.
   */
  giveBackMemory(): void;
  /** CPU time of this process so far, microseconds. */
  cpuMicros(): number;
}

export interface Detached {
  /** Whether it has written something; false when it ended without. */
  readonly spoke: Promise<boolean>;
  /** To its standard input, which also ends when this process does. Nothing happens when it is gone. */
  tell(text: string): void;
}

export interface FollowEvents {
  onOutput(): void;
  /** It has ended by itself. Not after `stop`. */
  onEnd(): void;
}

export interface HttpRequest {
  readonly method: "GET" | "POST" | "PUT" | "LIST" | "DELETE";
  /** `http:` or `https:`; no user name or password in it. */
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** For all of it: name, connection, request and the whole answer. */
  readonly timeoutMs: number;
  /** Body of the answer. One byte more and the request fails. */
  readonly maxResponseBytes: number;
  /** Which addresses may be dialled; with `public`, `base/special_addresses.ts` says which are refused (SSRF). */
  readonly reach: "public" | "any";
  /** In place of the roots that the system trusts. */
  readonly trustedRootsPem?: string;
}

export interface HttpResponse {
  readonly status: number;
  /** Lower-case names; several of one name are joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

export interface HttpClient {
  /**
   * One request over a connection of its own. Redirects are answers like any other. The address that was checked is the
   * address that is dialled, so a name cannot change its mind in between (DNS rebinding); the certificate must be the URL's host's.
   *
   * @throws MeshError, blame upstream: `name_not_found`, `address_forbidden`, `connect_refused`, `connect_timeout` (also for an
   *   answer that is late), `connect_unreachable`, `tls_handshake`, `connection_closed`, `http_protocol`, `limit_reached`. Blame local: `configuration` for
   *   a URL or header that cannot be sent.
   */
  send(request: HttpRequest): Promise<HttpResponse>;
}

/**
 * Serves a `fetch` function over HTTP/1.1: administration, metrics and readiness. Outside of a Host because the simulator has no use for it.
 *
 * @throws MeshError `address_in_use`, blame local.
 */
export type ServeHttp = (
  address: SocketAddress,
  fetch: (request: Request) => Response | Promise<Response>,
) => Listener;
