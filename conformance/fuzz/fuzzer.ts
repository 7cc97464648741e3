/** Looks for inputs that reach new branches, and for those that break what must hold. */
import { Coverage, clearCounters, ranCounters } from "./counters.ts";
import { Draw, type Material, mutate } from "./mutate.ts";
import type { Look, Target } from "./target.ts";

export const fuzzBounds = {
  /** One turn of the event loop, whoever sent the input (the project's bound). */
  turnMs: 50,
  /** From here on it is run again: the machine may be busy, so the shortest of so many runs counts. */
  lookAgainMs: 20,
  turnTries: 7,
  /** What stays in memory after everything was collected, above what was there before, the corpus not counted. */
  growthBytes: 48 * 1024 * 1024,
  /** Cuts of one input that are tried when it is new. */
  cuts: 150,
  /** Steps of making a crash's input smaller. */
  shrinkRuns: 400,
  shrinkMs: 3_000,
  /** The same of one input of the corpus, of which there are hundreds. */
  minimiseMs: 250,
  /** Different crashes of one target; more say nothing new. */
  crashes: 8,
} as const;

export interface Crash {
  readonly message: string;
  readonly input: Uint8Array;
}

export interface FuzzClock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Processor time of this process, milliseconds: a turn is no longer than that, however busy the machine is with others. */
  processorMs(): number;
  /** Bytes in use after a full collection. */
  heldBytes(): number;
}

export class Fuzzer {
  readonly #target: Target;
  readonly #total: () => number;
  readonly #clock: FuzzClock;
  readonly #dictionary: readonly Uint8Array[];
  readonly #onRun: (input: Uint8Array) => void;
  readonly #crashes = new Map<string, Crash>();
  readonly coverage = new Coverage();
  /** All that reached something new; from these the next inputs are made. */
  readonly corpus: Uint8Array[] = [];
  runs = 0;
  longestTurnMs = 0;
  #turnMs = 0;
  #turns = 0;
  #cutDraw = new Draw(1);

  /** @param total how many counters there are. @param onRun before each run: what would hang is known by it. */
  constructor(
    target: Target,
    options: {
      readonly total: () => number;
      readonly clock: FuzzClock;
      readonly dictionary: readonly Uint8Array[];
      readonly onRun: (input: Uint8Array) => void;
    },
  ) {
    this.#target = target;
    this.#total = options.total;
    this.#clock = options.clock;
    this.#dictionary = options.dictionary;
    this.#onRun = options.onRun;
  }

