/** Listening, connecting and naming on simulated machines, with the errors a kernel gives. */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type IpAddress, type SocketAddress } from "../../base/ip.ts";
import type {
  ConnectOptions,
  Datagrams,
  Listener,
  ListenOptions,
  Network,
  PeerCredentials,
  Socket,
  Timer,
  TlsOptions,
  TlsSocket,
  UdpSocket,
} from "../host.ts";
import { connectError, listenError } from "../socket_errors.ts";
import type { Link } from "./link.ts";
import { MemoryListener, wildcardOf } from "./listener.ts";
import type { MachineNetwork } from "./machine_network.ts";
import type { NetworkedProcess } from "./networked_process.ts";
import { assertUnread, MemorySocket } from "./socket.ts";
import { memoryTls } from "./tls.ts";
import { MemoryUdpSocket, type UdpReceiver } from "./udp.ts";
import { memoryConnectUnix, memoryListenUnix, memorySocketPair } from "./unix.ts";

export class MemoryNetwork implements Network {
  readonly #host: NetworkedProcess;
  readonly #machine: MachineNetwork;
  readonly #listeners = new Set<MemoryListener>();
  readonly #datagrams = new Set<MemoryUdpSocket>();

  constructor(host: NetworkedProcess, machine: MachineNetwork) {
    this.#host = host;
    this.#machine = machine;
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }

