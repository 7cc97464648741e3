/** Every queue within its limit: what one connection has under way is never more than the kernels, the window and our buffers hold. */
import { h2Limits } from "../../../src/base/limits/h2.ts";
import { hostLimits } from "../../../src/base/limits/host.ts";
import type { Observed } from "../observed.ts";
import { describeConnection } from "./causes.ts";

export function checkBounds(observed: Observed): string[] {
  const { bufferBytes, streamWindowBytes } = observed.plan;
  // Caller to node, node to node, node to workload; the sender's queue and the receiver's window; one read and one batch of writes.
  const limit =
    3 * bufferBytes + h2Limits.highWaterBytes + streamWindowBytes + bufferBytes + hostLimits.writeBatchBytes;
  return [...observed.connections.values()]
    .filter((log) => log.mostUnderWay > limit)
    .map(
      (log) =>
        `bounds: ${describeConnection(log)}: ${log.mostUnderWay} bytes were under way, the limit is ${limit}`,
    );
}
