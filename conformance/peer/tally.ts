/** Counts what ran, says what failed, and never lets a skip pass in silence. */

export interface Outcome {
  readonly name: string;
  readonly verdict: "passed" | "failed" | "skipped";
  readonly detail: string;
}

export class Tally {
  readonly #outcomes: Outcome[] = [];
  readonly #verbose: boolean;

  constructor(verbose: boolean) {
    this.#verbose = verbose;
  }

  pass(name: string): void {
    this.#add({ name, verdict: "passed", detail: "" });
  }

  fail(name: string, detail: string): void {
    this.#add({ name, verdict: "failed", detail });
  }

  skip(name: string, reason: string): void {
    this.#add({ name, verdict: "skipped", detail: reason });
  }

  /** @param problem null when the check holds. */
  check(name: string, problem: string | null): void {
    if (problem === null) this.pass(name);
    else this.fail(name, problem);
  }

  #add(outcome: Outcome): void {
    this.#outcomes.push(outcome);
    if (outcome.verdict === "passed" && !this.#verbose) return;
    console.log(`${outcome.verdict}: ${outcome.name}${outcome.detail === "" ? "" : ` — ${outcome.detail}`}`);
  }

  count(verdict: Outcome["verdict"]): number {
    return this.#outcomes.filter((one) => one.verdict === verdict).length;
  }

  /** `N passed, N failed, N skipped`. */
  summary(): string {
    return `${this.count("passed")} passed, ${this.count("failed")} failed, ${this.count("skipped")} skipped`;
  }
}
