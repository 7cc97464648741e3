/** Rows that have had their time go, a part in each turn, as long as the control plane runs. */
import { asMeshError } from "../../base/errors.ts";
import { controlLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Timer } from "../../host/host.ts";

/** `ControlState` is one, and `Archive`. */
export interface Pruned {
  /** @returns whether there is more to remove. */
  prune(): boolean | Promise<boolean>;
}

/** @returns a function that ends it. */
export function sweep(clock: Clock, state: Pruned, logger: Logger): () => void {
  let timer: Timer;
  let ended = false;
  const after = (delayMs: number): void => {
    if (!ended) timer = clock.setTimer(delayMs, () => void swept());
  };
  const swept = async (): Promise<void> => {
    let hasMore = false;
    try {
      hasMore = await state.prune();
    } catch (thrown) {
      // A full disk, say: whoever writes something that matters is told; sweeping waits.
      const { message } = asMeshError(thrown, "io", "local");
      logger.log("warn", "control", "old rows of the state could not be removed", { error: message });
    }
    // As fast as rows come they have to go, or the state grows for ever.
    after(hasMore ? controlLimits.pruneAgainMs : controlLimits.pruneIntervalMs);
  };
  after(controlLimits.pruneIntervalMs);
  return () => {
    ended = true;
    timer.cancel();
  };
}
