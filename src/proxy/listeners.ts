/** Every port this node listens on, from the settings and the workloads that run here; the set follows when the workloads change. */
import { faultOf, MeshError } from "../base/errors.ts";
import {
  formatAddress,
  formatSocketAddress,
  type HostPort,
  type IpAddress,
  type SocketAddress,
} from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Listener, Socket, Timer } from "../host/host.ts";
import type { Workload } from "../mesh/workload.ts";
import { EarlySocket } from "./carry/early_socket.ts";
import { EntryHandshake, type EntryProtocol } from "./entry/entry.ts";
import { httpConnectEntry, socks5Entry } from "./entry/entry_protocols.ts";
import type { NodeContext } from "./node_context.ts";
import type { OutboundFlow } from "./outbound.ts";
import type { PassthroughFlow } from "./passthrough.ts";
import type { ServerTunnels } from "./tunnel/server_tunnels.ts";

/** A port that clients use by choice. `workload` is `namespace/name`; null takes the one at the listener's address, or the only one. */
export interface EntrySettings {
  readonly listen: SocketAddress;
  readonly workload: string | null;
}

export interface ListenerSettings {
  /** Inbound HBONE on every address of this host, on the addresses of the workloads that run here, on those that this host has, or on none. */
  readonly bindInbound: "addresses" | "wildcard" | "host addresses" | "none";
  readonly hbonePort: number;
  /** Wildcard addresses to bind, one of each family that is in use. */
  readonly wildcards: readonly IpAddress[];
  /** Ports that captured connections arrive on; null without capture. */
  readonly captured: {
    readonly outboundPort: number;
    readonly inboundPort: number;
    /** TPROXY's way: a connection's own address is where it was going. */
    readonly transparent: boolean;
  } | null;
  readonly socks5: readonly EntrySettings[];
  readonly httpConnect: readonly EntrySettings[];
  readonly localPorts: readonly (EntrySettings & { readonly target: HostPort })[];
  /** Addresses of workloads that we front ourselves: plain TCP that comes there is decided by policy like captured plain TCP. */
  readonly applications: readonly SocketAddress[];
}

export interface Flows {
  readonly outbound: OutboundFlow;
  readonly passthrough: PassthroughFlow;
  readonly hbone: ServerTunnels;
}

export class Listeners {
  readonly #context: NodeContext;
  readonly #settings: ListenerSettings;
  readonly #flows: Flows;
  readonly #fixed: Listener[] = [];
  readonly #inbound = new Map<string, Listener>();
  /** Addresses that could not be had, with what was said of it. */
  readonly #missing = new Map<string, string>();
  #retry: Timer | null = null;
  #closed = false;

