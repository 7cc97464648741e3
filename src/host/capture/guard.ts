/**
 * The process that takes capture back when no confirmation comes in time. It is not the node's: a node that captures the wrong thing may be
 * killed, hang, or be out of its operator's reach, and the rules must go all the same.
 */
import { MeshError } from "../../base/errors.ts";
import type { Detached, Host } from "../host.ts";

const ready = "ready\n";
const release = "release\n";

/**
 * Starts it, and waits until it is there: without it nothing may be installed.
 *
 * @param words the command of this program that calls `runGuard`. @throws MeshError `io`, blame local.
 */
export async function startGuard(
  { process }: Pick<Host, "process">,
  words: readonly string[],
): Promise<{ release(): void }> {
  const [program = "", ...first] = process.self;
  const guard: Detached = process.detach(program, [...first, ...words]);
  if (!(await guard.spoke))
    throw new MeshError(
      "io",
      "local",
      "the process that takes capture back without a confirmation did not start",
    );
  return { release: () => guard.tell(release) };
}

/**
 * Waits until it is released, the time is over, or a signal comes, and puts everything back but in the first case. The end of the node
 * is none of these: its rules stay in force until the time is over, as they would with the node.
 *
 * @returns whether it has put anything back.
 */
export async function runGuard(
  { clock, process }: Pick<Host, "clock" | "process">,
  afterMs: number,
  putBack: () => Promise<void>,
): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = clock.setTimer(afterMs, () => resolve(false));
  const unsubscribe = process.onSignal((signal) => {
    // The terminal that the node was started from may be closed meanwhile.
    if (signal !== "SIGHUP") resolve(false);
  });
  void isReleased(process).then((released) => {
    if (released) resolve(true);
  });
  process.writeOut(ready);
  const released = await promise;
  timer.cancel();
  unsubscribe();
  if (!released) await putBack();
  return !released;
}

/** @returns false when the input ends without the word. */
async function isReleased({ input }: Pick<Host["process"], "input">): Promise<boolean> {
  const decoder = new TextDecoder();
  let heard = "";
  for await (const bytes of input()) {
    // Only the word counts, and it is short: nothing grows.
    heard = (heard + decoder.decode(bytes, { stream: true })).slice(-release.length);
    if (heard === release) return true;
  }
  return false;
}
