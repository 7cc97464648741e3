/** Long work as generators: whoever runs them may do something else at each step. See `TimeSlice`. */

/** About a millisecond of conversion. */
const itemsPerStep = 100;

/** @param perStep fewer where one item may be much work by itself. */
export function* inSteps<T>(
  items: Iterable<T>,
  each: (item: T) => void,
  perStep: number = itemsPerStep,
): Generator<void> {
  let count = 0;
  for (const item of items) {
    if (++count % perStep === 0) yield;
    each(item);
  }
}

/** The same of numbers from 0, for what is cheap. */
export function* stepsOf(
  count: number,
  each: (index: number) => void,
  perStep = cheapPerStep,
): Generator<void> {
  for (let index = 0; index < count; index++) {
    if (index > 0 && index % perStep === 0) yield;
    each(index);
  }
}

/** Below a millisecond, at a microsecond each. */
const cheapPerStep = 500;

/** `Array.flatMap`. */
export function* flatMapInSteps<T, U>(
  items: Iterable<T>,
  each: (item: T) => readonly U[],
  perStep: number = itemsPerStep,
): Generator<void, U[]> {
  const made: U[] = [];
  yield* inSteps(
    items,
    (item) => {
      for (const one of each(item)) made.push(one);
    },
    perStep,
  );
  return made;
}

/** `Array.map`. */
export function* mapInSteps<T, U>(
  items: Iterable<T>,
  each: (item: T) => U,
  perStep: number = itemsPerStep,
): Generator<void, U[]> {
  const made: U[] = [];
  yield* inSteps(items, (item) => void made.push(each(item)), perStep);
  return made;
}

/** `Array.filter`. */
export function* filterInSteps<T>(items: Iterable<T>, holds: (item: T) => boolean): Generator<void, T[]> {
  const kept: T[] = [];
  yield* inSteps(items, (item) => {
    if (holds(item)) kept.push(item);
  });
  return kept;
}

/** The items by a key; of two with one key the last. */
export function* indexInSteps<T, K>(items: Iterable<T>, keyOf: (item: T) => K): Generator<void, Map<K, T>> {
  const index = new Map<K, T>();
  yield* inSteps(items, (item) => void index.set(keyOf(item), item));
  return index;
}

/** A stable sort by merging: a hundred thousand keys sorted at once hold everybody up for a tenth of a second. */
export function* sortInSteps<T>(items: readonly T[], compare: (a: T, b: T) => number): Generator<void, T[]> {
  let runs: T[][] = [];
  for (let from = 0; from < items.length; from += sortedAtOnce) {
    runs.push(items.slice(from, from + sortedAtOnce).sort(compare));
    yield;
  }
  while (runs.length > 1) {
    const merged: T[][] = [];
    for (let at = 0; at < runs.length; at += 2) {
      const [a = [], b = []] = runs.slice(at, at + 2);
      merged.push(yield* mergeInSteps(a, b, compare));
    }
    runs = merged;
  }
  return runs[0] ?? [];
}

const sortedAtOnce = 1_000;

/** Two sorted lists as one; of equals those of `a` come first. */
export function* mergeInSteps<T>(
  a: readonly T[],
  b: readonly T[],
  compare: (a: T, b: T) => number,
): Generator<void, T[]> {
  const merged: T[] = [];
  let from = 0;
  yield* inSteps(b, (one) => {
    for (let next = a[from]; next !== undefined && compare(next, one) <= 0; next = a[++from])
      merged.push(next);
    merged.push(one);
  });
  for (; from < a.length; from += sortedAtOnce) {
    yield;
    merged.push(...a.slice(from, from + sortedAtOnce));
  }
  return merged;
}

/** Order by UTF-16 code unit, the same on every machine. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
