/** A caller that calls again and again, and remembers every call that was not answered. */
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

  async stop(): Promise<CallTally> {
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
