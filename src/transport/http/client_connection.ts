/** A connection to the control plane for a few requests of administration: TLS, our verdict on the server, HTTP/2. */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type HostPort, IpAddress, type SocketAddress } from "../../base/ip.ts";
import { controlHttpLimits } from "../../base/limits/control.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Clock, Network, Socket, TlsCredentials, TlsSocket } from "../../host/host.ts";
import { H2Connection } from "../../wire/h2/connection.ts";
import { Drive } from "../drive.ts";
import { type HttpAnswer, type HttpCall, requestHttp } from "./request.ts";

export interface HttpTarget {
  readonly server: HostPort;
  readonly credentials: TlsCredentials;
  /** @throws MeshError to refuse the server; nothing was sent to it then. */
  verify(chain: readonly Uint8Array[]): Promise<void>;
}

export class HttpConnection {
  readonly #clock: Clock;
  readonly #authority: string;
  readonly #connection: H2Connection;
  #drive: Drive | null = null;

  private constructor(clock: Clock, socket: TlsSocket, authority: string) {
    this.#clock = clock;
    this.#authority = authority;
    this.#connection = new H2Connection(
      { role: "client", now: clock.now() },
      { onRequest: () => {}, onOutputReady: () => this.#drive?.outputReady(), onClose: () => {} },
    );
    this.#drive = new Drive(clock, socket, this.#connection, () => {});
    this.#drive.start();
  }

  /** @throws MeshError `name_not_found`, `connect_*`, `tls_*`, or what `verify` throws. */
  static async open(
    host: { readonly clock: Clock; readonly net: Network },
    target: HttpTarget,
  ): Promise<HttpConnection> {
    const { net } = host;
    const { server } = target;
    const address = IpAddress.parse(server.host);
    const socket = await dial(net, address === null ? await net.resolve(server.host) : [address], server);
    const tls = await upgrade(net, socket, target, address === null ? server.host : null);
    const authority =
      address === null
        ? `${server.host}:${server.port}`
        : formatSocketAddress({ ip: address, port: server.port });
    return new HttpConnection(host.clock, tls, authority);
  }

  /** @throws MeshError `connect_timeout` without an answer in time, and as `requestHttp`. */
  async request(call: Omit<HttpCall, "authority">, signal?: AbortSignal): Promise<HttpAnswer> {
    const late = new AbortController();
    const timer = this.#clock.setTimer(controlHttpLimits.answerTimeoutMs, () =>
      late.abort(
        new MeshError(
          "connect_timeout",
          "upstream",
          `${this.#authority} did not answer in ${controlHttpLimits.answerTimeoutMs} ms`,
        ),
      ),
    );
    try {
      const given = signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]);
      return await requestHttp(this.#connection, { ...call, authority: this.#authority }, given);
    } finally {
      // The head is there: a body may flow for as long as it likes (`audit --follow`).
      timer.cancel();
    }
  }

  close(): void {
    this.#connection.goAway(0);
  }
}

/** The addresses of a name in turn; the last failure is the one that is told. */
async function dial(net: Network, addresses: readonly IpAddress[], server: HostPort): Promise<Socket> {
  let failure = new MeshError("name_not_found", "upstream", `${server.host} has no address`);
  for (const ip of addresses) {
    const to: SocketAddress = { ip, port: server.port };
    try {
      return await net.connect({ to, timeoutMs: proxyLimits.connectTimeoutMs });
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      failure = error;
    }
  }
  throw failure;
}

async function upgrade(
  net: Network,
  socket: Socket,
  target: HttpTarget,
  serverName: string | null,
): Promise<TlsSocket> {
  let held = socket;
  try {
    const tls = await net.tlsClient(socket, {
      credentials: target.credentials,
      alpn: ["h2"],
      timeoutMs: proxyLimits.handshakeTimeoutMs,
      ...(serverName === null ? {} : { serverName }),
    });
    held = tls;
    await target.verify(tls.peerChain);
    return tls;
  } catch (error) {
    held.reset();
    throw error;
  }
}
