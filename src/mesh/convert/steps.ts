/** Long work as a generator: whoever runs it may do something else at each step. */

/** About a millisecond of conversion. */
const itemsPerStep = 100;

export function* inSteps<T>(items: Iterable<T>, each: (item: T) => void): Generator<void> {
  let count = 0;
  for (const item of items) {
    if (++count % itemsPerStep === 0) yield;
    each(item);
  }
}
