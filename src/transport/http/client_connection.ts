/** A connection for a few requests of administration, HTTP/2: to a control plane over TLS, or to a node of this host on its Unix socket. */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type HostPort, IpAddress } from "../../base/ip.ts";
import { controlHttpLimits } from "../../base/limits/control.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Clock, Network, Socket, TlsCredentials } from "../../host/host.ts";
import { dial, secure } from "../dial.ts";
import { H2Link } from "../h2_link.ts";
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
  readonly #link: H2Link;

  private constructor(clock: Clock, socket: Socket, authority: string) {
    this.#clock = clock;
    this.#authority = authority;
    this.#link = new H2Link(clock, socket, { role: "client" }, {});
    this.#link.start();
  }

  /** @throws MeshError `name_not_found`, `connect_*`, `tls_*`, or what `verify` throws. */
  static async open(
    host: { readonly clock: Clock; readonly net: Network },
    target: HttpTarget,
  ): Promise<HttpConnection> {
    const { server, credentials } = target;
    const socket = await dial(host.net, server, proxyLimits.connectTimeoutMs);
    const { tls } = await secure(
      host.net,
      socket,
      { credentials, alpn: ["h2"], timeoutMs: proxyLimits.handshakeTimeoutMs },
      server.host,
      (chain) => target.verify(chain),
    );
    const ip = IpAddress.parse(server.host);
    const authority =
      ip === null ? `${server.host}:${server.port}` : formatSocketAddress({ ip, port: server.port });
    return new HttpConnection(host.clock, tls, authority);
  }

  /** @throws MeshError as `Network.connectUnix`. */
  static async openUnix(
    host: { readonly clock: Clock; readonly net: Network },
    path: string,
  ): Promise<HttpConnection> {
    const socket = await host.net.connectUnix(path, proxyLimits.connectTimeoutMs);
    return new HttpConnection(host.clock, socket, "localhost");
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
      return await requestHttp(this.#link.connection, { ...call, authority: this.#authority }, given);
    } finally {
      // The head is there: a body may flow for as long as it likes (`audit --follow`).
      timer.cancel();
    }
  }

  close(): void {
    this.#link.close();
  }
}
