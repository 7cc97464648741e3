/** The HTTP/2 windows of a node's tunnels, after every event: a byte that is lost from one stalls every upload over that tunnel for ever. */
import type { RunningNode } from "../../src/app/node/node.ts";

/** Found in the middle of a run, which ends with it. */
export class WindowFault extends Error {}

/** @returns what does not add up, or null. */
export function windowFault({ tunnel, context }: RunningNode): string | null {
  for (const one of tunnel.tunnels) {
    const account = one.windowAccount;
    if (account === null) continue;
    const { grantedBytes, availableBytes, pendingBytes, heldBytes } = account;
    const known = availableBytes + pendingBytes + heldBytes;
    if (known !== grantedBytes) return `${grantedBytes} bytes were granted, ${known} are accounted for`;
    if (heldBytes > 0 && one.openStreams === 0 && context.connections.size === 0)
      return `${heldBytes} bytes are held, and there is no connection that could consume them`;
  }
  return null;
}
