/**
 * Sets of a section's rules, as the image holds them: u64 words with a bit per rule, under a summary with a bit per word.
 * A dense set stores every word. Flips, the difference between a value's set and its dimension's base, store the few
 * words that are not zero (wasm/assembly/sets.ts reads both).
 */
import type { WordWriter } from "./word_writer.ts";

/** How many u64 words and summaries a set over `ruleCount` rules takes. */
export function setShape(ruleCount: number): { readonly wordCount: number; readonly summaryCount: number } {
  const wordCount = Math.ceil(ruleCount / 64);
  return { wordCount, summaryCount: Math.ceil(wordCount / 64) };
}

export class DenseRuleSet {
  readonly ruleCount: number;
  /** Two u32 per u64, the lower first. Bits beyond the last rule are zero. */
  readonly words: Uint32Array;

  constructor(ruleCount: number, has: (rule: number) => boolean) {
    this.ruleCount = ruleCount;
    this.words = new Uint32Array(setShape(ruleCount).wordCount * 2);
    for (let rule = 0; rule < ruleCount; rule++) if (has(rule)) this.add(rule);
  }

  add(rule: number): void {
    this.words[rule >> 5] = (this.words[rule >> 5] ?? 0) | (1 << (rule & 31));
  }

  has(rule: number): boolean {
    return (((this.words[rule >> 5] ?? 0) >>> (rule & 31)) & 1) === 1;
  }

  get isFull(): boolean {
    const whole = this.ruleCount >> 5;
    for (let word = 0; word < whole; word++) if (this.words[word] !== 0xffff_ffff) return false;
    const rest = this.ruleCount & 31;
    // Unsigned: of 31 rules the mask would be below zero.
    return rest === 0 || this.words[whole] === ((1 << rest) - 1) >>> 0;
  }

  /** @returns the offset of the summaries, which the words follow. */
  write(writer: WordWriter): number {
    const offset = writer.align();
    writer.pushAll(summarize(this.words, setShape(this.ruleCount).summaryCount));
    writer.pushAll(this.words);
    return offset;
  }
}

/** A bit per u64 of `words` that is not zero; two u32 per summary. */
export function summarize(words: Uint32Array, summaryCount: number): Uint32Array {
  const summaries = new Uint32Array(summaryCount * 2);
  for (const [index, word] of words.entries()) {
    if (word !== 0) summaries[index >> 6] = (summaries[index >> 6] ?? 0) | (1 << ((index >> 1) & 31));
  }
  return summaries;
}

/** Writes sorted distinct `rules` as flips. @returns the offset. */
export function writeFlips(writer: WordWriter, rules: readonly number[], ruleCount: number): number {
  const { summaryCount } = setShape(ruleCount);
  const words: number[] = [];
  const summaries = new Uint32Array(summaryCount * 2);
  const ranks = new Uint32Array(summaryCount + (summaryCount % 2));
  let current = -1;
  for (const rule of rules) {
    const word = rule >> 6;
    if (word !== current) {
      for (let summary = current === -1 ? 0 : (current >> 6) + 1; summary <= word >> 6; summary++) {
        ranks[summary] = words.length / 2;
      }
      summaries[word >> 5] = (summaries[word >> 5] ?? 0) | (1 << (word & 31));
      words.push(0, 0);
      current = word;
    }
    const half = words.length - (rule & 32 ? 1 : 2);
    words[half] = (words[half] ?? 0) | (1 << (rule & 31));
  }
  const offset = writer.align();
  writer.pushAll(summaries);
  writer.pushAll(ranks);
  writer.pushAll(words);
  return offset;
}
