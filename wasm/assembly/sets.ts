// Sets of rules, a bit each, in two levels: a summary with a bit per non-empty word, then the words.
// A dense set stores every word. Flips store the non-empty ones only, with a rank per summary to find them.

// @ts-ignore: decorator
@inline
export function summaryAt(set: u32, index: u32): u64 {
  return set == 0 ? 0 : load<u64>(set + (index << 3));
}

// @ts-ignore: decorator
@inline
export function denseWord(set: u32, summaryCount: u32, word: u32): u64 {
  return load<u64>(set + ((summaryCount + word) << 3));
}

/** The word of a set of flips. `set` 0 is the empty set. */
// @ts-ignore: decorator
@inline
export function flipsWord(set: u32, summaryCount: u32, word: u32): u64 {
  if (set == 0) return 0;
  const summary = load<u64>(set + ((word >> 6) << 3));
  const bit = (<u64>1) << (word & 63);
  if ((summary & bit) == 0) return 0;
  const ranks = set + (summaryCount << 3);
  const rank = load<u32>(ranks + ((word >> 6) << 2)) + <u32>popcnt<u64>(summary & (bit - 1));
  const words = ranks + (((summaryCount + 1) & ~1) << 2);
  return load<u64>(words + (rank << 3));
}
