/** A program's start and end: what is set up in order is taken back in the opposite order, once, however the end comes. */
import { asMeshError } from "../base/errors.ts";
import type { Logger } from "../base/log.ts";

/** Takes back one step of the start. */
export type Undo = () => void | Promise<void>;

/** `LogWriter` is one. */
export interface FlushedLogger extends Logger {
  flush(): void;
}

export class Lifecycle {
  readonly #logger: FlushedLogger;
  readonly #steps: Undo[] = [];
  #stopping: Promise<void> | null = null;
  #isOver = false;

  constructor(logger: FlushedLogger) {
    this.#logger = logger;
  }

  /** Whether the end has begun. */
  get isStopping(): boolean {
    return this.#stopping !== null;
  }

  /** @param step takes back what was just set up. What is set up after the end is taken back at once: `stop` waits for that too. */
  onStop(step: Undo): void {
    this.#steps.push(step);
    if (this.#isOver) this.#stopping = this.#undoAll();
  }

  /** One stop, however often it is asked for: every caller waits until the last step is taken back. Never rejects. */
  stop(): Promise<void> {
    this.#stopping ??= this.#undoAll();
    return this.#stopping;
  }

  /** A step that fails is told, and does not keep the others from being taken back. */
  async #undoAll(): Promise<void> {
    this.#isOver = false;
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (thrown) {
        const { message } = asMeshError(thrown, "io", "local");
        this.#logger.log("error", "stop", "a part of the program could not be stopped", { error: message });
      }
    }
    this.#isOver = true;
    this.#logger.flush();
  }
}

/** @throws what `build` throws; everything that it had set up is taken back first. */
export async function startWithin<T>(
  logger: FlushedLogger,
  build: (life: Lifecycle) => Promise<T>,
): Promise<T> {
  const life = new Lifecycle(logger);
  try {
    return await build(life);
  } catch (error) {
    await life.stop();
    throw error;
  }
}
