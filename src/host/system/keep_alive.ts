/** TCP keep-alive of the hosts that are real. */
import { hostLimits } from "../../base/limits/host.ts";
import { systemRandom } from "./clock.ts";

/** For how long a connection is idle before it is probed, and between probes, in whole seconds: another time for each. */
export function keepAliveSeconds(): number {
  const { keepAliveMinSeconds: least, keepAliveMaxSeconds: most } = hostLimits;
  return least + Math.floor(systemRandom.float() * (most - least + 1));
}
