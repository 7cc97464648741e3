/**
 * TLS of this host, by `node:tls`. The runtime is told to refuse no certificate (it would hide it from us), so nothing of what it
 * says of one is believed: who it is that comes of a handshake, `pki/trust/verifier` says. That the peer has
 * the key of what it shows is the handshake's own proof, which the runtime does check, in either role; the contract holds it to that.
 *
 * Server: never `new TLSSocket(raw, { isServer: true })`, which serves on two runtimes what `rejectUnauthorized` would refuse, but a
 * server's own path for accepted connections.
 */
import { constants } from "node:crypto";
import type { Socket as NetSocket } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import type { Socket, Timer, TlsOptions, TlsSocket } from "../host.ts";
import { systemErrorName } from "../socket_errors.ts";
import {
  handshakeError,
  isVerificationCode,
  judgeSession,
  type LinkedCertificate,
  type TlsRole,
  type TlsSession,
} from "../system/tls_session.ts";
import { resetNative, type SocketContext } from "./native.ts";
import { type Addresses, NodeSocket } from "./socket.ts";

/** @throws MeshError `tls_handshake`, `tls_parameters`, `certificate_missing`; blame peer. */
export function nodeTls(
  context: SocketContext,
  socket: Socket,
  options: TlsOptions,
  role: TlsRole,
): Promise<TlsSocket> {
  assert(socket instanceof NodeSocket, "this host upgrades its own sockets only");
  assert(options.alpn.length > 0 || role === "client", "TLS between tunnels always negotiates a protocol");
  const native = socket.takeForUpgrade();
  if (native === null) return Promise.reject(handshakeError("the connection ended before the handshake"));
  return new Promise((resolve, reject) => {
    const handshake = new Handshake(context, socket, native, options, role, resolve, reject);
    handshake.start();
  });
}

class NodeTlsSocket extends NodeSocket implements TlsSocket {
  readonly peerChain: readonly Uint8Array[];
  readonly alpn: string | null;
  readonly tlsVersion: string;
  readonly cipherSuite: string;
  readonly keyExchange: string | null;

  constructor(
    context: SocketContext,
    native: TLSSocket,
    transport: NetSocket,
    addresses: Addresses,
    role: TlsRole,
    session: TlsSession,
  ) {
    super(context, native, addresses, role === "server" ? "peer" : "upstream", transport);
    this.peerChain = session.peerChain;
    this.alpn = session.alpn;
    this.tlsVersion = session.tlsVersion;
    this.cipherSuite = session.cipherSuite;
    this.keyExchange = session.keyExchange;
  }
}

class Handshake {
  readonly #context: SocketContext;
  readonly #addresses: Addresses;
  readonly #transport: NetSocket;
  readonly #options: TlsOptions;
  readonly #role: TlsRole;
  readonly #resolve: (socket: TlsSocket) => void;
  readonly #reject: (error: MeshError) => void;
  readonly #timer: Timer;
  #settled = false;

  constructor(
    context: SocketContext,
    addresses: Addresses,
    transport: NetSocket,
    options: TlsOptions,
    role: TlsRole,
    resolve: (socket: TlsSocket) => void,
    reject: (error: MeshError) => void,
  ) {
    this.#context = context;
    this.#addresses = addresses;
    this.#transport = transport;
    this.#options = options;
    this.#role = role;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = context.clock.setTimer(options.timeoutMs, () => {
      this.#fail(handshakeError(`no TLS handshake within ${options.timeoutMs} ms`));
    });
    options.signal?.addEventListener("abort", this.#onAbort);
  }

  start(): void {
    this.#transport.on("close", () =>
      this.#fail(handshakeError("the connection closed during the handshake")),
    );
    try {
      if (this.#role === "server") this.#serve();
      else this.#dial();
    } catch (thrown) {
      this.#fail(handshakeError(thrown instanceof Error ? thrown.message : String(thrown)));
    }
  }

  #serve(): void {
    const server = createServer({
      ...commonOptions(this.#options),
      requestCert: true,
      // No resumption, as ztunnel. Whatever a client were to resume is gone with this server, too.
      secureOptions: constants.SSL_OP_NO_TICKET,
      handshakeTimeout: this.#options.timeoutMs + 1_000,
    });
    server.on("tlsClientError", (error) => this.#fail(handshakeError(error.message)));
    server.on("secureConnection", (native) => {
      native.allowHalfOpen = this.#transport.allowHalfOpen = true;
      this.#judge(native);
    });
    // An end during the handshake is the connection's; after it each side ends by itself.
    this.#transport.allowHalfOpen = false;
    server.emit("connection", this.#transport);
  }

  #dial(): void {
    const { serverName } = this.#options;
    const native = connect({
      ...commonOptions(this.#options),
      socket: this.#transport,
      ...(serverName === undefined ? {} : { servername: serverName }),
      // A SPIFFE certificate has no host name; who the server is, is the verifier's question.
      checkServerIdentity: () => undefined,
    });
    native.on("error", (error) => this.#fail(handshakeError(error.message)));
    native.on("secureConnect", () => this.#judge(native));
  }

  #judge(native: TLSSocket): void {
    native.pause();
    if (this.#settled) return void native.destroy();
    // Fails closed: what is not known to be about the certificate's trust alone is a failed handshake.
    const verdict = verdictOf(native);
    if (verdict !== null && !isVerificationCode(verdict)) return void this.#fail(handshakeError(verdict));
    const exchange = native.getEphemeralKeyInfo();
    const session = judgeSession(
      {
        tlsVersion: native.getProtocol(),
        cipherSuite: native.getCipher().standardName,
        alpn: native.alpnProtocol,
        certificate: native.getPeerCertificate(true) as LinkedCertificate | null,
        keyExchange: exchange !== null && "name" in exchange ? String(exchange.name) : null,
      },
      this.#options,
      this.#role,
    );
    if (session instanceof MeshError) return void this.#fail(session);
    this.#settle();
    this.#resolve(
      new NodeTlsSocket(this.#context, native, this.#transport, this.#addresses, this.#role, session),
    );
  }

  readonly #onAbort = (): void => {
    const reason: unknown = this.#options.signal?.reason;
    this.#fail(reason instanceof MeshError ? reason : handshakeError("the handshake was given up"));
  };

  #fail(error: MeshError): void {
    if (this.#settled) return;
    this.#settle();
    this.#reject(error);
    resetNative(this.#transport);
  }

  #settle(): void {
    this.#settled = true;
    this.#timer.cancel();
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
  }
}

function commonOptions({ credentials, alpn }: TlsOptions) {
  const { certificateChainPem, privateKeyPem, trustedRootsPem } = credentials;
  return {
    ...(certificateChainPem === "" ? {} : { cert: certificateChainPem, key: privateKeyPem }),
    ...(trustedRootsPem === "" ? {} : { ca: trustedRootsPem }),
    // The peer is judged by `pki/trust/verifier`; what the runtime refuses for itself it also hides from us.
    rejectUnauthorized: false,
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    ciphers: "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384",
    ...(alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
  } as const;
}

/** The runtime's error about the peer's certificate, by its code; a text that is no code is one that is not known. */
function verdictOf(native: TLSSocket): string | null {
  const verdict: unknown = native.authorizationError;
  if (verdict === null || verdict === undefined) return null;
  return systemErrorName(verdict) ?? String(verdict);
}
