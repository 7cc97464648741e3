/** The benchmark's processes, as the one that measures sees them. */
import { join } from "node:path";

/** A child process that answers each command once. */
export class Worker<Command, Answer extends { readonly kind: string }> {
  readonly #child;
  readonly #answers: Answer[] = [];
  #waiting: ((answer: Answer) => void) | null = null;

  constructor(file: string) {
    this.#child = Bun.spawn([process.execPath, join(import.meta.dir, file)], {
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (message: Answer) => {
        const waiting = this.#waiting;
        this.#waiting = null;
        if (waiting === null) this.#answers.push(message);
        else waiting(message);
      },
    });
    // Whatever ends the benchmark ends it, too.
    const end = (): void => this.end();
    process.on("exit", end);
    void this.#child.exited.then(() => process.off("exit", end));
  }

  async hear<Kind extends Answer["kind"]>(kind: Kind): Promise<Extract<Answer, { kind: Kind }>> {
    const ready = this.#answers.shift();
    const answer =
      ready ??
      (await Promise.race([
        new Promise<Answer>((resolve) => {
          this.#waiting = resolve;
        }),
        this.#child.exited.then((code) => Promise.reject(new Error(`a worker ended with ${code}`))),
      ]));
    if (answer.kind !== kind) throw new Error(`expected ${kind}, heard ${answer.kind}`);
    return answer as Extract<Answer, { kind: Kind }>;
  }

  get ended(): Promise<number> {
    return this.#child.exited;
  }

  say(command: Command): void {
    this.#child.send(command);
  }

  end(): void {
    this.#child.kill();
  }
}
