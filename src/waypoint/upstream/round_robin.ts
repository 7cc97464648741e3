/**
 * Weighted round robin by earliest deadline first (Envoy `EdfScheduler`): over any stretch each host has its share, and heavy hosts do not
 * get their requests in a row. A binary heap: log n a choice.
 */
interface Entry {
  deadline: number;
  /** Breaks ties in the order of entry. */
  order: number;
  readonly host: number;
}

export class RoundRobin {
  readonly #weight: (host: number) => number;
  readonly #heap: Entry[] = [];
  #now = 0;
  #order = 0;

  /** @param weight read at every choice, so that it may change (warm-up). @param start uniform in [0, 1): where the first round begins, so that many proxies do not begin at one host. */
  constructor(hosts: number, weight: (host: number) => number, start: number) {
    this.#weight = weight;
    const first = Math.floor(start * hosts);
    for (let i = 0; i < hosts; i++) {
      const host = (first + i) % hosts;
      if (weight(host) > 0) this.#push({ deadline: 1 / weight(host), order: this.#order++, host });
    }
  }

  /** -1 when no host has weight. */
  next(): number {
    const entry = this.#heap[0];
    if (entry === undefined) return -1;
    this.#now = entry.deadline;
    entry.deadline = this.#now + 1 / Math.max(this.#weight(entry.host), leastWeight);
    entry.order = this.#order++;
    this.#sink(0);
    return entry.host;
  }

  #push(entry: Entry): void {
    let at = this.#heap.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  #sink(from: number): void {
    let at = from;
    for (;;) {
      let least = at;
      if (this.#before(2 * at + 1, least)) least = 2 * at + 1;
      if (this.#before(2 * at + 2, least)) least = 2 * at + 2;
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #before(a: number, b: number): boolean {
    const left = this.#heap[a];
    const right = this.#heap[b];
    if (left === undefined || right === undefined) return false;
    return left.deadline !== right.deadline ? left.deadline < right.deadline : left.order < right.order;
  }

  #swap(a: number, b: number): void {
    const left = this.#heap[a];
    const right = this.#heap[b];
    if (left === undefined || right === undefined) return;
    this.#heap[a] = right;
    this.#heap[b] = left;
  }
}

/** A host whose weight fell to nothing after it had one keeps a turn once in a long while, and is not divided by zero. */
const leastWeight = 1e-6;
