/** A value that changes: read it now, or be called after each change. */
export interface Watch<T> {
  readonly value: T;
  /** `listener` runs synchronously after each change, never for the value of now. @returns a function that ends the subscription. */
  subscribe(listener: (value: T) => void): () => void;
}

/** The writing end of a `Watch`. */
export class WatchSource<T> implements Watch<T> {
  #value: T;
  readonly #listeners = new Set<(value: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    // A copy: a listener may unsubscribe itself or others while it runs.
    for (const listener of [...this.#listeners]) if (this.#listeners.has(listener)) listener(value);
  }

  subscribe(listener: (value: T) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }
}
