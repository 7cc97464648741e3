/** Datagrams between simulated machines: each arrives after the latency of its way, or, where the machines are partitioned, never. */
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import type { UdpSocket } from "../host.ts";
import { listenError } from "../socket_errors.ts";
import { wildcardOf } from "./listener.ts";
import type { MachineNetwork } from "./machine_network.ts";
import type { NetworkedProcess } from "./networked_process.ts";

export type UdpReceiver = (bytes: Uint8Array, from: SocketAddress) => void;

/** By machine, and then by `ip:port`; a machine that is gone takes its sockets with it. */
const bound = new WeakMap<MachineNetwork, Map<string, MemoryUdpSocket>>();

export class MemoryUdpSocket implements UdpSocket {
  readonly address: SocketAddress;
  readonly #host: NetworkedProcess;
  readonly #machine: MachineNetwork;
  readonly #onDatagram: UdpReceiver;
  readonly #onClose: (closed: MemoryUdpSocket) => void;
  #isClosed = false;

  /** @throws MeshError `address_in_use`. */
  constructor(
    host: NetworkedProcess,
    machine: MachineNetwork,
    address: SocketAddress,
    onDatagram: UdpReceiver,
    onClose: (closed: MemoryUdpSocket) => void,
  ) {
    const target = formatSocketAddress(address);
    const isOurs = address.ip.text === wildcardOf(address.ip) || machine.machineOf(address.ip) === machine;
    if (!isOurs) throw listenError("EADDRNOTAVAIL", target);
    const port = address.port === 0 ? machine.nextPort() : address.port;
    this.address = { ip: address.ip, port };
    const sockets = bound.get(machine) ?? new Map<string, MemoryUdpSocket>();
    bound.set(machine, sockets);
    if (sockets.has(formatSocketAddress(this.address))) throw listenError("EADDRINUSE", target);
    sockets.set(formatSocketAddress(this.address), this);
    this.#host = host;
    this.#machine = machine;
    this.#onDatagram = onDatagram;
    this.#onClose = onClose;
  }

  send(bytes: Uint8Array, to: SocketAddress): void {
    if (this.#isClosed) return;
    const there = this.#machine.machineOf(to.ip);
    if (there === null || this.#machine.isPartitioned(there.machine)) return;
    const wildcard = wildcardOf(this.address.ip) === this.address.ip.text;
    const ip = wildcard
      ? there === this.#machine
        ? to.ip
        : (this.#machine.addresses[0] ?? to.ip)
      : this.address.ip;
    const from = { ip, port: this.address.port };
    const copy = bytes.slice();
    this.#host.schedule.io(this.#machine.latencyMs(there.machine), this.#host, () =>
      deliver(there, to, copy, from),
    );
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    bound.get(this.#machine)?.delete(formatSocketAddress(this.address));
    this.#onClose(this);
  }

  receive(bytes: Uint8Array, from: SocketAddress): void {
    this.#host.schedule.io(0, this.#host, () => {
      if (!this.#isClosed) this.#onDatagram(bytes, from);
    });
  }
}

function deliver(there: MachineNetwork, to: SocketAddress, bytes: Uint8Array, from: SocketAddress): void {
  const sockets = bound.get(there);
  const socket =
    sockets?.get(formatSocketAddress(to)) ??
    [...(sockets?.values() ?? [])].find(
      ({ address }) => address.port === to.port && wildcardOf(to.ip) === address.ip.text,
    );
  socket?.receive(bytes, from);
}
