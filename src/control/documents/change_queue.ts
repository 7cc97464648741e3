/**
 * Changes of the documents take turns: each is planned on what the one before has left, and parts of two never mix. Callers take turns, too, so
 * that whoever asks for many waits behind their own; how many may wait is bounded, for each caller and for all.
 */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { type ShareBounds, shareOf } from "../../base/share.ts";

/** Whose change it is. `ours`: the control plane's own, which comes first. */
export type ChangeOwner = "ours" | { readonly actor: string; readonly isOfMesh: boolean };

type Task = () => Promise<void>;

export class ChangeQueue {
  readonly #bounds: ShareBounds;
  readonly #ours: Task[] = [];
  /** By caller, the one whose turn is next first; the mesh's administrators apart. */
  readonly #waiting = new Map<string, { readonly isOfMesh: boolean; readonly tasks: Task[] }>();
  #isRunning = false;

  constructor(bounds: ShareBounds = controlAdminLimits.changeShares) {
    this.#bounds = bounds;
  }

  /** Runs `act` when its turn comes. @returns null when the caller has too many that wait: it never runs then. */
  run<T>(owner: ChangeOwner, act: () => Promise<T>): Promise<T> | null {
    if (owner !== "ours" && this.#heldBy(owner.actor) >= this.#shareOf(owner)) return null;
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const task: Task = () => act().then(resolve, reject);
    if (owner === "ours") this.#ours.push(task);
    else {
      const mine = this.#waiting.get(owner.actor) ?? { isOfMesh: owner.isOfMesh, tasks: [] };
      this.#waiting.set(owner.actor, mine);
      mine.tasks.push(task);
    }
    if (!this.#isRunning) void this.#runAll();
    return promise;
  }

  get length(): number {
    return this.#ours.length + this.#count(() => true);
  }

  async #runAll(): Promise<void> {
    this.#isRunning = true;
    for (let task = this.#next(); task !== null; task = this.#next()) await task();
    this.#isRunning = false;
  }

  #next(): Task | null {
    const own = this.#ours.shift();
    if (own !== undefined) return own;
    for (const [actor, waiting] of this.#waiting) {
      const task = waiting.tasks.shift();
      // Whoever has had a turn comes after those who wait for one.
      this.#waiting.delete(actor);
      if (waiting.tasks.length > 0) this.#waiting.set(actor, waiting);
      if (task !== undefined) return task;
    }
    return null;
  }

  #heldBy(actor: string): number {
    return this.#waiting.get(actor)?.tasks.length ?? 0;
  }

  #shareOf({ actor, isOfMesh }: Exclude<ChangeOwner, "ours">): number {
    const { max, each } = this.#bounds;
    const others = this.#count((other) => other !== actor);
    if (isOfMesh) return Math.min(each, max - others);
    const ofMesh = this.#count((other, isTheirs) => isTheirs && other !== actor);
    return shareOf(this.#bounds, others - ofMesh, ofMesh);
  }

  #count(holds: (actor: string, isOfMesh: boolean) => boolean): number {
    let count = 0;
    for (const [actor, { isOfMesh, tasks }] of this.#waiting)
      if (holds(actor, isOfMesh)) count += tasks.length;
    return count;
  }
}
