/** One task at a time for each key, in order; different keys do not wait for each other. */
import { Gate } from "./gate.ts";

export class KeyedGate {
  readonly #gates = new Map<string, { readonly gate: Gate; users: number }>();

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const entry = this.#gates.get(key) ?? { gate: new Gate(1), users: 0 };
    this.#gates.set(key, entry);
    entry.users++;
    try {
      return await entry.gate.run(task);
    } finally {
      entry.users--;
      if (entry.users === 0) this.#gates.delete(key);
    }
  }

  /** Keys that have a task, or wait for one. */
  get size(): number {
    return this.#gates.size;
  }
}
