/** UDP by `node:dgram`. */
import { createSocket, type Socket as Datagrams } from "node:dgram";
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { UdpSocket } from "../host.ts";
import { listenError, systemErrorName } from "../socket_errors.ts";

/** @throws MeshError as `Network.bindUdp` says. */
export async function bindUdp(
  { ip, port }: SocketAddress,
  onDatagram: (bytes: Uint8Array, from: SocketAddress) => void,
): Promise<UdpSocket> {
  const socket = createSocket({ type: ip.isIpv4 ? "udp4" : "udp6", ipv6Only: !ip.isIpv4 });
  const { promise: bound, resolve, reject } = Promise.withResolvers<void>();
  socket.once("error", reject);
  socket.bind({ address: ip.text, port, exclusive: true }, resolve);
  try {
    await bound;
  } catch (thrown) {
    throw listenError(systemErrorName(thrown) ?? "EIO", `${ip.text}:${port}`);
  }
  // An ICMP error for an earlier datagram: who waits for its answer has a time-out.
  socket.off("error", reject).on("error", () => {});
  socket.on("message", (bytes, { address, port: from }) => {
    const source = IpAddress.parse(address.split("%")[0] ?? "");
    if (source !== null) onDatagram(new Uint8Array(bytes), { ip: source, port: from });
  });
  return new NodeUdp(socket, { ip, port: socket.address().port });
}

/** One leaves after the other: given two at once, Deno may send the second first. */
class NodeUdp implements UdpSocket {
  readonly address: SocketAddress;
  readonly #socket: Datagrams;
  readonly #waiting: { readonly bytes: Uint8Array; readonly to: SocketAddress }[] = [];
  #isSending = false;
  #isClosed = false;

  constructor(socket: Datagrams, address: SocketAddress) {
    this.#socket = socket;
    this.address = address;
  }

  send(bytes: Uint8Array, to: SocketAddress): void {
    if (this.#isClosed || this.#waiting.length >= hostLimits.datagramsWaiting) return;
    // A copy: it leaves later.
    this.#waiting.push({ bytes: bytes.slice(), to });
    if (!this.#isSending) this.#sendNext();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#socket.close();
  }

  #sendNext(): void {
    const next = this.#waiting.shift();
    this.#isSending = next !== undefined && !this.#isClosed;
    if (next === undefined || this.#isClosed) return;
    // What cannot be sent (no route, no receiver of an earlier one) is lost, as on its way.
    this.#socket.send(next.bytes, next.to.port, next.to.ip.text, () => this.#sendNext());
  }
}
