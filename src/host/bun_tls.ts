/**
 * TLS of the Bun host: 1.3 only, AES-GCM only, and nothing believed. Bun's own verdict on the peer is not used, because
 * it is wrong in both directions (success with `authorized` false for a foreign CA; failure for every SPIFFE name); its
 * error code is, because that alone tells a handshake that failed from a certificate that Bun did not like.
 */
import type { DetailedPeerCertificate } from "node:tls";
import { assert } from "../base/assert.ts";
import { MeshError } from "../base/errors.ts";
import type { SocketAddress } from "../base/ip.ts";
import { hostLimits } from "../base/limits.ts";
import { socketCallbacks } from "./bun_callbacks.ts";
import { BunSocket, type NativeEvents, type NativeSocket, type SocketContext } from "./bun_socket.ts";
import type { Socket, Timer, TlsOptions, TlsSocket } from "./host.ts";
import { systemErrorName } from "./socket_errors.ts";
import { isVerificationCode } from "./tls_verification_codes.ts";

const TLS_1_3 = 0x0304;

/** No resumption, as ztunnel: each connection shows its certificate and proves its key again, and no ticket outlives either. */
const SSL_OP_NO_TICKET = 0x4000;

/** RFC 8446 §9.1 and Istio's compliance: ChaCha20 cannot be left out of Bun's offer, so it is refused afterwards. */
const CIPHER_SUITES: ReadonlySet<string> = new Set(["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]);

export type TlsRole = "server" | "client";

/** @throws MeshError `tls_handshake`, `tls_parameters`, `certificate_missing`; blame peer. */
export function bunTls(
  context: SocketContext,
  socket: Socket,
  options: TlsOptions,
  role: TlsRole,
): Promise<TlsSocket> {
  assert(socket instanceof BunSocket, "this host upgrades its own sockets only");
  assert(options.alpn.length > 0, "TLS between tunnels always negotiates a protocol");
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
}

interface TlsSession {
  readonly peerChain: readonly Uint8Array[];
  readonly alpn: string;
  readonly tlsVersion: string;
  readonly cipherSuite: string;
  readonly keyExchange: string | null;
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
  }

  start(raw: NativeSocket): void {
    try {
      const [ciphertext, native] = raw.upgradeTLS<NativeEvents>({
        data: this,
        tls: nativeOptions(this.#options, this.#role),
        socket: tlsCallbacks,
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
  }
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

function nativeOptions(options: TlsOptions, role: TlsRole): Bun.TLSOptions {
  const { credentials } = options;
  const common = {
    ...(credentials.certificateChainPem === ""
      ? {}
      : { cert: credentials.certificateChainPem, key: credentials.privateKeyPem }),
    ca: credentials.trustedRootsPem,
    // The peer is judged by `pki/trust`; what Bun refuses for itself it also hides from us.
    rejectUnauthorized: false,
    // Not in the published types, as is `isServer`. A number: Bun takes no name here.
    minVersion: TLS_1_3,
    // Wire format (RFC 7301 §3.1); Bun ignores a plain string.
    ALPNProtocols: encodeProtocols(options.alpn),
  };
  if (role === "server") {
    const server = { isServer: true, requestCert: true, secureOptions: SSL_OP_NO_TICKET };
    return { ...common, ...server } as Bun.TLSOptions;
  }
  return options.serverName === undefined ? common : { ...common, serverName: options.serverName };
}

function encodeProtocols(protocols: readonly string[]): Uint8Array<ArrayBuffer> {
  const parts = protocols.map((protocol) => new TextEncoder().encode(protocol));
  const wire = new Uint8Array(parts.reduce((total, part) => total + 1 + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    assert(part.length > 0 && part.length < 256, "a protocol name has 1 to 255 bytes");
    wire[offset] = part.length;
    wire.set(part, offset + 1);
    offset += 1 + part.length;
  }
  return wire;
}

function readSession(native: NativeSocket, options: TlsOptions, role: TlsRole): TlsSession | MeshError {
  const tlsVersion = native.getTLSVersion();
  if (tlsVersion !== "TLSv1.3") return parametersError(`${tlsVersion} was negotiated, not TLSv1.3`);
  const cipherSuite = native.getCipher().standardName;
  if (!CIPHER_SUITES.has(cipherSuite))
    return parametersError(`the cipher suite ${cipherSuite} is not allowed`);
  const alpn = native.alpnProtocol;
  if (typeof alpn !== "string" || !options.alpn.includes(alpn))
    return parametersError(`no protocol of ${options.alpn.join(", ")} was negotiated`);
  const peerChain = readPeerChain(native);
  if (peerChain === null)
    return handshakeError(`the peer showed more than ${hostLimits.maxPeerCertificates} certificates`);
  if (peerChain.length === 0)
    return new MeshError(
      "certificate_missing",
      "peer",
      `the ${role === "server" ? "client" : "server"} showed no certificate`,
    );
  return { peerChain, alpn, tlsVersion, cipherSuite, keyExchange: readKeyExchange(native) };
}

/**
 * Bun gives the chain as linked objects in issuing order, and ends it with the trust anchor where it knows one. `false`
 * asks for the whole chain; the published types leave the argument out, and without it only the leaf comes.
 *
 * @returns null when it is longer than the limit.
 */
function readPeerChain(native: NativeSocket): Uint8Array[] | null {
  const read = native.getPeerCertificate.bind(native) as (
    abbreviated: boolean,
  ) => Partial<DetailedPeerCertificate> | undefined;
  const chain: Uint8Array[] = [];
  let certificate = read(false);
  while (certificate?.raw !== undefined) {
    if (chain.length === hostLimits.maxPeerCertificates) return null;
    chain.push(new Uint8Array(certificate.raw));
    const issuer: Partial<DetailedPeerCertificate> | undefined = certificate.issuerCertificate;
    if (issuer === certificate) break;
    certificate = issuer;
  }
  return chain;
}

/** BoringSSL tells nothing for TLS 1.3 today; should it, the name is there. */
function readKeyExchange(native: NativeSocket): string | null {
  const info = native.getEphemeralKeyInfo();
  return info !== null && "name" in info && typeof info.name === "string" ? info.name : null;
}

function handshakeError(message: string): MeshError {
  return new MeshError("tls_handshake", "peer", message);
}

function parametersError(message: string): MeshError {
  return new MeshError("tls_parameters", "peer", message);
}