  /** @throws MeshError `address_in_use`, `permission_denied` with the address: a port that was asked for and cannot be had is not left out silently. */
  constructor(context: NodeContext, settings: ListenerSettings, flows: Flows) {
    this.#context = context;
    this.#settings = settings;
    this.#flows = flows;
    try {
      this.#openFixed();
      this.#followWorkloads(true);
    } catch (error) {
      this.close();
      throw error;
    }
    context.locals.subscribe(() => this.#followWorkloads(false));
  }

  get addresses(): readonly SocketAddress[] {
    return [...this.#fixed, ...this.#inbound.values()].map((listener) => listener.address);
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    for (const listener of [...this.#fixed, ...this.#inbound.values()]) listener.close();
  }

  #openFixed(): void {
    const { bindInbound, wildcards, hbonePort, captured, socks5, httpConnect, localPorts, applications } =
      this.#settings;
    for (const ip of wildcards) {
      if (bindInbound === "wildcard")
        this.#listen({ ip, port: hbonePort }, (socket) => void this.#flows.hbone.accept(socket), {
          tls: true,
        });
      if (captured === null) continue;
      const { transparent } = captured;
      this.#listen({ ip, port: captured.outboundPort }, (socket) => void this.#captured(socket), {
        transparent,
      });
      this.#listen({ ip, port: captured.inboundPort }, (socket) => this.#capturedInbound(socket), {
        transparent,
      });
    }
    for (const entry of socks5)
      this.#listen(entry.listen, (socket) => void this.#entry(socket, entry, socks5Entry()));
    for (const entry of httpConnect)
      this.#listen(entry.listen, (socket) => void this.#entry(socket, entry, httpConnectEntry()));
    for (const entry of localPorts)
      this.#listen(entry.listen, (socket) => void this.#localPort(socket, entry, entry.target));
    for (const address of applications) {
      this.#listen(address, (socket) => void this.#flows.passthrough.carry(socket, address));
    }
  }

  #listen(
    address: SocketAddress,
    onAccept: (socket: Socket) => void,
    kind: { readonly tls?: boolean; readonly transparent?: boolean } = {},
  ): void {
    this.#fixed.push(this.#context.own.listen({ address, ...kind, onRefused: this.#onRefused }, onAccept));
  }

  /**
   * @param strict at start a workload's port that cannot be had is an error. Later it is said aloud, the rest goes on, and it is tried
   * again until it is there: the host had no descriptors, or its interface gets the address in a moment.
   */
  #followWorkloads(strict: boolean): void {
    const { bindInbound } = this.#settings;
    if (this.#closed || bindInbound === "wildcard" || bindInbound === "none") return;
    const wanted = new Map<string, IpAddress>();
    for (const workload of this.#context.locals.all) {
      for (const ip of workload.addresses)
        if (bindInbound === "addresses" || this.#context.locals.isBindable(ip)) wanted.set(ip.text, ip);
    }
    for (const [text, listener] of this.#inbound) {
      if (wanted.has(text)) continue;
      listener.close();
      this.#inbound.delete(text);
    }
    for (const text of this.#missing.keys()) if (!wanted.has(text)) this.#missing.delete(text);
    for (const [text, ip] of wanted) {
      if (this.#inbound.has(text)) continue;
      const address = { ip, port: this.#settings.hbonePort };
      try {
        const accept = (socket: Socket) => void this.#flows.hbone.accept(socket);
        this.#inbound.set(
          text,
          this.#context.own.listen({ address, tls: true, onRefused: this.#onRefused }, accept),
        );
        if (this.#missing.delete(text))
          this.#context.logger.log("info", "listener", `accepts HBONE on ${formatSocketAddress(address)}`);
      } catch (thrown) {
        const error = faultOf(thrown);
        if (strict) throw error;
        this.#tellMissing(text, address, error.message);
      }
    }
    this.#retry?.cancel();
    if (this.#missing.size > 0)
      this.#retry = this.#context.clock.setTimer(proxyLimits.listenRetryMs, () =>
        this.#followWorkloads(false),
      );
  }

  /** Once for each reason, not once a try. */
  #tellMissing(text: string, address: SocketAddress, reason: string): void {
    if (this.#missing.get(text) === reason) return;
    this.#missing.set(text, reason);
    const message = `cannot accept HBONE on ${formatSocketAddress(address)}; trying again`;
    this.#context.logger.log("error", "listener", message, { error: reason });
  }

  readonly #onRefused = (error: MeshError): void => {
    this.#context.logger.log("warn", "access", "connection refused", {
      error: `${error.code}: ${error.message}`,
    });
  };

  /** Where a captured connection was going: after REDIRECT the kernel remembers it. Null for one that came to our port by itself. */
  #destination(socket: Socket): SocketAddress | null {
    const { net, own } = this.#context;
    if (this.#settings.captured?.transparent === true)
      return own.isReachedAt(socket.local) ? null : socket.local;
    const destination = net.originalDestination(socket);
    return destination === null || isOurselves(socket, destination) ? null : destination;
  }

  async #captured(socket: Socket): Promise<void> {
    const destination = this.#destination(socket);
    if (destination === null) {
      const error = new MeshError("self_call", "local", "connected to the capture port directly");
      this.#context.telemetry.refused("outbound", socket.remote, socket.local, error);
      socket.reset();
      return;
    }
    await this.#carry(socket, destination, () => this.#source(socket.remote.ip, null), null);
  }

  #capturedInbound(socket: Socket): void {
    const destination = this.#destination(socket);
    if (destination === null) {
      const error = new MeshError("self_call", "peer", "connected to the capture port directly");
      this.#context.telemetry.refused("inbound", socket.remote, socket.local, error);
      socket.reset();
      return;
    }
    void this.#flows.passthrough.carry(socket, destination);
  }

  async #entry(socket: Socket, entry: EntrySettings, protocol: EntryProtocol): Promise<void> {
    try {
      const { destination, handshake } = await EntryHandshake.run(this.#context.clock, socket, protocol);
      await this.#carry(socket, destination, () => this.#source(entry.listen.ip, entry.workload), handshake);
    } catch (thrown) {
      this.#context.telemetry.refused("outbound", socket.remote, entry.listen, faultOf(thrown));
    }
  }

  async #localPort(socket: Socket, entry: EntrySettings, target: HostPort): Promise<void> {
    await this.#carry(socket, target, () => this.#source(entry.listen.ip, entry.workload), null);
  }

  async #carry(
    socket: Socket,
    destination: SocketAddress | HostPort,
    findSource: () => Workload | null,
    handshake: EntryHandshake | null,
  ): Promise<void> {
    const early = handshake ?? new EarlySocket(socket);
    if (handshake === null) socket.setHandler(early);
    let source: Workload;
    try {
      source = await this.#context.locals.wait(
        findSource,
        `calls from ${formatSocketAddress(socket.remote)}`,
      );
    } catch (thrown) {
      const error = faultOf(thrown);
      this.#context.telemetry.refused("outbound", socket.remote, formatAddress(destination), error);
      // Where nothing can be said, an orderly end would be an empty answer of whom it called.
      if (handshake === null) socket.reset();
      else {
        handshake.answer(error);
        socket.close();
      }
      return;
    }
    const answer = handshake?.answer ?? null;
    await this.#flows.outbound.carry({
      socket,
      source,
      destination,
      answer,
      early,
    });
  }

  #source(ip: IpAddress, name: string | null): Workload | null {
    const { locals } = this.#context;
    return name === null ? locals.caller(ip) : locals.byName(name);
  }
}

function isOurselves(socket: Socket, destination: SocketAddress): boolean {
  return destination.port === socket.local.port && destination.ip.equals(socket.local.ip);
}
