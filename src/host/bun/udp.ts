/** UDP over Bun's own sockets. */
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { UdpSocket } from "../host.ts";
import { listenError, systemErrorName } from "../socket_errors.ts";

/** @throws MeshError as `Network.bindUdp` says. */
export async function bindUdp(
  address: SocketAddress,
  onDatagram: (bytes: Uint8Array, from: SocketAddress) => void,
): Promise<UdpSocket> {
  const { ip } = address;
  let socket: Awaited<ReturnType<typeof openUdp>>;
  try {
    socket = await openUdp(address, onDatagram);
  } catch (thrown) {
    throw listenError(systemErrorName(thrown) ?? "EIO", `${ip.text}:${address.port}`);
  }
  return {
    address: { ip, port: socket.port },
    send: (bytes, to) => {
      if (socket.closed) return;
      try {
        socket.send(bytes, to.port, to.ip.text);
      } catch {
        // No route, or no receiver by what an earlier datagram was answered: lost, as on its way.
      }
    },
    close: () => {
      if (!socket.closed) socket.close();
    },
  };
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
