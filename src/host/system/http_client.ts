/**
 * The HTTP client of the hosts that are real, over sockets of its own. Not over `fetch`, which goes where HTTPS_PROXY says whatever
 * address it was given, sends LIST as GET, and stops checking certificates when an environment variable says so.
 */
import { connect as connectTcp, type Socket } from "node:net";
import { checkServerIdentity, connect as connectTls } from "node:tls";
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type IpAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { HttpAnswer } from "../../wire/h1/answer.ts";
import type { Clock, HttpClient, HttpRequest, HttpResponse, Network } from "../host.ts";
import {
  certificateName,
  encodeRequest,
  type HttpTarget,
  reachableAddresses,
  readTarget,
  serverNameOf,
} from "../http/request.ts";
import { connectError, systemErrorName } from "../socket_errors.ts";

export class SocketHttpClient implements HttpClient {
  readonly #clock: Clock;
  readonly #resolve: Network["resolve"];

  constructor(clock: Clock, resolve: Network["resolve"]) {
    this.#clock = clock;
    this.#resolve = resolve;
  }

  async send(request: HttpRequest): Promise<HttpResponse> {
    const target = readTarget(request);
    const bytes = encodeRequest(request, target);
    const deadline = new Deadline(this.#clock, request.timeoutMs, target);
    try {
      const found = await deadline.race(this.#resolve(target.hostname));
      const addresses = reachableAddresses(request, target.hostname, found).slice(
        0,
        hostLimits.httpDialAttempts,
      );
      return await this.#tryEach(request, target, bytes, addresses, deadline);
    } finally {
      deadline.cancel();
    }
  }

  /** The next address only when no connection stood: a request that may have been heard is not said again. */
  async #tryEach(
    request: HttpRequest,
    target: HttpTarget,
    bytes: Uint8Array,
    addresses: readonly IpAddress[],
    deadline: Deadline,
  ): Promise<HttpResponse> {
    let last: unknown = new MeshError("name_not_found", "upstream", `${target.hostname} has no address`);
    for (const ip of addresses) {
      const exchange = new Exchange(request, target, bytes, ip);
      try {
        return await deadline.race(exchange.run());
      } catch (thrown) {
        last = thrown;
        if (exchange.connected || deadline.passed) throw thrown;
      } finally {
        exchange.abandon();
      }
    }
    throw last;
  }
}

const noSubject = { C: "", ST: "", L: "", O: "", OU: "", CN: "" };

/** One time for everything: name, connection, answer. */
class Deadline {
  readonly #expired: Promise<never>;
  readonly #timer: { cancel(): void };
  passed = false;

  constructor(clock: Clock, timeoutMs: number, target: HttpTarget) {
    const { promise, reject } = Promise.withResolvers<never>();
    this.#expired = promise;
    promise.catch(() => {});
    this.#timer = clock.setTimer(timeoutMs, () => {
      this.passed = true;
      reject(
        new MeshError("connect_timeout", "upstream", `no answer of ${target.authority} in ${timeoutMs} ms`),
      );
    });
  }

  race<T>(work: Promise<T>): Promise<T> {
    return Promise.race([work, this.#expired]);
  }

  cancel(): void {
    this.#timer.cancel();
  }
}

class Exchange {
  readonly #request: HttpRequest;
  readonly #target: HttpTarget;
  readonly #bytes: Uint8Array;
  readonly #ip: IpAddress;
  readonly #answer: HttpAnswer;
  #socket: Socket | null = null;
  /** A TCP connection stands: what fails from now on is not the address's fault. */
  connected = false;

  constructor(request: HttpRequest, target: HttpTarget, bytes: Uint8Array, ip: IpAddress) {
    this.#request = request;
    this.#target = target;
    this.#bytes = bytes;
    this.#ip = ip;
    this.#answer = new HttpAnswer(request.maxResponseBytes);
  }

  run(): Promise<HttpResponse> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpResponse>();
    promise.catch(() => {});
    const settle = (work: () => HttpResponse | null) => {
      try {
        const response = work();
        if (response !== null) resolve(response);
      } catch (thrown) {
        reject(thrown);
        this.abandon();
      }
    };
    const socket = this.#dial(() => socket.write(this.#bytes));
    this.#socket = socket;
    socket.on("data", (bytes) =>
      settle(() => {
        this.#answer.receive(typeof bytes === "string" ? Buffer.from(bytes) : bytes);
        return this.#answer.done ? this.#answer.response : null;
      }),
    );
    socket.on("end", () => settle(() => this.#answer.receiveEnd()));
    socket.on("error", (error) => settle(() => this.#refuse(error)));
    socket.on("close", () => settle(() => this.#answer.receiveEnd()));
    return promise;
  }

  abandon(): void {
    this.#socket?.destroy();
  }

  #dial(ready: () => void): Socket {
    const to = { host: this.#ip.text, port: this.#target.port };
    if (!this.#target.isTls) {
      return connectTcp(to, () => {
        this.connected = true;
        ready();
      });
    }
    const serverName = serverNameOf(this.#target);
    const { trustedRootsPem } = this.#request;
    const socket = connectTls(
      {
        ...to,
        ...(serverName === null ? {} : { servername: serverName }),
        ...(trustedRootsPem === undefined ? {} : { ca: trustedRootsPem }),
        // Said aloud, so that NODE_TLS_REJECT_UNAUTHORIZED has no say.
        rejectUnauthorized: true,
        minVersion: "TLSv1.2",
        ALPNProtocols: ["http/1.1"],
        // A name in the subject is no name (RFC 9525 §2); Node would fall back on it.
        checkServerIdentity: (_, certificate) =>
          checkServerIdentity(certificateName(this.#target), { ...certificate, subject: noSubject }),
      },
      () => ready(),
    );
    socket.on("connect", () => {
      this.connected = true;
    });
    return socket;
  }

  #refuse(error: Error): never {
    const where = `${this.#target.authority} (${formatSocketAddress({ ip: this.#ip, port: this.#target.port })})`;
    const name = systemErrorName(error) ?? error.message;
    if (!this.connected && /^E[A-Z]+$/.test(name)) throw connectError(name, where);
    const code = /^E[A-Z]+$/.test(name) ? "connection_closed" : "tls_handshake";
    throw new MeshError(code, "upstream", `${where}: ${error.message}`, { cause: error });
  }
}
