/** The resolvers behind the proxy: what the mesh does not know is theirs to answer. Each query has a socket, and so a port, of its own. */
import { MeshError } from "../base/errors.ts";
import { formatSocketAddress, IpAddress, type SocketAddress } from "../base/ip.ts";
import { dnsLimits } from "../base/limits/dns.ts";
import type { Clock, Network, Random, Timer, UdpSocket } from "../host/host.ts";
import {
  codeOf,
  dnsCode,
  dnsType,
  isAnswerTo,
  isTruncated,
  readAddresses,
  readQuery,
  withId,
  writeQuery,
} from "../wire/dns/message.ts";
import { exchangeOverTcp } from "./tcp_exchange.ts";

export interface UpstreamOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly net: Network;
  /** Of now, in the order in which they are asked. */
  readonly servers: () => readonly SocketAddress[];
  /** SO_MARK on TCP; null without capture. */
  readonly mark: number | null;
}

export class Upstream {
  readonly #options: UpstreamOptions;
  /** When each failed last, by `ip:port`. */
  readonly #failed = new Map<string, number>();
  /** What is on its way, by id and question: one that comes back to us is a circle. */
  readonly #sent = new Set<string>();

  constructor(options: UpstreamOptions) {
    this.#options = options;
  }

  /** Whether the query is one that we have sent on ourselves. */
  isOurs(id: number, question: Uint8Array): boolean {
    return this.#sent.has(sentKey(id, question));
  }

  /**
   * Passes a query on as it is, under an id of our own.
   *
   * @returns the answer under the query's id; null when no server gave one in time.
   */
  async forward(query: Uint8Array, question: Uint8Array, over: "udp" | "tcp"): Promise<Uint8Array | null> {
    const { clock } = this.#options;
    const original = ((query[0] ?? 0) << 8) | (query[1] ?? 0);
    const deadline = clock.now() + dnsLimits.forwardTimeoutMs;
    let last: Uint8Array | null = null;
    for (const server of this.#inOrder()) {
      const left = Math.min(dnsLimits.serverTimeoutMs, deadline - clock.now());
      if (left <= 0) break;
      const answer = await this.#exchange(server, query, question, over, left);
      const isGood = answer !== null && !isServersFault(codeOf(answer));
      this.#note(server, isGood);
      if (answer === null) continue;
      last = withId(answer, original);
      if (isGood) return last;
    }
    return last;
  }

  /** Addresses of a name outside of the mesh, without the host's resolver, which may be us. @throws MeshError `name_not_found`. */
  async resolve(hostname: string): Promise<readonly IpAddress[]> {
    const literal = IpAddress.parse(hostname);
    if (literal !== null) return [literal];
    // RFC 6761 §6.3.
    if (hostname === "localhost" || hostname.endsWith(".localhost"))
      return [IpAddress.loopback(true), IpAddress.loopback(false)];
    const found = await Promise.all([dnsType.a, dnsType.aaaa].map((type) => this.#lookUp(hostname, type)));
    const addresses = found.flat();
    if (addresses.length > 0) return addresses;
    throw new MeshError(
      "name_not_found",
      "upstream",
      `${hostname}: no resolver of this host knows an address`,
    );
  }

  async #lookUp(hostname: string, type: number): Promise<readonly IpAddress[]> {
    const query = writeQuery(this.#newId(), hostname, type);
    const read = query === null ? null : readQuery(query);
    if (query === null || read === null || !("question" in read)) return [];
    const { question } = read;
    let answer = await this.forward(query, question, "udp");
    if (answer !== null && isTruncated(answer)) answer = await this.forward(query, question, "tcp");
    return answer === null ? [] : (readAddresses(answer, question.length) ?? []);
  }

  async #exchange(
    server: SocketAddress,
    query: Uint8Array,
    question: Uint8Array,
    over: "udp" | "tcp",
    timeoutMs: number,
  ): Promise<Uint8Array | null> {
    const id = this.#newId();
    const key = sentKey(id, question);
    this.#sent.add(key);
    try {
      const asked = withId(query, id);
      const { clock, net, mark } = this.#options;
      const answer =
        over === "tcp"
          ? await exchangeOverTcp(clock, net, { server, mark, query: asked, timeoutMs })
          : await this.#overUdp(server, asked, id, question, timeoutMs);
      return answer !== null && isAnswerTo(answer, id, question) ? answer : null;
    } finally {
      this.#sent.delete(key);
    }
  }

  async #overUdp(
    server: SocketAddress,
    query: Uint8Array,
    id: number,
    question: Uint8Array,
    timeoutMs: number,
  ): Promise<Uint8Array | null> {
    const { clock, net } = this.#options;
    const { promise, resolve } = Promise.withResolvers<Uint8Array | null>();
    let socket: UdpSocket | null = null;
    let timer: Timer | null = null;
    try {
      const wildcard = IpAddress.fromBytes(new Uint8Array(server.ip.bytes.length));
      if (wildcard === null) return null;
      socket = await net.bindUdp({ ip: wildcard, port: 0 }, (bytes, from) => {
        // From no other address, and to no other question: a guess in time is what cache poisoning is made of (RFC 5452 §9.1).
        if (from.port === server.port && from.ip.equals(server.ip) && isAnswerTo(bytes, id, question))
          resolve(bytes);
      });
      timer = clock.setTimer(timeoutMs, () => resolve(null));
      socket.send(query, server);
      return await promise;
    } catch (thrown) {
      // No socket to be had: as good as no answer.
      if (thrown instanceof MeshError) return null;
      throw thrown;
    } finally {
      timer?.cancel();
      socket?.close();
    }
  }

  /** Those that failed lately come last. */
  #inOrder(): readonly SocketAddress[] {
    const now = this.#options.clock.now();
    const hasFailed = (server: SocketAddress): boolean => {
      const at = this.#failed.get(formatSocketAddress(server));
      return at !== undefined && now - at < dnsLimits.failedServerMs;
    };
    const servers = this.#options.servers();
    return [...servers.filter((server) => !hasFailed(server)), ...servers.filter(hasFailed)];
  }

  #note(server: SocketAddress, isGood: boolean): void {
    const key = formatSocketAddress(server);
    if (isGood) this.#failed.delete(key);
    else this.#failed.set(key, this.#options.clock.now());
    const [oldest] = this.#failed.keys();
    if (this.#failed.size > dnsLimits.maxServers * 4 && oldest !== undefined) this.#failed.delete(oldest);
  }

  #newId(): number {
    const bytes = new Uint8Array(2);
    this.#options.random.fill(bytes);
    return ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0);
  }
}

/** Another server may know better. */
function isServersFault(code: number): boolean {
  return code === dnsCode.serverFailure || code === dnsCode.refused || code === dnsCode.notImplemented;
}

function sentKey(id: number, question: Uint8Array): string {
  return `${id} ${String.fromCharCode(...question).toLowerCase()}`;
}
