/**
 * Simulated time: one queue of events in one order, whatever the machine does. Between two events every promise that can
 * go on does so, as between two turns of a real event loop.
 */
import type { Timer } from "../host.ts";

/** What dies with a process: events of an owner that has ended do not run. */
export interface Owner {
  readonly ended: boolean;
}

/** `deferred` events of an instant come after its `io` and `timer` events, also after those that are added meanwhile. */
type Kind = "io" | "timer" | "deferred";

class ScheduledEvent implements Timer {
  readonly atMs: number;
  readonly order: number;
  readonly kind: Kind;
  readonly owner: Owner | null;
  readonly callback: () => void;
  cancelled = false;
  readonly #onCancel: (event: ScheduledEvent) => void;

  constructor(
    atMs: number,
    order: number,
    kind: Kind,
    owner: Owner | null,
    callback: () => void,
    onCancel: (event: ScheduledEvent) => void,
  ) {
    this.atMs = atMs;
    this.order = order;
    this.kind = kind;
    this.owner = owner;
    this.callback = callback;
    this.#onCancel = onCancel;
  }

  cancel(): void {
    if (this.cancelled) return;
    this.cancelled = true;
    this.#onCancel(this);
  }

  before(other: ScheduledEvent): boolean {
    if (this.atMs !== other.atMs) return this.atMs < other.atMs;
    const late = this.kind === "deferred";
    if (late !== (other.kind === "deferred")) return !late;
    return this.order < other.order;
  }
}

/** A timer never fires in the instant that set it: a program that polls with 0 ms must not hold time up. */
const minTimerMs = 0.01;

export class Schedule {
  #nowMs = 0;
  #order = 0;
  /** A binary heap, the next event first. */
  readonly #heap: ScheduledEvent[] = [];
  /** Events in the heap that are not timers: while there are any the world is not quiet. */
  #busy = 0;
  #steps = 0;
  #tracked = 0;
  #failure: { readonly error: unknown } | null = null;
  /** Called after each event, before the promises that it settled go on: where an invariant is looked at. */
  onStep: (() => void) | null = null;
  readonly #forget = (event: ScheduledEvent) => {
    if (event.kind !== "timer") this.#busy--;
  };

  /** Monotonic milliseconds since the world began. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events that ran. */
  get steps(): number {
    return this.#steps;
  }

  /** Events that were ever added. */
  get added(): number {
    return this.#order;
  }

  /** Input or output that happens `delayMs` from now. */
  io(delayMs: number, owner: Owner | null, callback: () => void): Timer {
    return this.#add(this.#nowMs + Math.max(0, delayMs), "io", owner, callback);
  }

  timer(delayMs: number, owner: Owner | null, callback: () => void): Timer {
    return this.#add(this.#nowMs + Math.max(minTimerMs, delayMs), "timer", owner, callback);
  }

  defer(owner: Owner | null, callback: () => void): void {
    this.#add(this.#nowMs, "deferred", owner, callback);
  }

  /** Real work that simulated time has to wait for, such as a computation on another thread. */
  track(promise: Promise<unknown>): void {
    this.#tracked++;
    const done = () => {
      this.#tracked--;
    };
    promise.then(done, done);
  }

  /** A bug of the program under simulation: `run` throws it. The first one counts. */
  fail(error: unknown): void {
    this.#failure ??= { error };
  }

  /** Runs events up to and including `untilMs`; the time is `untilMs` afterwards. @throws what an event threw. */
  async run(untilMs: number): Promise<void> {
    await this.#runWhile((event) => event.atMs <= untilMs);
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  /** Runs until nothing but timers is left, or until `untilMs`. @returns whether it became quiet. */
  async runUntilQuiet(untilMs: number): Promise<boolean> {
    await this.#runWhile((event) => this.#busy > 0 && event.atMs <= untilMs);
    return this.#busy === 0;
  }

  /** Runs until `condition` holds, looked at after each event, or until `untilMs`. @returns whether it holds. */
  async runUntil(condition: () => boolean, untilMs: number): Promise<boolean> {
    await this.#runWhile((event) => !condition() && event.atMs <= untilMs);
    return condition();
  }

  async #runWhile(goOn: (next: ScheduledEvent) => boolean): Promise<void> {
    for (;;) {
      await this.#settle();
      if (this.#failure !== null) throw this.#failure.error;
      const next = this.#peek();
      if (next === null || !goOn(next)) return;
      this.#pop();
      this.#nowMs = next.atMs;
      this.#steps++;
      if (next.kind !== "timer") this.#busy--;
      // A timer that fired is spent; cancelling it later changes nothing.
      next.cancelled = true;
      if (next.owner?.ended !== true) next.callback();
      this.onStep?.();
    }
  }

  /** An immediate runs after all microtasks, also after those that microtasks add. */
  async #settle(): Promise<void> {
    do {
      await new Promise<void>((resolve) => setImmediate(resolve));
    } while (this.#tracked > 0);
  }

  #add(atMs: number, kind: Kind, owner: Owner | null, callback: () => void): Timer {
    const event = new ScheduledEvent(atMs, this.#order++, kind, owner, callback, this.#forget);
    if (kind !== "timer") this.#busy++;
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = heap[parentIndex];
      if (parent === undefined || !event.before(parent)) break;
      heap[index] = parent;
      index = parentIndex;
    }
    heap[index] = event;
    return event;
  }

  #peek(): ScheduledEvent | null {
    for (;;) {
      const first = this.#heap[0];
      if (first === undefined) return null;
      if (!first.cancelled) return first;
      this.#pop();
    }
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (;;) {
      let childIndex = index * 2 + 1;
      let child = heap[childIndex];
      if (child === undefined) break;
      const right = heap[childIndex + 1];
      if (right?.before(child)) {
        child = right;
        childIndex++;
      }
      if (!child.before(last)) break;
      heap[index] = child;
      index = childIndex;
    }
    heap[index] = last;
  }
}
