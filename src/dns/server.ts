/**
 * The DNS proxy: UDP and TCP on an address of this host, for this host. A and AAAA of names of the mesh are answered, everything else is
 * passed on (ztunnel `src/dns/server.rs`).
 */
import type { IpAddress, SocketAddress } from "../base/ip.ts";
import { dnsLimits } from "../base/limits/dns.ts";
import type { Counter, MetricRegistry } from "../base/metrics.ts";
import type { Clock, Listener, Network, Socket, UdpSocket } from "../host/host.ts";
import type { Workload } from "../mesh/workload.ts";
import {
  type BadQuery,
  type DnsQuery,
  dnsClassIn,
  dnsCode,
  dnsType,
  maxTcpBytes,
  readQuery,
  udpLimit,
  writeAnswer,
  writeFailure,
} from "../wire/dns/message.ts";
import type { MeshNames } from "./mesh_names.ts";
import { framed, MessageReader } from "./tcp_exchange.ts";
import type { Upstream } from "./upstream.ts";

export interface DnsServerOptions {
  readonly clock: Clock;
  readonly net: Network;
  readonly names: MeshNames;
  readonly upstream: Upstream;
  readonly metrics: MetricRegistry;
  /** The workload of this host that asks from there; null when none runs here: then nothing is answered for the mesh. */
  readonly clientAt: (ip: IpAddress) => Workload | null;
}

type Outcome = "mesh" | "forwarded" | "failed" | "refused";

export class DnsServer {
  readonly #options: DnsServerOptions;
  readonly #udp: UdpSocket[] = [];
  readonly #tcp: Listener[] = [];
  readonly #clients = new Set<TcpClient>();
  readonly #forwarded = new Map<string, number>();
  readonly #counters: Readonly<Record<Outcome, Counter>>;
  #forwarding = 0;

