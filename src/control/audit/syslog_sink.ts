/**
 * The audit log to a syslog server: RFC 5424 over UDP (RFC 5426), TCP (RFC 6587), TLS (RFC 5425) or the local socket `/dev/log`. Syslog
 * answers nothing: what is sent is there as far as the transport can tell, and what a broken connection may have lost is sent again.
 */
import { MeshError } from "../../base/errors.ts";
import { type HostPort, IpAddress } from "../../base/ip.ts";
import { auditExportLimits } from "../../base/limits/control.ts";
import type { Clock, Datagrams, Files, Network, Socket, Timer } from "../../host/host.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { concatBytes } from "../../pki/der/encode.ts";
import { ServerCertificateVerifier } from "../../pki/trust/server_certificate.ts";
import { dial, secure } from "../../transport/dial.ts";
import type { ChainedEntry } from "../records/audit.ts";
import type { AuditSink } from "./audit_export.ts";
import { counted, type SyslogOrigin, syslogMessage } from "./syslog_message.ts";

export type SyslogTarget =
  | { readonly transport: "unix"; readonly path: string }
  | { readonly transport: "udp" | "tcp"; readonly server: HostPort }
  | { readonly transport: "tls"; readonly server: HostPort; readonly rootPath: string };

export interface SyslogSinkOptions {
  readonly clock: Clock;
  readonly net: Network;
  readonly files: Pick<Files, "readText">;
  readonly provider: CryptoProvider;
  readonly target: SyslogTarget;
  readonly origin: SyslogOrigin;
  /** Of a connection, and of what it has to take; `auditExportLimits.syslogTimeoutMs` when left out. */
  readonly timeoutMs?: number;
  /** `auditExportLimits.syslogSettleMs` when left out. */
  readonly settleMs?: number;
}

export class SyslogSink implements AuditSink {
  readonly target = "syslog";
  readonly where: string;
  readonly settleMs: number;
  readonly #options: SyslogSinkOptions;
  #datagrams: Datagrams | null = null;
  #stream: SyslogStream | null = null;
  readonly #timeoutMs: number;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: SyslogSinkOptions) {
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? auditExportLimits.syslogTimeoutMs;
    const { target } = options;
    this.where = describeSyslog(target);
    // A datagram in the local socket's queue is there; one on a network is gone or not.
    this.settleMs = target.transport === "unix" ? 0 : (options.settleMs ?? auditExportLimits.syslogSettleMs);
  }

  async send(rows: readonly ChainedEntry[]): Promise<number> {
    if (this.#closed) throw new MeshError("stopped", "local", "the export is stopping");
    const { target, origin } = this.#options;
    const messages = rows.map((row) => syslogMessage(origin, row));
    if (target.transport === "unix" || target.transport === "udp") await this.#sendDatagrams(messages);
    else await this.#sendStream(messages);
    return 0;
  }

  close(): void {
    this.#closed = true;
    this.#datagrams?.close();
    this.#stream?.close();
  }

  async #sendDatagrams(messages: readonly Uint8Array[]): Promise<void> {
    const { clock } = this.#options;
    const untilMs = clock.now() + this.#timeoutMs;
    try {
      this.#datagrams ??= await this.#openDatagrams();
      let inTurn = 0;
      for (const message of messages) {
        while (!this.#datagrams.send(message)) {
          if (clock.now() > untilMs)
            throw new MeshError("connect_timeout", "upstream", `${this.where} takes nothing`);
          await pause(clock, fullPauseMs);
        }
        if (++inTurn % auditExportLimits.datagramsPerTurn === 0)
          await new Promise<void>((resolve) => clock.defer(resolve));
      }
    } catch (thrown) {
      // A server that was restarted has another socket by the same name.
      this.#datagrams?.close();
      this.#datagrams = null;
      throw thrown;
    }
  }

  async #openDatagrams(): Promise<Datagrams> {
    const { net, target } = this.#options;
    if (target.transport === "unix") return net.openDatagrams(target.path);
    const { host, port } = target.server;
    const ip = IpAddress.parse(host) ?? (await net.resolve(host))[0];
    if (ip === undefined) throw new MeshError("name_not_found", "upstream", `${host} has no address`);
    return net.openDatagrams({ ip, port });
  }

  async #sendStream(messages: readonly Uint8Array[]): Promise<void> {
    try {
      if (this.#stream === null || this.#stream.isOver) {
        // What it had taken and not passed on is lost, for all that is known: the exporter goes back. Servers also close what is idle.
        const sinceMs = this.#options.clock.now() - this.#writtenAtMs;
        const broke = this.#stream !== null && sinceMs < this.settleMs;
        this.#stream = null;
        if (broke)
          throw new MeshError("connection_closed", "upstream", `${this.where} closed the connection`);
        this.#stream = new SyslogStream(
          this.#options.clock,
          await this.#connect(),
          this.where,
          this.#timeoutMs,
        );
        if (this.#closed) throw new MeshError("stopped", "local", "the export is stopping");
      }
      await this.#stream.write(concatBytes(...messages.map(counted)));
      this.#writtenAtMs = this.#options.clock.now();
    } catch (thrown) {
      this.#stream?.close();
      this.#stream = null;
      throw thrown;
    }
  }

  async #connect(): Promise<Socket> {
    const { net, target, files, clock, provider } = this.#options;
    if (target.transport === "unix")
      throw new MeshError("bug", "local", "a local socket is not connected to");
    const timeoutMs = this.#timeoutMs;
    const socket = await dial(net, target.server, timeoutMs);
    if (target.transport !== "tls") return socket;
    const { host } = target.server;
    let rootsPem: string;
    try {
      rootsPem = await files.readText(target.rootPath);
    } catch (thrown) {
      socket.reset();
      throw thrown;
    }
    const verifier = new ServerCertificateVerifier({
      clock,
      provider,
      host,
      alternativeHosts: [],
      trust: { kind: "roots", rootsPem: () => rootsPem },
      role: "the syslog server",
    });
    const credentials = { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: rootsPem };
    const { tls } = await secure(net, socket, { credentials, alpn: [], timeoutMs }, host, (chain) =>
      verifier.verify(chain),
    );
    return tls;
  }
}

