/** UDP over Bun's own sockets. */
import { formatSocketAddress, IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { UdpSocket } from "../host.ts";
import { listenError, systemErrorName } from "../socket_errors.ts";
import type { Accepting, ListenerTable } from "./handover/listener_table.ts";

type Native = Awaited<ReturnType<typeof openUdp>>;

/** @throws MeshError as `Network.bindUdp` says. */
export async function bindUdp(
  table: ListenerTable,
  address: SocketAddress,
  onDatagram: (bytes: Uint8Array, from: SocketAddress) => void,
): Promise<UdpSocket> {
  const { ip } = address;
  // The last one that was open: what is asked when another process takes over is answered by the old socket, as long as it is there.
  let socket: Native | null = null;
  const start = async (fd: number | null): Promise<Accepting> => {
    const opened = await open(table, address, onDatagram, fd);
    socket = opened;
    return {
      fd: descriptorOf(opened),
      port: fd === null ? opened.port : address.port,
      stop: () => {
        if (!opened.closed) opened.close();
      },
    };
  };
  const nameAt = (port: number): string => `udp ${formatSocketAddress({ ip, port })}`;
  const entry = await table.listenLater(nameAt(address.port), start, nameAt);
  return {
    address: { ip, port: entry.port ?? address.port },
    send: (bytes, to) => {
      if (socket === null || socket.closed) return;
      try {
        socket.send(bytes, to.port, to.ip.text);
      } catch {
        // No route, or no receiver by what an earlier datagram was answered: lost, as on its way.
      }
    },
    close: () => entry.close(),
  };
}

/** @param fd a bound socket: Bun opens its own at another port, which then becomes that one. */
async function open(
  table: ListenerTable,
  address: SocketAddress,
  onDatagram: (bytes: Uint8Array, from: SocketAddress) => void,
  fd: number | null,
): Promise<Native> {
  const { ip, port } = address;
  try {
    const socket = await openUdp({ ip, port: fd === null ? port : 0 }, onDatagram);
    if (fd !== null) table.descriptors.exchange(descriptorOf(socket), fd);
    return socket;
  } catch (thrown) {
    throw listenError(systemErrorName(thrown) ?? "EIO", `${ip.text}:${port}`);
  }
}

function descriptorOf(socket: object): number {
  return "fd" in socket && typeof socket.fd === "number" ? socket.fd : -1;
}

function openUdp(
  { ip, port }: SocketAddress,
  onDatagram: (bytes: Uint8Array, from: SocketAddress) => void,
): Promise<Bun.udp.Socket<"uint8array">> {
  return Bun.udpSocket({
    hostname: ip.text,
    port,
    binaryType: "uint8array",
    socket: {
      data(_, data, remotePort, remoteAddress) {
        const from = IpAddress.parse(remoteAddress.split("%")[0] ?? "");
        // A copy: Bun reads the next datagram into the same memory.
        if (from !== null) onDatagram(data.slice(), { ip: from, port: remotePort });
      },
      error() {
        // An ICMP error for an earlier datagram: who waits for its answer has a time-out.
      },
    },
  });
}
