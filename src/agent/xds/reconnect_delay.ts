/** How long to wait before the next stream. Pure: the clock and the dice are arguments. */
import { joinLimits } from "../../base/limits/agent.ts";

/**
 * ztunnel's back-off (`xds/client.rs`: 10 ms, doubling to 15 s), spread, because a control plane that returns is otherwise met
 * by all its nodes in the same instant.
 *
 * @param failures streams in a row that came to nothing, at least 1.
 * @param random uniform in [0, 1).
 */
export function reconnectDelayMs(failures: number, random: number): number {
  const { backoffStartMs, backoffMaxMs, backoffJitter } = joinLimits;
  const exponential = backoffStartMs * 2 ** Math.min(failures - 1, 30);
  return Math.min(exponential, backoffMaxMs) * (1 + (random * 2 - 1) * backoffJitter);
}