/** A connection that is only written to. It ends with the first write that is not taken in time: a frozen server holds one row, not memory. */
class SyslogStream {
  readonly #clock: Clock;
  readonly #socket: Socket;
  readonly #where: string;
  readonly #timeoutMs: number;
  #over: MeshError | null = null;
  #wake: (() => void) | null = null;

  constructor(clock: Clock, socket: Socket, where: string, timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#socket = socket;
    this.#where = where;
    const end = (message: string): void => {
      this.#over ??= new MeshError("connection_closed", "upstream", message);
      this.#wake?.();
    };
    socket.setHandler({
      // A server says nothing; what it says all the same is not kept.
      onData: () => {},
      onDrain: () => this.#wake?.(),
      onEnd: () => {
        end(`${where} closed the connection`);
        socket.reset();
      },
      onClose: (error) => end(error?.message ?? `${where} closed the connection`),
    });
  }

  get isOver(): boolean {
    return this.#over !== null;
  }

  /** @throws MeshError `connection_closed`, `connect_timeout`. */
  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    for (;;) {
      if (this.#over !== null) throw this.#over;
      const taken = this.#socket.write(rest);
      rest = rest.subarray(taken);
      if (rest.length === 0) return;
      await this.#room();
    }
  }

  close(): void {
    this.#over ??= new MeshError("stopped", "local", "the export is stopping");
    this.#wake?.();
    this.#socket.close();
  }

  async #room(): Promise<void> {
    let timer: Timer | null = null;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#wake = resolve;
        timer = this.#clock.setTimer(this.#timeoutMs, () => {
          this.#socket.reset();
          reject(new MeshError("connect_timeout", "upstream", `${this.#where} takes nothing`));
        });
      });
    } finally {
      this.#wake = null;
      (timer as Timer | null)?.cancel();
    }
  }
}

/** Between two tries while the receiver's queue is full. */
const fullPauseMs = 20;

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.setTimer(ms, resolve));
}

function describeSyslog(target: SyslogTarget): string {
  if (target.transport === "unix") return `unix://${target.path}`;
  const { host, port } = target.server;
  return `${target.transport}://${host.includes(":") ? `[${host}]` : host}:${port}`;
}
