/** The way to a server that we trust only when we have looked at it: its name's addresses in turn, TLS, our verdict. */
import { MeshError } from "../base/errors.ts";
import { type HostPort, IpAddress } from "../base/ip.ts";
import { grpcLimits } from "../base/limits/rpc.ts";
import type { Network, Socket, TlsOptions, TlsSocket } from "../host/host.ts";

/**
 * TCP to the first of the name's addresses that answers.
 *
 * @throws MeshError `name_not_found`, or how the last of them failed.
 */
export async function dial(
  net: Network,
  { host, port }: HostPort,
  timeoutMs: number,
  maxAddresses: number = grpcLimits.maxAddresses,
): Promise<Socket> {
  const literal = IpAddress.parse(host);
  const addresses = literal === null ? await net.resolve(host) : [literal];
  let failure = new MeshError("name_not_found", "upstream", `${host} has no address`);
  for (const ip of addresses.slice(0, maxAddresses)) {
    try {
      return await net.connect({ to: { ip, port }, timeoutMs });
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      failure = error;
    }
  }
  throw failure;
}

/**
 * TLS as the client, and `verify` before a byte is sent. The socket is gone when it throws.
 *
 * @param serverName not sent when it is an address (RFC 6066 §3: an address is no name); null sends none.
 * @throws MeshError `tls_*`, and what `verify` throws.
 */
export async function secure<Peer>(
  net: Network,
  socket: Socket,
  options: Omit<TlsOptions, "serverName">,
  serverName: string | null,
  verify: (chain: readonly Uint8Array[]) => Promise<Peer>,
): Promise<{ readonly tls: TlsSocket; readonly peer: Peer }> {
  let held = socket;
  try {
    const isName = serverName !== null && IpAddress.parse(serverName) === null;
    const tls = await net.tlsClient(socket, isName ? { ...options, serverName } : options);
    held = tls;
    return { tls, peer: await verify(tls.peerChain) };
  } catch (error) {
    held.reset();
    throw error;
  }
}
