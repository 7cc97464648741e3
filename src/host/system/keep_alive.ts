/** TCP keep-alive of the hosts that are real. */
import { hostLimits } from "../../base/limits/host.ts";
import { systemRandom } from "./clock.ts";

/** For how long a connection is idle before it is probed, in whole seconds: another time for each. */
export function keepAliveIdleSeconds(): number {
  const { keepAliveMinIdleSeconds: least, keepAliveMaxIdleSeconds: most } = hostLimits;
  return least + Math.floor(systemRandom.float() * (most - least + 1));
}
