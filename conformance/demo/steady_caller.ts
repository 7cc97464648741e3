/** A caller that calls again and again, and remembers every call that was not answered. */
import { comesTrue } from "../peer/lab/eventually.ts";
import type { Answer } from "./visitor.ts";

export interface CallTally {
  readonly calls: number;
  readonly failures: readonly string[];
}

const restMs = 20;

export class SteadyCaller {
  #calls = 0;
  readonly #failures: string[] = [];
  #stopped = false;
  readonly #work: Promise<void>;

  constructor(call: () => Promise<Answer>) {
    this.#work = this.#run(call);
  }

  /** @param least calls that are made before it stops, however long they take. */
  async stop(least: number): Promise<CallTally> {
    await comesTrue(() => this.#calls >= least);
    this.#stopped = true;
    await this.#work;
    return { calls: this.#calls, failures: this.#failures };
  }

  async #run(call: () => Promise<Answer>): Promise<void> {
    while (!this.#stopped) {
      const { status, ending } = await call();
      this.#calls++;
      if (status !== 200) this.#failures.push(`${status ?? "no answer"} (${ending})`);
      await Bun.sleep(restMs);
    }
  }
}
