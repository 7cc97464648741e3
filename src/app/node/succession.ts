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
  /** Begins what the old one has counted (base/counts/passed.ts); it says this to none that does not know it. */
  counts: "counts ",
  /** The new one has it. */
  counted: "counted",
} as const;

export interface SuccessionParts {
  readonly clock: Clock;
  /** Of this process. */
  readonly pid: number;
  readonly logger: Logger;
  readonly tenure: Tenure;
  /** What readiness waits for, by name. */
  readonly pending: () => readonly string[];
  /** What the process before this one has counted, as text. */
  readonly takeCounts: (text: string) => void;
}

export interface Succession {
  /** Resolves when the process before this one has ended, and has told all that it counted. */
  readonly predecessorGone: Promise<void>;
}

/**
 * Resolves when this process is the node of this host, for good: told so by the one before it, or because that one is gone.
 *
 * @returns null when the one before it ended, or thought otherwise, before this one accepted anything: then there is nothing to go on with.
 */
export async function succeed(received: Received, parts: SuccessionParts): Promise<Succession | null> {
  const { clock, logger, pid, tenure, pending, takeCounts } = parts;
  const { link } = received;
  const next = async (): Promise<string | null> => {
    for (;;) {
      const said = await link.next();
      if (said?.startsWith(words.counts) !== true) return said;
      takeCounts(said.slice(words.counts.length));
      link.send(words.counted);
    }
  };
  let isTold = false;
  const told = next().finally(() => {
    isTold = true;
  });
  while (pending().length > 0 && !isTold)
    await new Promise<void>((resolve) => clock.setTimer(upgradeLimits.readyLookMs, resolve));
  link.send(words.ready);
  if ((await told) !== words.take) {
    logger.log("warn", "upgrade", "the process before this one does not give way, so this one ends");
    return null;
  }
  await received.accept();
  logger.log("info", "upgrade", "accepts in the place of the process before it", { pid });
  link.send(words.serving);
  const last = await next();
  tenure.holds = true;
  // What the other one carries to its end, it goes on to count.
  logger.log("info", "upgrade", "this process is the node of this host now", {
    by: last === words.yours ? "the process before it" : "the end of the process before it",
  });
  const predecessorGone = last === words.yours ? next() : Promise.resolve(null);
  return { predecessorGone: predecessorGone.then(() => link.close()) };
}
