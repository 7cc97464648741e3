/** One who calls all the time, and what must come of it: answered, refused, or either while something is being changed. */
import type { Answer } from "../demo/visitor.ts";

export type Expected = "answered" | "refused" | "either";

const restMs = 25;
const keptFailures = 20;

export class Caller {
  readonly name: string;
  readonly #call: () => Promise<Answer>;
  #expected: Expected = "either";
  /** Counts the changes of what is expected: a call that began before one is of neither side. */
  #change = 0;
  #stopped = false;
  #work: Promise<void> | null = null;
  calls = 0;
  judged = 0;
  longestMs = 0;
  readonly failures: string[] = [];
  failed = 0;

  constructor(name: string, call: () => Promise<Answer>) {
    this.name = name;
    this.#call = call;
  }

  expect(expected: Expected): void {
    this.#expected = expected;
    this.#change++;
  }

  get expected(): Expected {
    return this.#expected;
  }

  start(): void {
    this.#work ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#work;
  }

  /** Calls until it is as it should be, and expects it from then on. @returns whether it came to that in time. */
  async becomes(expected: "answered" | "refused", limitMs: number): Promise<boolean> {
    this.expect("either");
    const end = performance.now() + limitMs;
    do {
      if (fits(await this.#call(), expected)) {
        this.expect(expected);
        return true;
      }
      await Bun.sleep(restMs);
    } while (performance.now() < end);
    return false;
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const change = this.#change;
      const expected = this.#expected;
      const began = performance.now();
      const answer = await this.#call();
      this.calls++;
      // What is refused by a node is a connection that closes: a waypoint says 403.
      if (expected !== "either" && change === this.#change) {
        this.judged++;
        this.longestMs = Math.max(this.longestMs, performance.now() - began);
        if (!fits(answer, expected)) this.#fail(expected, answer);
      }
      await Bun.sleep(restMs);
    }
  }

  #fail(expected: Expected, { status, ending }: Answer): void {
    this.failed++;
    if (this.failures.length < keptFailures)
      this.failures.push(
        `${new Date().toISOString()} ${this.name}: ${status ?? ending} where ${expected} was expected`,
      );
  }
}

function fits({ status }: Answer, expected: "answered" | "refused"): boolean {
  return expected === "answered" ? status === 200 : status === null || status === 403;
}
