/** What a tunnel is made of, for tests: both ends of its connection in memory, and certificates, trust and handshakes that come when told. */
import { MeshError } from "../../../base/errors.ts";
import type { SocketAddress } from "../../../base/ip.ts";
import { silentLogger } from "../../../base/log.ts";
import { MetricRegistry } from "../../../base/metrics.ts";
import type { ConnectOptions, SocketHandler, TlsSocket } from "../../../host/host.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import { ip } from "../../../mesh/testing/fixture.ts";
import { FakeClock } from "../../../pki/testing/fake_clock.ts";
import type { VerifiedPeer } from "../../../pki/trust/verifier.ts";
import { H2Link, type H2LinkEvents } from "../../../transport/h2_link.ts";
import type { NodeContext } from "../../node_context.ts";

export const at = (text: string, port: number): SocketAddress => ({ ip: ip(text), port });

export const shopId = (name: string): SpiffeId => new SpiffeId("cluster.local", "shop", name);

/** One end of a connection in memory, its handshake done. What comes waits for a handler, and comes in a microtask. */
export class WireSocket implements TlsSocket {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly peerChain = [];
  readonly alpn = "h2";
  readonly tlsVersion = "TLSv1.3";
  readonly cipherSuite = "TLS_AES_128_GCM_SHA256";
  readonly keyExchange = null;
  readonly retainsWrites = true;
  /** How this end was given up; null while it is open. */
  given: "closed" | "reset" | null = null;
  /** Which a pair is made for. */
  #far: WireSocket = this;
  #handler: SocketHandler | null = null;
  #events: ((handler: SocketHandler) => void)[] = [];
  #isPaused = false;
  #isGone = false;

  constructor(local: SocketAddress, remote: SocketAddress) {
    this.local = local;
    this.remote = remote;
  }

  static pair(near: SocketAddress, far: SocketAddress): readonly [WireSocket, WireSocket] {
    const ends = [new WireSocket(near, far), new WireSocket(far, near)] as const;
    ends[0].#far = ends[1];
    ends[1].#far = ends[0];
    return ends;
  }

