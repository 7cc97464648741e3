/**
 * TLS of the Bun host: 1.3 only, AES-GCM only, and nothing believed. Bun's own verdict on the peer is not used, because
 * it is wrong in both directions (success with `authorized` false for a foreign CA; failure for every SPIFFE name); its
 * error code is, because that alone tells a handshake that failed from a certificate that Bun did not like.
 */
import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import type { Socket, Timer, TlsOptions, TlsSocket } from "../host.ts";
import { systemErrorName } from "../socket_errors.ts";
import { handshakeError, isVerificationCode, type TlsRole, type TlsSession } from "../system/tls_session.ts";
import { type NativeEvents, type NativeSocket, type SocketContext, socketCallbacks } from "./native.ts";
import { BunSocket } from "./socket.ts";
import { nativeTlsOptions, readSession } from "./tls_session.ts";

/** @throws MeshError `tls_handshake`, `tls_parameters`, `certificate_missing`; blame peer. */
export function bunTls(
  context: SocketContext,
  socket: Socket,
  options: TlsOptions,
  role: TlsRole,
): Promise<TlsSocket> {
  assert(socket instanceof BunSocket, "this host upgrades its own sockets only");
  assert(options.alpn.length > 0 || role === "client", "TLS between tunnels always negotiates a protocol");
  const native = socket.takeForUpgrade();
  if (native === null) return Promise.reject(handshakeError("the connection ended before the handshake"));
  return new Promise((resolve, reject) => {
    new Handshake(context, socket, options, role, resolve, reject).start(native);
  });
}

export class BunTlsSocket extends BunSocket implements TlsSocket {
  readonly peerChain: readonly Uint8Array[];
  readonly alpn: string | null;
  readonly tlsVersion: string;
  readonly cipherSuite: string;
  readonly keyExchange: string | null;

  constructor(
    context: SocketContext,
    native: NativeSocket,
    addresses: { readonly local: SocketAddress; readonly remote: SocketAddress },
    role: TlsRole,
    session: TlsSession,
  ) {
    super(context, native, addresses, role === "server" ? "peer" : "upstream");
    this.peerChain = session.peerChain;
    this.alpn = session.alpn;
    this.tlsVersion = session.tlsVersion;
    this.cipherSuite = session.cipherSuite;
    this.keyExchange = session.keyExchange;
  }

  /** Bun keeps ciphertext that the kernel did not take, and goes on sending it. */
  protected override get resetMayWait(): boolean {
    return false;
  }
}

class Handshake implements NativeEvents {
  readonly #context: SocketContext;
  readonly #socket: BunSocket;
  readonly #options: TlsOptions;
  readonly #role: TlsRole;
  readonly #resolve: (socket: TlsSocket) => void;
  readonly #reject: (error: MeshError) => void;
  readonly #timer: Timer;
  #native: NativeSocket | null = null;
  #settled = false;
  #failure: unknown = null;
  readonly #onAbort = () => this.#fail(abortError(this.#options.signal?.reason));

  constructor(
    context: SocketContext,
    socket: BunSocket,
    options: TlsOptions,
    role: TlsRole,
    resolve: (socket: TlsSocket) => void,
    reject: (error: MeshError) => void,
  ) {
    this.#context = context;
    this.#socket = socket;
    this.#options = options;
    this.#role = role;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = context.clock.setTimer(options.timeoutMs, () => {
      this.#fail(handshakeError(`no TLS handshake within ${options.timeoutMs} ms`));
    });
    options.signal?.addEventListener("abort", this.#onAbort);
  }

  start(raw: NativeSocket): void {
    try {
      const [ciphertext, native] = raw.upgradeTLS<NativeEvents>({
        data: this,
        tls: nativeTlsOptions(this.#options, this.#role),
        socket: tlsCallbacks,
        ...(this.#role === "server" ? { isServer: true } : {}),
      });
      this.#native = native;
      // Only a socket of `connect` has callbacks of its own; a listener's would change for all its connections.
      if (this.#role === "client") ciphertext.reload({ socket: ciphertextCallbacks });
      if (this.#settled) native.terminate();
      else native.resume();
    } catch (thrown) {
      this.#fail(handshakeError(thrown instanceof Error ? thrown.message : String(thrown)));
      raw.terminate();
    }
  }

  /** @param verdict Bun's error: a failed handshake, or its opinion of the peer's certificate. */
  onHandshake(native: NativeSocket, verdict: unknown): void {
    if (this.#settled) return;
    const code = systemErrorName(verdict);
    // Fails closed: a code that is not known to be about the certificate's trust alone is a failed handshake. The leaf
    // certificate and the protocol are there even when the peer could not sign with the leaf's key.
    if (verdict !== null && (code === null || !isVerificationCode(code))) {
      this.#fail(handshakeError(verdict instanceof Error ? verdict.message : String(verdict)));
      return;
    }
    const session = readSession(native, this.#options, this.#role);
    if (session instanceof MeshError) this.#fail(session);
    else this.#succeed(native, session);
  }

  onNativeData(): void {
    // Bun delivers nothing before its handshake callback, and that one puts a socket in this object's place.
    this.#fail(handshakeError("data before the end of the handshake"));
  }

  onNativeDrain(): void {}

  onNativeEnd(): void {
    this.#fail(handshakeError("the peer closed during the handshake"));
  }

  onNativeError(error: unknown): void {
    this.#failure ??= error;
  }

  onNativeClose(error: unknown): void {
    const cause = error ?? this.#failure;
    this.#fail(
      handshakeError(cause instanceof Error ? cause.message : "the connection closed during the handshake"),
    );
  }

  #succeed(native: NativeSocket, session: TlsSession): void {
    this.#settle();
    const socket = new BunTlsSocket(this.#context, native, this.#socket, this.#role, session);
    native.data = socket;
    // Nothing is read before the caller has judged the peer and set a handler.
    socket.awaitHandler();
    this.#resolve(socket);
  }

  #fail(error: MeshError): void {
    if (this.#settled) return;
    this.#settle();
    this.#reject(error);
    this.#native?.terminate();
  }

  #settle(): void {
    this.#settled = true;
    this.#timer.cancel();
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
  }
}

function abortError(reason: unknown): MeshError {
  return reason instanceof MeshError ? reason : handshakeError("the handshake was given up");
}

/** After the handshake `native.data` is a `BunTlsSocket`, which hears no second handshake. */
const tlsCallbacks: Bun.SocketHandler<NativeEvents> = {
  ...socketCallbacks,
  open() {},
  handshake(native, _success, verdict) {
    if (native.data instanceof Handshake) native.data.onHandshake(native, verdict ?? null);
  },
};

/** For the socket under TLS: no data callback, or Bun would copy every read of ciphertext for it. */
const ciphertextCallbacks: Bun.SocketHandler<NativeEvents> = { drain() {} };
