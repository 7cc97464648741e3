/** Rounds of all subjects in turn, A B C B C A: whatever the machine does meanwhile, it does to all, and no one is always first. */
import type { Benchmark } from "./keep.ts";
import { busyReason, type MachineState, machineState } from "./machine.ts";
import { writeResults } from "./results.ts";
import { type Run, type Summaries, summarize } from "./tunnel/report.ts";

export interface RoundsOptions {
  /** Of the results' file. */
  readonly name: Benchmark;
  readonly rounds: number;
  /** A smoke test: neither is the machine looked at, nor is anything written. */
  readonly quick: boolean;
  /** On a busy machine, too. */
  readonly anyway: boolean;
  /** Its results are those that the pages' tables are made of. */
  readonly keep: boolean;
  readonly settings: Readonly<Record<string, unknown>>;
}

export class Rounds {
  readonly #options: RoundsOptions;
  readonly #runs: Run[] = [];
  readonly #states: MachineState[] = [];
  #busy: string | null = null;

  constructor(options: RoundsOptions) {
    this.#options = options;
  }

  /** Whether the machine is quiet, or whoever measures does not mind. */
  async mayBegin(): Promise<boolean> {
    if (this.#options.quick) return true;
    const reason = await this.#look();
    if (reason === null || this.#options.anyway) return true;
    console.error(`refused: ${reason}. Figures of a busy machine mislead; --anyway measures all the same.`);
    return false;
  }

  async run<Subject extends { readonly name: string }>(
    subjects: readonly Subject[],
    measure: (subject: Subject, round: number) => Promise<Run["measures"]>,
  ): Promise<void> {
    for (let round = 1; round <= this.#options.rounds; round++) {
      // What began meanwhile spoils what follows, and is told with it.
      if (round > 1) await this.#look();
      for (const subject of inTurn(subjects, round)) {
        console.error(`round ${round} of ${this.#options.rounds}: ${subject.name}`);
        this.#runs.push({ subject: subject.name, round, measures: await measure(subject, round) });
      }
    }
  }

  /** As `run`, for subjects that are measured at the same time: one that is idle leaves the others the machine. */
  async runTogether<Subject extends { readonly name: string }>(
    subjects: readonly Subject[],
    measure: (subjects: readonly Subject[], round: number) => Promise<readonly Run["measures"][]>,
  ): Promise<void> {
    for (let round = 1; round <= this.#options.rounds; round++) {
      if (round > 1) await this.#look();
      const together = inTurn(subjects, round);
      const names = together.map(({ name }) => name);
      console.error(`round ${round} of ${this.#options.rounds}: ${names.join(" beside ")}`);
      for (const [index, measures] of (await measure(together, round)).entries())
        this.#runs.push({ subject: names[index] ?? "", round, measures });
    }
  }

  /** Prints the table and writes the results. @returns the exit code. */
  conclude(print: (summaries: Summaries) => string): number {
    if (this.#runs.length === 0) return 1;
    console.log(`\n${print(summarize(this.#runs))}\n`);
    if (this.#options.quick) {
      console.log("a smoke test: nothing in this table is a measurement");
      return 0;
    }
    const { name, rounds, settings, keep } = this.#options;
    const busy = this.#busy;
    if (busy !== null) console.log(`not to be published: ${busy}`);
    const states = this.#states;
    console.log(`results: ${writeResults({ name, runs: this.#runs, rounds, settings, states, busy, keep })}`);
    return 0;
  }

  async #look(): Promise<string | null> {
    const state = await machineState();
    this.#states.push(state);
    const reason = busyReason(state);
    this.#busy ??= reason;
    return reason;
  }
}

/**
 * The order of a round: each is first in its turn, since what comes after another finds the caches and clocks that the other left.
 */
export function inTurn<Subject>(subjects: readonly Subject[], round: number): readonly Subject[] {
  const first = (round - 1) % Math.max(1, subjects.length);
  return [...subjects.slice(first), ...subjects.slice(0, first)];
}