  setHandler(handler: SocketHandler): void {
    this.#handler = handler;
    queueMicrotask(() => this.#tell());
  }

  write(bytes: Uint8Array): number {
    if (this.given !== null || this.#isGone) return 0;
    this.#far.#comes((handler) => handler.onData(bytes));
    return bytes.length;
  }

  end(): void {
    this.#far.#comes((handler) => handler.onEnd());
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    queueMicrotask(() => this.#tell());
  }

  close(): void {
    if (this.given !== null) return;
    this.given = "closed";
    this.#far.#comes((handler) => handler.onEnd());
    this.#leave(null);
  }

  reset(): void {
    if (this.given !== null) return;
    this.given = "reset";
    this.#far.#leave(new MeshError("connection_reset", "peer", "the other end reset it"));
    this.#leave(null);
  }

  resetAfterSent(): void {
    this.reset();
  }

  #leave(error: MeshError | null): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#comes((handler) => handler.onClose(error));
  }

  #comes(event: (handler: SocketHandler) => void): void {
    this.#events.push(event);
    queueMicrotask(() => this.#tell());
  }

  #tell(): void {
    while (this.#handler !== null && !this.#isPaused) {
      const event = this.#events.shift();
      if (event === undefined) return;
      event(this.#handler);
    }
  }
}

/** A promise that waits until it is let go, with how many wait for it. */
export class Gate {
  waiting = 0;
  isOpen = true;
  #open: () => void = () => {};
  #opened: Promise<void> = Promise.resolve();

  close(): void {
    this.isOpen = false;
    this.#opened = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  open(): void {
    this.isOpen = true;
    this.#open();
  }

  async pass(): Promise<void> {
    if (this.isOpen) return;
    this.waiting++;
    await this.#opened;
    this.waiting--;
  }
}

type FakeSvid = { readonly id: SpiffeId; readonly serialNumber: string };

export class TunnelScene {
  readonly clock = new FakeClock(0);
  /** Handshakes wait here. */
  readonly handshakes = new Gate();
  /** What was dialled. */
  readonly dialled: ConnectOptions[] = [];
  /** The far ends of the connections that were dialled. */
  readonly far: WireSocket[] = [];
  /** What a dialled connection fails with instead. */
  dialFails: unknown = null;
  /** What the next look at a peer says. */
  distrust: MeshError | null = null;
  /** What was refused, and recorded. */
  readonly refused: string[] = [];
  readonly metrics = new MetricRegistry();
  #renewals = 0;
  readonly #svids = new Map<string, FakeSvid>();
  readonly #listeners: ((svid: FakeSvid) => void)[] = [];

  /** The identity has a new certificate, which is told at once. */
  renew(id: SpiffeId): void {
    const svid = { id, serialNumber: String(++this.#renewals) };
    this.#svids.set(id.uri, svid);
    this.tell(id);
  }

  /** Of the certificate that it has, once more. */
  tell(id: SpiffeId): void {
    const svid = this.current(id);
    if (svid !== null) for (const listener of this.#listeners) listener(svid);
  }

  /** It has none that is valid now. */
  forget(id: SpiffeId): void {
    this.#svids.delete(id.uri);
  }

  current(id: SpiffeId): FakeSvid | null {
    return this.#svids.get(id.uri) ?? null;
  }

  /** @param more in the place of the scene's own. */
  context(settings: Partial<NodeContext["settings"]> = {}, more: Partial<NodeContext> = {}): NodeContext {
    return {
      clock: this.clock,
      logger: silentLogger,
      secrets: {
        svid: async (id: SpiffeId) => {
          if (this.current(id) === null) this.renew(id);
          return this.current(id);
        },
        current: (id: SpiffeId) => this.current(id),
        subscribe: (listener: (svid: FakeSvid) => void) => {
          this.#listeners.push(listener);
        },
      },
      trust: {
        rootsPem: "",
        verify: async (
          _chain: unknown,
          { identities }: { readonly identities: readonly SpiffeId[] | null },
        ) => ({ id: identities?.[0] ?? shopId("peer") }) as VerifiedPeer,
        recheck: () => this.distrust,
      },
      net: {
        connect: async (options: ConnectOptions) => {
          this.dialled.push(options);
          if (this.dialFails !== null) throw this.dialFails;
          const [near, far] = WireSocket.pair(at(options.from?.ip.text ?? "10.0.0.1", 40_000), options.to);
          this.far.push(far);
          return near;
        },
        tlsClient: (socket: WireSocket) => this.#handshake(socket),
        tlsServer: (socket: WireSocket) => this.#handshake(socket),
        speech: () => null,
      },
      telemetry: {
        metrics: this.metrics,
        refused: (_direction: string, _source: unknown, _destination: unknown, error: MeshError) =>
          void this.refused.push(error.code),
      },
      settings: {
        network: "",
        hbonePort: 15008,
        mark: null,
        h2: {},
        maxStreamsPerConnection: 2,
        poolUnusedMs: 1_000,
        workers: 1,
        ...settings,
      },
      ...more,
    } as unknown as NodeContext;
  }

  /** Lets everything happen that waits for no time. */
  settle(): Promise<void> {
    return this.clock.advance(0);
  }

  /** The other end of the connection that was dialled as the `index`-th: a server that answers every CONNECT. */
  serve(index: number, events: H2LinkEvents = {}): H2Link {
    const socket = this.far[index];
    if (socket === undefined) throw new Error(`connection ${index} was not dialled`);
    const link = new H2Link(this.clock, socket, { role: "server" }, events);
    link.start();
    return link;
  }

  async #handshake(socket: WireSocket): Promise<WireSocket> {
    await this.handshakes.pass();
    return socket;
  }
}
