/** What the network of a simulated machine is made of. */
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import type { HttpServices } from "./http_services.ts";
import type { Link } from "./link.ts";
import type { ListenerTable, UnixSocketTable } from "./listener.ts";

/** What the world does for one machine's network. */
export interface MachineNetwork {
  readonly machine: string;
  readonly addresses: readonly IpAddress[];
  /** May bind addresses that are not its own (CAP_NET_ADMIN). */
  readonly mayUseForeignAddresses: boolean;
  /** Redirects what applications connect to, as nftables does; null without capture. */
  redirect(to: SocketAddress, mark: number | null): SocketAddress | null;
  listeners: ListenerTable;
  readonly unixSockets: UnixSocketTable;
  readonly httpServices: HttpServices;
  /** A file or directory, sockets aside. */
  hasFile(path: string): boolean;
  nextPort(): number;
  /** Finds who has `ip` as seen from here: this machine for its own and loopback addresses. */
  machineOf(ip: IpAddress): MachineNetwork | null;
  /** Where what comes from outside to `to` really arrives. */
  redirectInbound(to: SocketAddress): SocketAddress | null;
  isPartitioned(other: string): boolean;
  latencyMs(other: string): number;
  resolve(hostname: string): readonly IpAddress[] | null;
  newLink(client: string, server: string): Link;
}
