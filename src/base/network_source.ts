/** Whom an address counts as, where bounds and rates are kept for each neighbour. */
import type { IpAddress } from "./ip.ts";
import { formatNetwork } from "./prefix.ts";

/** One customer has a whole /64 of IPv6 at the least (RFC 6177 §2), and could be a new neighbour for ever: its addresses are one. */
export function networkSource(ip: IpAddress): string {
  return ip.isIpv4 ? ip.text : formatNetwork({ ip, length: 64 });
}

/** The networks around one address that are likely the same customer's: what moves from address to address stays in one. */
export function networkNeighbourhood(ip: IpAddress): string {
  return formatNetwork({ ip, length: ip.isIpv4 ? 24 : 48 });
}
