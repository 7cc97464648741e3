/** A started program in the foreground. */
import type { CliBindings } from "./bindings.ts";

export interface Started {
  readonly ended: Promise<void>;
  drain(): void;
  stop(): void;
}

/** The first signal drains, the second does not wait. */
export async function untilEnded(
  bindings: Pick<CliBindings, "onStopSignal">,
  started: Started,
): Promise<void> {
  let draining = false;
  const unsubscribe = bindings.onStopSignal(() => {
    if (draining) started.stop();
    else started.drain();
    draining = true;
  });
  await started.ended;
  unsubscribe();
}