  constructor(options: DnsServerOptions) {
    this.#options = options;
    const family = options.metrics.counter("fairlead_dns_queries", "DNS queries, by what became of them", [
      "outcome",
    ]);
    this.#counters = {
      mesh: family.with({ outcome: "mesh" }),
      forwarded: family.with({ outcome: "forwarded" }),
      failed: family.with({ outcome: "failed" }),
      refused: family.with({ outcome: "refused" }),
    };
  }

  /** @returns the address; its port is real when 0 was asked for. @throws MeshError `address_in_use`, `permission_denied`. */
  async listen(address: SocketAddress): Promise<SocketAddress> {
    const { net } = this.#options;
    const tcp = net.listen({ address }, (socket) => this.#accept(socket));
    this.#tcp.push(tcp);
    const udp = await net.bindUdp(tcp.address, (bytes, from) => void this.#onDatagram(udp, bytes, from));
    this.#udp.push(udp);
    return udp.address;
  }

  close(): void {
    for (const udp of this.#udp) udp.close();
    for (const tcp of this.#tcp) tcp.close();
    for (const client of [...this.#clients]) client.close();
  }

  async #onDatagram(udp: UdpSocket, bytes: Uint8Array, from: SocketAddress): Promise<void> {
    const answer = await this.answer(bytes, from, "udp");
    if (answer !== null) udp.send(answer, from);
  }

  #accept(socket: Socket): void {
    const { ip } = socket.remote;
    const held = [...this.#clients].filter(({ remote }) => remote.equals(ip)).length;
    if (this.#clients.size >= dnsLimits.maxTcpClients || held >= dnsLimits.maxTcpPerClient) {
      socket.reset();
      return;
    }
    const answer = (query: Uint8Array) => this.answer(query, socket.remote, "tcp");
    this.#clients.add(
      new TcpClient(this.#options.clock, socket, answer, (closed) => this.#clients.delete(closed)),
    );
  }

  /** @returns null for what gets none: it is no query, or its sender is not of this host. */
  async answer(bytes: Uint8Array, from: SocketAddress, over: "udp" | "tcp"): Promise<Uint8Array | null> {
    // Whoever may ask may make us ask others, with answers larger than questions.
    if (!this.#isLocal(from.ip)) return null;
    const query = readQuery(bytes);
    if (query === null) return null;
    if (!("question" in query)) return this.#fail(query, query.code, "refused");
    const { upstream } = this.#options;
    if (upstream.isOurs(query.id, query.question)) return this.#fail(query, dnsCode.refused, "refused");
    const known = this.#fromMesh(query, from.ip, over);
    if (known !== null) {
      this.#counters.mesh.add(1);
      return known;
    }
    return await this.#forward(bytes, query, from.ip, over);
  }

  #fromMesh(query: DnsQuery, from: IpAddress, over: "udp" | "tcp"): Uint8Array | null {
    const { name, type } = query;
    if (name === null || name === "" || query.class !== dnsClassIn) return null;
    if (type !== dnsType.a && type !== dnsType.aaaa) return null;
    const client = this.#options.clientAt(from);
    const found = client === null ? null : this.#options.names.find(name, client);
    if (found === null) return null;
    const addresses = found.addresses.filter(({ isIpv4 }) => isIpv4 === (type === dnsType.a));
    const { canonicalName } = found;
    const answer = { code: dnsCode.noError, canonicalName, addresses, ttlSeconds: dnsLimits.ttlSeconds };
    return writeAnswer(query, answer, over === "udp" ? udpLimit(query) : maxTcpBytes);
  }

  async #forward(
    bytes: Uint8Array,
    query: DnsQuery,
    from: IpAddress,
    over: "udp" | "tcp",
  ): Promise<Uint8Array> {
    const held = this.#forwarded.get(from.text) ?? 0;
    if (this.#forwarding >= dnsLimits.maxForwarded || held >= dnsLimits.maxForwardedPerClient)
      return this.#fail(query, dnsCode.serverFailure, "refused");
    this.#forwarding++;
    this.#forwarded.set(from.text, held + 1);
    try {
      const answer = await this.#options.upstream.forward(bytes, query.question, over);
      if (answer === null) return this.#fail(query, dnsCode.serverFailure, "failed");
      this.#counters.forwarded.add(1);
      return answer;
    } finally {
      this.#forwarding--;
      const left = (this.#forwarded.get(from.text) ?? 1) - 1;
      if (left === 0) this.#forwarded.delete(from.text);
      else this.#forwarded.set(from.text, left);
    }
  }

  #fail(query: DnsQuery | BadQuery, code: number, outcome: Outcome): Uint8Array {
    this.#counters[outcome].add(1);
    return writeFailure(query, code);
  }

  #isLocal(ip: IpAddress): boolean {
    return ip.isLoopback || this.#options.net.localAddresses().some((own) => own.equals(ip));
  }
}

/** One connection: its queries are answered one after the other, each when the answer before has been taken, and it is not read meanwhile. */
class TcpClient {
  readonly remote: IpAddress;
  readonly #clock: Clock;
  readonly #socket: Socket;
  readonly #answer: (query: Uint8Array) => Promise<Uint8Array | null>;
  readonly #onClose: (closed: TcpClient) => void;
  readonly #reader = new MessageReader(dnsLimits.maxQueryBytes);
  #unsent: Uint8Array | null = null;
  #onSent: () => void = () => {};
  #idle;
  #isClosed = false;

  constructor(
    clock: Clock,
    socket: Socket,
    answer: (query: Uint8Array) => Promise<Uint8Array | null>,
    onClose: (closed: TcpClient) => void,
  ) {
    this.remote = socket.remote.ip;
    this.#clock = clock;
    this.#socket = socket;
    this.#answer = answer;
    this.#onClose = onClose;
    this.#idle = clock.setTimer(dnsLimits.tcpIdleMs, () => this.close());
    socket.setHandler({
      onData: (bytes) => void this.#onData(bytes),
      onDrain: () => this.#flush(),
      // It may wait for answers still; it is idle after them.
      onEnd: () => {},
      onClose: () => this.#ended(),
    });
  }

  close(): void {
    this.#socket.close();
    this.#ended();
  }

  async #onData(bytes: Uint8Array): Promise<void> {
    const messages = this.#reader.receive(bytes);
    if (messages === null) {
      this.close();
      return;
    }
    this.#socket.pause();
    for (const message of messages) {
      const answer = await this.#answer(message);
      if (this.#isClosed) return;
      if (answer === null) {
        this.close();
        return;
      }
      this.#idle.cancel();
      this.#idle = this.#clock.setTimer(dnsLimits.tcpIdleMs, () => this.close());
      await this.#send(framed(answer));
      if (this.#isClosed) return;
    }
    if (!this.#isClosed) this.#socket.resume();
  }

  #send(bytes: Uint8Array): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#unsent = bytes;
    this.#onSent = resolve;
    this.#flush();
    return promise;
  }

  #flush(): void {
    if (this.#unsent === null) return;
    const taken = this.#socket.write(this.#unsent);
    this.#unsent = taken === this.#unsent.length ? null : this.#unsent.slice(taken);
    if (this.#unsent === null) this.#onSent();
  }

  #ended(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#idle.cancel();
    this.#unsent = null;
    this.#onSent();
    this.#onClose(this);
  }
}
