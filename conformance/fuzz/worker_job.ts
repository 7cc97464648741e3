/** What a worker is asked for, and what it answers. */

export interface WorkerJob {
  /** Of inputs that are drawn from `seed`. */
  readonly seconds: number;
  readonly seed: number;
  /** Inputs drawn from a seed that is always the same, before those: what they find is found again. */
  readonly fixedSeed: number;
  readonly fixedRuns: number;
  /** Write the corpus again, out of all that was found. */
  readonly keep: boolean;
  /** One input in base64, and nothing else. */
  readonly replay: string | null;
}

export interface WorkerResult {
  readonly runs: number;
  readonly branches: number;
  readonly reached: number;
  /** By the kept corpus alone. */
  readonly keptReached: number;
  readonly kept: number;
  readonly corpus: number;
  readonly longestTurnMs: number;
  readonly rssBytes: number;
  readonly crashes: readonly { readonly message: string; readonly input: string }[];
}