  listen(options: ListenOptions, onAccept: (socket: Socket) => void): Listener {
    const target = formatSocketAddress(options.address);
    const { ip } = options.address;
    const isOurs = ip.text === wildcardOf(ip) || this.#machine.machineOf(ip) === this.#machine;
    if (!isOurs && !(options.transparent === true && this.#machine.mayUseForeignAddresses))
      throw listenError("EADDRNOTAVAIL", target);
    const port = options.address.port === 0 ? this.#machine.nextPort() : options.address.port;
    const address = { ip, port };
    if (!this.#machine.listeners.isFree(address, options.reusePort === true))
      throw listenError("EADDRINUSE", target);
    if (!this.#host.takeDescriptor()) throw listenError("EMFILE", target);
    this.#host.giveDescriptor();
    const listener = new MemoryListener(this.#host, options, address, onAccept, (closed) => {
      this.#listeners.delete(closed);
      this.#machine.listeners.remove(closed);
      this.onDescriptorFree();
    });
    this.#listeners.add(listener);
    this.#machine.listeners.add(listener);
    return listener;
  }

  connect(options: ConnectOptions): Promise<Socket> {
    return new Promise((resolve, reject) => {
      new Connecting(this.#host, this.#machine, options, resolve, reject).start();
    });
  }

  listenUnix(path: string, mode: number, onAccept: (socket: Socket) => void): Listener {
    const listener = memoryListenUnix(this.#host, this.#machine, path, mode, onAccept, (closed) => {
      this.#listeners.delete(closed);
      this.onDescriptorFree();
    });
    this.#listeners.add(listener);
    return listener;
  }

  connectUnix(path: string, timeoutMs: number): Promise<Socket> {
    return memoryConnectUnix(this.#host, this.#machine, path, timeoutMs);
  }

  socketPair(): Promise<readonly [Socket, Socket]> {
    return memorySocketPair(this.#host, this.#machine);
  }

  openDatagrams(): Datagrams {
    throw new MeshError("unsupported", "local", "the simulator has no datagrams");
  }

  async bindUdp(address: SocketAddress, onDatagram: UdpReceiver): Promise<UdpSocket> {
    const bound = new MemoryUdpSocket(this.#host, this.#machine, address, onDatagram, (closed) =>
      this.#datagrams.delete(closed),
    );
    this.#datagrams.add(bound);
    return bound;
  }

  peerCredentials(socket: Socket): PeerCredentials | null {
    return socket instanceof MemorySocket ? socket.credentials : null;
  }

  tlsServer(socket: Socket, options: TlsOptions): Promise<TlsSocket> {
    assertUnread(socket);
    return memoryTls(this.#host, socket, options, "server");
  }

  tlsClient(socket: Socket, options: TlsOptions): Promise<TlsSocket> {
    assertUnread(socket);
    return memoryTls(this.#host, socket, options, "client");
  }

  speech(socket: Socket): (() => boolean) | null {
    return socket instanceof MemorySocket ? () => socket.hasReceived : null;
  }

  originalDestination(socket: Socket): SocketAddress | null {
    return socket instanceof MemorySocket ? socket.originalDestination : null;
  }

  localAddresses(): readonly IpAddress[] {
    return this.#machine.addresses;
  }

  async resolve(hostname: string): Promise<readonly IpAddress[]> {
    const addresses = this.#machine.resolve(hostname);
    if (addresses === null) throw new MeshError("name_not_found", "upstream", `${hostname}: no such name`);
    return addresses;
  }

  /** Connections that waited for a descriptor are taken, from an event of their own. */
  onDescriptorFree(): void {
    if (this.#host.descriptorLimit !== Number.POSITIVE_INFINITY) this.acceptWaiting();
  }

  acceptWaiting(): void {
    this.#host.schedule.io(0, this.#host, () => {
      for (const listener of [...this.#listeners]) listener.accept();
    });
  }

  closeAll(): void {
    for (const listener of [...this.#listeners]) listener.close();
    for (const bound of [...this.#datagrams]) bound.close();
  }
}

/** One connect: SYN there, SYN-ACK or RST back, or nothing until the time-out. */
class Connecting {
  readonly #host: NetworkedProcess;
  readonly #machine: MachineNetwork;
  readonly #options: ConnectOptions;
  readonly #resolve: (socket: Socket) => void;
  readonly #reject: (error: MeshError) => void;
  #settled = false;
  #timer: Timer | null = null;

  constructor(
    host: NetworkedProcess,
    machine: MachineNetwork,
    options: ConnectOptions,
    resolve: (socket: Socket) => void,
    reject: (error: MeshError) => void,
  ) {
    this.#host = host;
    this.#machine = machine;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  start(): void {
    const { to, mark, timeoutMs } = this.#options;
    if (!this.#host.takeDescriptor()) {
      this.#settled = true;
      this.#reject(connectError("EMFILE", formatSocketAddress(to)));
      return;
    }
    const refusal = this.#refuseSource();
    if (refusal !== null) {
      this.#fail(refusal);
      return;
    }
    this.#timer = this.#host.schedule.timer(timeoutMs, this.#host, () => this.#fail("ETIMEDOUT"));
    const redirected = this.#machine.redirect(to, mark ?? null);
    const target = this.#machine.machineOf(redirected?.ip ?? to.ip);
    if (target === null) {
      this.#host.schedule.io(unreachableAfterMs, this.#host, () => this.#fail("EHOSTUNREACH"));
      return;
    }
    this.#sendSyn(target, redirected);
  }

  #refuseSource(): string | null {
    const { from } = this.#options;
    if (from === undefined) return null;
    if (from.transparent) return this.#machine.mayUseForeignAddresses ? null : "EPERM";
    return this.#machine.machineOf(from.ip) === this.#machine ? null : "EADDRNOTAVAIL";
  }

  #sendSyn(target: MachineNetwork, redirected: SocketAddress | null): void {
    const { schedule } = this.#host;
    schedule.io(this.#machine.latencyMs(target.machine), null, () => {
      if (this.#settled || this.#host.ended) return;
      if (this.#machine.isPartitioned(target.machine)) {
        // Lost; SYNs are sent again (RFC 6298), and the time-out is the caller's.
        schedule.io(synRetryMs, null, () => this.#sendSyn(target, redirected));
        return;
      }
      this.#arrive(target, redirected);
    });
  }

  #arrive(target: MachineNetwork, redirected: SocketAddress | null): void {
    const { to } = this.#options;
    const inbound = target === this.#machine ? null : target.redirectInbound(to);
    const arrivesAt = redirected ?? inbound ?? to;
    const listener = target.listeners.find(arrivesAt, this.#host.random.float());
    const { schedule } = this.#host;
    const backMs = this.#machine.latencyMs(target.machine);
    if (listener === null) {
      schedule.io(backMs, this.#host, () => this.#fail("ECONNREFUSED"));
      return;
    }
    if (listener.backlogFull) {
      schedule.io(synRetryMs, null, () => this.#sendSyn(target, redirected));
      return;
    }
    const client = this.#source(arrivesAt);
    const link = this.#machine.newLink(this.#machine.machine, target.machine);
    const served = new MemorySocket(listener.host, link, "server", {
      local: arrivesAt,
      remote: client,
      originalDestination: arrivesAt === to ? null : to,
    });
    schedule.io(backMs, null, () => this.#establish(link, client, listener, served));
  }

  #establish(link: Link, client: SocketAddress, listener: MemoryListener, served: MemorySocket): void {
    if (this.#settled || this.#host.ended) {
      served.abandon();
      return;
    }
    this.#settle();
    const socket = new MemorySocket(this.#host, link, "client", {
      local: client,
      remote: this.#options.to,
      originalDestination: null,
    });
    this.#host.addSocket(socket);
    const { schedule } = this.#host;
    // Also where the listener's process has ended meanwhile: its kernel answers with a reset then.
    schedule.io(this.#machine.latencyMs(link.machines.server), null, () => listener.offer(served));
    this.#resolve(socket);
  }

  #source(arrivesAt: SocketAddress): SocketAddress {
    const { from } = this.#options;
    const port = from === undefined || from.port === 0 ? this.#machine.nextPort() : from.port;
    if (from !== undefined) return { ip: from.ip, port };
    if (this.#machine.machineOf(arrivesAt.ip) === this.#machine) return { ip: arrivesAt.ip, port };
    const ip = this.#machine.addresses.find((own) => own.isIpv4 === arrivesAt.ip.isIpv4);
    return { ip: ip ?? arrivesAt.ip, port };
  }

  #settle(): void {
    this.#settled = true;
    this.#timer?.cancel();
    this.#host.giveDescriptor();
  }

  #fail(name: string): void {
    if (this.#settled) return;
    this.#settle();
    this.#reject(connectError(name, formatSocketAddress(this.#options.to)));
  }
}

const synRetryMs = 1_000;
/** ARP gives up (Linux: three probes, a second apart). */
const unreachableAfterMs = 3_000;
