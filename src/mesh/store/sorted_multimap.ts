/** Values by key, each key's values in a fixed order: an index gives the same answer however its contents came about. */
export class SortedMultimap<T> {
  readonly #lists = new Map<string, T[]>();
  readonly #compare: (a: T, b: T) => number;

  constructor(compare: (a: T, b: T) => number) {
    this.#compare = compare;
  }

  get(key: string): readonly T[] {
    return this.#lists.get(key) ?? [];
  }

  /** Adding a value twice under one key is adding it once. */
  add(key: string, value: T): void {
    const list = this.#lists.get(key);
    if (list === undefined) {
      this.#lists.set(key, [value]);
      return;
    }
    if (list.includes(value)) return;
    const index = list.findIndex((other) => this.#compare(value, other) < 0);
    list.splice(index === -1 ? list.length : index, 0, value);
  }

  remove(key: string, value: T): void {
    const list = this.#lists.get(key);
    const index = list?.indexOf(value) ?? -1;
    if (list === undefined || index === -1) return;
    list.splice(index, 1);
    if (list.length === 0) this.#lists.delete(key);
  }
}
