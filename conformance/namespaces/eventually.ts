/** Waits for what the world will come to. */

const lookAgainMs = 15;

/** @returns what `find` found. @throws with `what`, and what `explain` adds, when it found nothing in time. */
export async function eventually<T>(
  what: string,
  limitMs: number,
  find: () => T | null | undefined | false | Promise<T | null | undefined | false>,
  explain: () => string = () => "",
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const found = await find();
    if (found !== null && found !== undefined && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`not in ${limitMs} ms: ${what}\n${explain()}`);
    await Bun.sleep(lookAgainMs);
  }
}
