/** For whoever listens, captured or not: no more of capture is loaded for it. */
import type { Files } from "../host.ts";

/**
 * Whether a socket of IPv6 can be made. Not where the kernel was started with `ipv6.disable=1`; with the sysctl `disable_ipv6` it
 * can. A system that does not tell is taken to have it.
 */
export async function opensIpv6Sockets(files: Pick<Files, "exists">): Promise<boolean> {
  return (await files.exists("/proc/net/tcp6")) || !(await files.exists("/proc/net/tcp"));
}
