/** Waits for what the world will come to: for a condition, and never for a time that a busy machine could need longer for. */

const lookAgainMs = 15;
/** A look may start a program: one that costs much is taken seldom, or it would hold up what it waits for. */
const restPerLook = 4;
const longestRestMs = 500;

/** A hang alone reaches it. How long something takes is measured in bench/, on a quiet machine; here it would judge the machine. */
export const hangMs = 60_000;
/** The same for hundreds of megabytes, or thousands of connections. */
export const bulkHangMs = 5 * hangMs;

type Found<T> = T | null | undefined | false;

/** @returns what `find` found. @throws with `what`, and what `explain` adds, when it found nothing before `limitMs`. */
export async function eventually<T>(
  what: string,
  find: () => Found<T> | Promise<Found<T>>,
  explain: () => string = () => "",
  limitMs: number = hangMs,
): Promise<T> {
  const found = await look(find, limitMs);
  if (found === null) throw new Error(`not in ${limitMs} ms: ${what}\n${explain()}`);
  return found;
}

/** For whoever counts what does not hold. @returns false when it does not before a hang is one. */
export async function comesTrue(holds: () => boolean | Promise<boolean>, limitMs = hangMs): Promise<boolean> {
  return (await look(holds, limitMs)) !== null;
}

async function look<T>(find: () => Found<T> | Promise<Found<T>>, limitMs: number): Promise<T | null> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    // Once more when the time is over: this process itself may have had no turn in which it was not.
    const began = performance.now();
    const isLast = began > deadline;
    const found = await find();
    if (found !== null && found !== undefined && found !== false) return found;
    if (isLast) return null;
    const rest = restPerLook * (performance.now() - began);
    await Bun.sleep(Math.max(lookAgainMs, Math.min(longestRestMs, rest)));
  }
}
