/** What a node shows is renewed long before it expires, whether or not anybody calls. */
import type { Observed } from "../observed.ts";

export function checkIdentities({ unrenewed, revokedNodes }: Observed): string[] {
  const first = new Map<string, string>();
  for (const { atMs, machine, identity, leftMs } of unrenewed) {
    const thrownOutMs = revokedNodes.get(machine);
    // The CA gives nothing to a host that was thrown out.
    if (thrownOutMs !== undefined && thrownOutMs <= atMs) continue;
    const key = `m${machine} ${identity}`;
    if (!first.has(key))
      first.set(
        key,
        `identity: m${machine} shows an SVID of ${identity} at ${atMs.toFixed(1)} ms that ends in ${(leftMs / 1000).toFixed(1)} s, and has not renewed it`,
      );
  }
  return [...first.values()];
}