  get crashes(): readonly Crash[] {
    return [...this.#crashes.values()];
  }

  /** Takes kept inputs as they are, cut at every place. */
  async replay(inputs: readonly Uint8Array[]): Promise<void> {
    for (const input of inputs) {
      if (input.length > this.#target.maxBytes) continue;
      await this.#try(input, true);
      if (this.coverage.take(this.#total())) this.corpus.push(input);
    }
  }

  /** Makes inputs until it is told to stop. @param goesOn asked before each one. */
  async explore(draw: Draw, goesOn: () => boolean): Promise<void> {
    this.#cutDraw = draw;
    const held = this.#clock.heldBytes();
    const kept = this.#corpusBytes();
    const material: Material = {
      corpus: this.corpus,
      dictionary: this.#dictionary,
      maxBytes: this.#target.maxBytes,
    };
    while (goesOn() && this.#crashes.size < fuzzBounds.crashes) {
      // The newer half is drawn more often: what was found last has led nowhere yet.
      const newer = this.corpus.length >> 1;
      const at =
        draw.below(2) === 0 ? newer + draw.below(this.corpus.length - newer) : draw.below(this.corpus.length);
      const input = mutate(this.corpus[at] ?? new Uint8Array(0), draw, material);
      await this.#try(input, false);
      if (!this.coverage.take(this.#total())) continue;
      this.corpus.push(input);
      await this.#try(input, true);
      this.coverage.take(this.#total());
    }
    const grown = this.#clock.heldBytes() - held - (this.#corpusBytes() - kept) * 2;
    if (grown > fuzzBounds.growthBytes)
      this.#note({
        message: `holds ${(grown / 1e6).toFixed(0)} MB more after ${this.runs} inputs`,
        input: new Uint8Array(0),
      });
  }

  /** The inputs of the corpus without which some branch would not be reached, smaller ones first, each made smaller. */
  async minimised(): Promise<readonly Uint8Array[]> {
    const reached = new Set<number>();
    const kept: Uint8Array[] = [];
    for (const input of [...this.corpus].sort((a, b) => a.length - b.length)) {
      const own = (await this.#ran(input)).filter((counter) => !reached.has(counter));
      if (own.length === 0) continue;
      const small = await this.#shrunk(
        input,
        async (smaller) => {
          const ran = new Set(await this.#ran(smaller));
          return own.every((counter) => ran.has(counter));
        },
        fuzzBounds.minimiseMs,
      );
      for (const counter of await this.#ran(small)) reached.add(counter);
      kept.push(small);
    }
    return kept;
  }

  async #ran(input: Uint8Array): Promise<readonly number[]> {
    await this.#failure(input, false);
    return ranCounters(this.#total());
  }

  async #try(input: Uint8Array, isThorough: boolean): Promise<void> {
    this.runs++;
    const failure = await this.#failure(input, isThorough);
    if (failure === null) return;
    const name = nameOf(failure);
    if (this.#crashes.has(name)) return;
    const small = await this.#shrunk(
      input,
      async (smaller) => {
        const again = await this.#failure(smaller, true);
        return again !== null && nameOf(again) === name;
      },
      fuzzBounds.shrinkMs,
    );
    this.#note({ message: failure, input: small });
  }

  #note(crash: Crash): void {
    if (!this.#crashes.has(nameOf(crash.message))) this.#crashes.set(nameOf(crash.message), crash);
  }

  /** @returns what went wrong, or null. */
  async #failure(input: Uint8Array, isThorough: boolean): Promise<string | null> {
    let shortestMs = Number.POSITIVE_INFINITY;
    for (let turn = 0; turn < fuzzBounds.turnTries; turn++) {
      const failure = await this.#once(input, isThorough);
      if (failure !== null) return failure;
      shortestMs = Math.min(shortestMs, this.#turnMs);
      if (shortestMs <= fuzzBounds.lookAgainMs) break;
    }
    this.longestTurnMs = Math.max(this.longestTurnMs, shortestMs);
    if (shortestMs <= fuzzBounds.turnMs) return null;
    return `one turn of ${shortestMs.toFixed(0)} ms for ${input.length} bytes`;
  }

  async #once(input: Uint8Array, isThorough: boolean): Promise<string | null> {
    clearCounters(this.#total());
    this.#onRun(input);
    this.#turnMs = 0;
    this.#turns = 0;
    const began = this.#begin();
    try {
      const running = this.#target.run(input.slice(), this.#look(isThorough));
      if (running !== undefined) await running;
    } catch (error) {
      return error instanceof Error ? `${error.name}: ${error.message}\n${placeOf(error)}` : String(error);
    }
    // Cut in many ways it is many turns; the one of the whole input is measured by itself.
    if (this.#turns === 0 && !isThorough) this.#turnMs = this.#since(began);
    return null;
  }

  #begin(): { readonly nowMs: number; readonly processorMs: number } {
    return { nowMs: this.#clock.now(), processorMs: this.#clock.processorMs() };
  }

  #since({ nowMs, processorMs }: { readonly nowMs: number; readonly processorMs: number }): number {
    return Math.min(this.#clock.now() - nowMs, this.#clock.processorMs() - processorMs);
  }

  #look(isThorough: boolean): Look {
    return {
      cuts: (length) => (isThorough ? allCuts(length) : this.#drawnCuts(length)),
      turn: (work) => {
        const began = this.#begin();
        const result = work();
        this.#turnMs = Math.max(this.#turnMs, this.#since(began));
        this.#turns++;
        return result;
      },
    };
  }

  #drawnCuts(length: number): readonly (readonly number[])[] {
    if (length < 2) return [];
    const cuts = Array.from(
      { length: 1 + this.#cutDraw.below(4) },
      () => 1 + this.#cutDraw.below(length - 1),
    );
    return [cuts.sort((a, b) => a - b)];
  }

  async #shrunk(
    input: Uint8Array,
    isSame: (smaller: Uint8Array) => Promise<boolean>,
    limitMs: number,
  ): Promise<Uint8Array> {
    let bytes = input;
    let runs = 0;
    const end = this.#clock.now() + limitMs;
    const goesOn = () => runs < fuzzBounds.shrinkRuns && this.#clock.now() < end;
    for (let size = bytes.length >> 1; size >= 1 && goesOn(); ) {
      let isSmaller = false;
      for (let at = 0; at + size <= bytes.length && goesOn(); ) {
        const smaller = new Uint8Array(bytes.length - size);
        smaller.set(bytes.subarray(0, at));
        smaller.set(bytes.subarray(at + size), at);
        runs++;
        if (await isSame(smaller)) {
          bytes = smaller;
          isSmaller = true;
        } else at += size;
      }
      if (!isSmaller || size > bytes.length) size >>= 1;
    }
    return bytes;
  }

  #corpusBytes(): number {
    return this.corpus.reduce((sum, { length }) => sum + length, 0);
  }
}

/** Every place alone, as far as there are not too many, and all of them together. */
function allCuts(length: number): readonly (readonly number[])[] {
  if (length < 2) return [];
  const step = Math.max(1, Math.ceil(length / fuzzBounds.cuts));
  const alone: number[][] = [];
  for (let cut = 1; cut < length; cut += step) alone.push([cut]);
  return [...alone, Array.from({ length: length - 1 }, (_, index) => index + 1)];
}

/** Crashes are the same when their words are, whatever the numbers and the values in them. */
function nameOf(message: string): string {
  return (message.split("\n")[0] ?? "").replace(/[0-9]+|(?<=: )[{["].*/g, "#").slice(0, 120);
}

/** Where in the product it was thrown. */
function placeOf(error: Error): string {
  const line = (error.stack ?? "").split("\n").find((one) => /\/src\/.*\.ts/.test(one)) ?? "";
  return line.trim();
}
