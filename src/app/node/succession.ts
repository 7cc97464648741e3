/** A node that was started to take the place of another: ready first, then it accepts, and then this host is its own. */
import { upgradeLimits } from "../../base/limits/host.ts";
import type { Logger } from "../../base/log.ts";
import type { Received } from "../../host/handover.ts";
import type { Clock } from "../../host/host.ts";
import type { Tenure } from "./node.ts";

/** What the two say to each other. A word stays what it is in every version: the two are of different ones. */
export const words = {
  /** The new one could accept now. */
  ready: "ready",
  /** The old one accepts no more; the new one is to. */
  take: "take",
  /** The new one accepts. */
  serving: "serving",
  /** The old one will not take it back. */
  yours: "yours",
} as const;

export interface SuccessionParts {
  readonly clock: Clock;
  /** Of this process. */
  readonly pid: number;
  readonly logger: Logger;
  readonly tenure: Tenure;
  /** What readiness waits for, by name. */
  readonly pending: () => readonly string[];
}

/**
 * Resolves when this process is the node of this host, for good: told so by the one before it, or because that one is gone.
 *
 * @returns false when the one before it ended, or thought otherwise, before this one accepted anything: then there is nothing to go on with.
 */
export async function succeed(received: Received, parts: SuccessionParts): Promise<boolean> {
  const { clock, logger, pid, tenure, pending } = parts;
  const { link } = received;
  let isTold = false;
  const told = link.next().finally(() => {
    isTold = true;
  });
  while (pending().length > 0 && !isTold)
    await new Promise<void>((resolve) => clock.setTimer(upgradeLimits.readyLookMs, resolve));
  link.send(words.ready);
  if ((await told) !== words.take) {
    logger.log("warn", "upgrade", "the process before this one does not give way, so this one ends");
    return false;
  }
  await received.accept();
  logger.log("info", "upgrade", "accepts in the place of the process before it", { pid });
  link.send(words.serving);
  const last = await link.next();
  tenure.holds = true;
  link.close();
  logger.log("info", "upgrade", "this process is the node of this host now", {
    by: last === words.yours ? "the process before it" : "the end of the process before it",
  });
  return true;
}
