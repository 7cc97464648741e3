/**
 * TLS of the in-memory host: the handshake and its records go over the simulated link, so that every fault of the network
 * meets them. The cryptography is pretended; who holds which key is not: no peer can show a certificate without its key.
 */
import { MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { SocketHandler, Timer, TlsOptions, TlsSocket } from "../host.ts";
import { type Credentials, readCredentials } from "./credentials.ts";
import type { Schedule } from "./schedule.ts";
import type { MemorySocket, SocketOwner } from "./socket.ts";
import {
  decodeHello,
  encodeHello,
  encodeRecord,
  type Hello,
  maxPlaintextBytes,
  RecordReader,
  recordType,
  scramble,
} from "./tls_record.ts";

type Role = "server" | "client";

/** @throws MeshError `tls_handshake`, `tls_parameters`, `certificate_missing`. */
export function memoryTls(
  owner: SocketOwner,
  socket: MemorySocket,
  options: TlsOptions,
  role: Role,
): Promise<TlsSocket> {
  return new Promise((resolve, reject) => {
    const session = new MemoryTlsSocket(owner.schedule, owner, socket, options, role, resolve, reject);
    session.start();
  });
}

class MemoryTlsSocket implements TlsSocket, SocketHandler {
  readonly tlsVersion = "TLSv1.3";
  readonly cipherSuite = "TLS_AES_128_GCM_SHA256";
  readonly keyExchange = null;
  readonly #schedule: Schedule;
  readonly #owner: SocketOwner;
  readonly #socket: MemorySocket;
  readonly #options: TlsOptions;
  readonly #role: Role;
  readonly #resolve: (socket: TlsSocket) => void;
  readonly #reject: (error: MeshError) => void;
  readonly #reader = new RecordReader();
  readonly #timer: Timer;
  #credentials: Credentials | null = null;
  #peer: Hello | null = null;
  #alpn: string | null = null;
  /** The handshake is over, well or not. */
  #settled = false;
  #established = false;
  #handler: SocketHandler | null = null;
  #paused = false;
  /** Records that the socket did not take. */
  #output: Uint8Array[] = [];
  #blocked = false;
  #localEnded = false;
  #remoteEnded = false;
  #finAfterOutput = false;
  #closed = false;
  /** Decrypted and not delivered. */
  #held: Uint8Array[] = [];
  #endHeld = false;
  #deliveryScheduled = false;
  #gone: { readonly error: MeshError | null } | null = null;

  constructor(
    schedule: Schedule,
    owner: SocketOwner,
    socket: MemorySocket,
    options: TlsOptions,
    role: Role,
    resolve: (socket: TlsSocket) => void,
    reject: (error: MeshError) => void,
  ) {
    this.#schedule = schedule;
    this.#owner = owner;
    this.#socket = socket;
    this.#options = options;
    this.#role = role;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = schedule.timer(options.timeoutMs, owner, () =>
      this.#fail(handshakeError(`no TLS handshake within ${options.timeoutMs} ms`)),
    );
    options.signal?.addEventListener("abort", () => {
      const reason: unknown = options.signal?.reason;
      this.#fail(reason instanceof MeshError ? reason : handshakeError("the handshake was given up"));
    });
  }

  get local(): SocketAddress {
    return this.#socket.local;
  }

  get remote(): SocketAddress {
    return this.#socket.remote;
  }

  get peerChain(): readonly Uint8Array[] {
    return this.#peer?.chain ?? [];
  }

  get alpn(): string | null {
    return this.#alpn;
  }

  start(): void {
    const credentials = readCredentials(this.#options.credentials);
    if (credentials instanceof MeshError) {
      this.#fail(credentials);
      return;
    }
    this.#credentials = credentials;
    this.#socket.setHandler(this);
    if (this.#role === "client") this.#sendHello(this.#options.alpn);
  }

  setHandler(handler: SocketHandler): void {
    this.#handler = handler;
    if (this.#gone === null && !this.#paused) this.#socket.resume();
    this.#scheduleDelivery();
  }

  write(bytes: Uint8Array): number {
    if (this.#closed || this.#localEnded || this.#gone !== null) return 0;
    let taken = 0;
    while (taken < bytes.length && this.#output.length === 0) {
      const plain = bytes.subarray(taken, taken + maxPlaintextBytes);
      this.#send(encodeRecord(recordType.data, scramble(plain)));
      taken += plain.length;
    }
    if (taken < bytes.length) this.#blocked = true;
    return taken;
  }

  end(): void {
    if (this.#closed || this.#localEnded) return;
    this.#localEnded = true;
    this.#send(encodeRecord(recordType.closeNotify, new Uint8Array(0)));
    this.#finish();
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#handler === null) return;
    this.#scheduleDelivery();
    this.#socket.resume();
  }

  close(): void {
    if (this.#closed) return;
    if (!this.#localEnded) this.#send(encodeRecord(recordType.closeNotify, new Uint8Array(0)));
    this.#localEnded = true;
    this.#closed = true;
    this.#discard();
    this.#finish();
  }

  resetAfterSent(): void {
    this.reset();
  }

  reset(): void {
    if (this.#closed && this.#output.length === 0) return;
    this.#closed = true;
    this.#output = [];
    this.#discard();
    this.#socket.reset();
  }

  onData(bytes: Uint8Array): void {
    if (this.#closed || this.#gone !== null) return;
    this.#reader.push(bytes);
    for (;;) {
      const record = this.#reader.next();
      if (record === null) return;
      if (record === "malformed") {
        this.#lose(handshakeError("that is not TLS"));
        return;
      }
      if (!this.#accept(record.type, record.payload)) return;
    }
  }

  onDrain(): void {
    this.#flush();
    if (this.#output.length > 0 || !this.#blocked) return;
    this.#blocked = false;
    if (!this.#closed) this.#handler?.onDrain();
  }

  onEnd(): void {
    if (this.#remoteEnded || this.#closed) return;
    // RFC 8446 §6.1: an end without close_notify is a truncation.
    const code = this.#settled ? "connection_closed" : "tls_handshake";
    this.#lose(new MeshError(code, this.#socket.blame, "the connection ended without close_notify"));
  }

  onClose(error: MeshError | null): void {
    if (!this.#settled)
      this.#fail(handshakeError(error?.message ?? "the connection closed during the handshake"));
    this.#closed = true;
    const ended = this.#remoteEnded && this.#localEnded;
    const early = new MeshError(
      "connection_closed",
      this.#socket.blame,
      "the connection closed before its end",
    );
    this.#leave(error ?? (ended ? null : early));
  }

  /** @returns whether to go on with the next record. */
  #accept(type: number, payload: Uint8Array): boolean {
    if (type === recordType.alert) {
      this.#lose(handshakeError(`the peer refused: ${new TextDecoder().decode(payload)}`));
      return false;
    }
    if (!this.#established) {
      if (type === recordType.hello) this.#onHello(payload);
      else this.#lose(handshakeError("a record that does not belong into a handshake"));
      return this.#established;
    }
    if (type === recordType.closeNotify) {
      this.#remoteEnded = true;
      this.#endHeld = true;
    } else if (type === recordType.data && !this.#remoteEnded) this.#held.push(scramble(payload));
    else if (type !== recordType.finished) {
      this.#lose(handshakeError("a record that does not belong after a handshake"));
      return false;
    }
    if (!this.#deliveryScheduled) this.#deliver();
    return true;
  }

  #onHello(payload: Uint8Array): void {
    const hello = decodeHello(payload);
    const alpn = hello === null ? undefined : this.#options.alpn.find((name) => hello.alpn.includes(name));
    const refusal = this.#judge(hello, alpn);
    // TLS 1.3: the client believes in its handshake before the server has seen the certificate that is not there.
    if (this.#role === "server" && (alpn !== undefined || this.#options.alpn.length === 0))
      this.#sendHello(alpn === undefined ? [] : [alpn]);
    if (refusal !== null || hello === null) {
      this.#lose(refusal ?? handshakeError("a malformed hello"));
      return;
    }
    this.#peer = hello;
    this.#alpn = alpn ?? null;
    if (this.#role === "client") this.#send(encodeRecord(recordType.finished, new Uint8Array(32)));
    this.#established = true;
    this.#settled = true;
    this.#timer.cancel();
    // Nothing is read before the caller has judged the peer and set a handler.
    this.#socket.pause();
    this.#resolve(this);
  }

  #judge(hello: Hello | null, alpn: string | undefined): MeshError | null {
    if (hello === null) return handshakeError("a malformed hello");
    if (alpn === undefined && this.#options.alpn.length > 0) {
      const message = `no protocol of ${this.#options.alpn.join(", ")} was negotiated`;
      return new MeshError("tls_parameters", "peer", message);
    }
    if (hello.chain.length > hostLimits.maxPeerCertificates)
      return handshakeError(`the peer showed more than ${hostLimits.maxPeerCertificates} certificates`);
    if (hello.chain.length > 0) return null;
    if (this.#role === "server" && this.#options.clientCertificate === "request") return null;
    const who = this.#role === "server" ? "client" : "server";
    return new MeshError("certificate_missing", "peer", `the ${who} showed no certificate`);
  }

  #sendHello(alpn: readonly string[]): void {
    if (this.#credentials !== null)
      this.#send(encodeRecord(recordType.hello, encodeHello({ alpn, chain: this.#credentials.chain })));
  }

  #send(record: Uint8Array): void {
    this.#output.push(record);
    this.#flush();
  }

  #flush(): void {
    while (this.#output.length > 0) {
      const record = this.#output[0];
      if (record === undefined) break;
      const taken = this.#socket.write(record);
      if (taken < record.length) {
        if (taken > 0) this.#output[0] = record.subarray(taken);
        return;
      }
      this.#output.shift();
    }
    if (this.#finAfterOutput) this.#finish();
  }

  /** Our FIN, or the close, behind the records that wait. */
  #finish(): void {
    this.#finAfterOutput = this.#output.length > 0;
    if (this.#finAfterOutput) return;
    if (this.#closed || (this.#localEnded && this.#remoteEnded)) this.#socket.close();
    else this.#socket.end();
  }

  #deliver(): void {
    this.#deliveryScheduled = false;
    while (this.#held.length > 0 && this.#handler !== null && !this.#paused) {
      const bytes = this.#held.shift();
      if (bytes !== undefined) this.#handler.onData(bytes);
    }
    if (this.#handler === null || this.#held.length > 0) return;
    if (this.#endHeld && !this.#paused) {
      this.#endHeld = false;
      this.#handler.onEnd();
      if (this.#localEnded && !this.#closed) this.#finish();
    }
    if (this.#gone === null || this.#endHeld) return;
    const { error } = this.#gone;
    const handler = this.#handler;
    this.#handler = null;
    handler.onClose(error);
  }

  /** The peer's fault, or the network's. */
  #lose(error: MeshError): void {
    if (!this.#settled && error.code !== "connection_closed")
      this.#socket.write(encodeRecord(recordType.alert, new TextEncoder().encode(error.code)));
    if (this.#settled) {
      this.#closed = true;
      this.#socket.reset();
      this.#leave(error);
    } else this.#fail(error);
  }

  #fail(error: MeshError): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#closed = true;
    this.#timer.cancel();
    this.#socket.close();
    this.#reject(error);
  }

  /** Our own close: what was not delivered is no longer wanted. */
  #discard(): void {
    this.#held = [];
    this.#endHeld = false;
    this.#leave(null);
  }

  #leave(error: MeshError | null): void {
    if (this.#gone !== null || !this.#established) return;
    this.#gone = { error };
    // A connection that is over cannot be held back any more.
    this.#paused = false;
    this.#scheduleDelivery();
  }

  #scheduleDelivery(): void {
    if (this.#deliveryScheduled || this.#handler === null) return;
    this.#deliveryScheduled = true;
    this.#schedule.io(0, this.#owner, () => this.#deliver());
  }
}

function handshakeError(message: string): MeshError {
  return new MeshError("tls_handshake", "peer", message);
}
