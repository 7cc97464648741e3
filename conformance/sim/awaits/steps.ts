/**
 * The places where something else can happen while a flow is under way. A **step** is what the outside gives back: an event of the
 * simulated world, or the end of one cryptographic operation. Behind it come **turns**, one for each round of promises that go on,
 * as every `await` and every `async` function that returns is one.
 */
import "../../../src/app/testing/loaded.ts";
import type { MemoryWorld } from "../../../src/host/memory/world.ts";
import { peculiarProvider } from "../../../src/pki/crypto/peculiar_provider.ts";

export interface Place {
  readonly step: number;
  readonly turn: number;
}

/** Of one step of a flow: what it is, and the last turn in which anything that can be seen still changed. */
export interface Step {
  readonly kind: string;
  lastTurn: number;
}

/** A flow that does more in one step is cut into pieces that are no longer seen. */
const maxTurns = 60;

const operations = ["verify", "sign", "digest", "importKey", "exportKey", "generateKey"] as const;
let watching: ((operation: string) => void) | null = null;
let begun = 0;

/** Tells `watching` of every cryptographic operation of this process that has ended. Once a process. */
export function watchCryptography(): void {
  const prototype: object = Object.getPrototypeOf(peculiarProvider().crypto.subtle);
  for (const operation of operations) {
    const original: unknown = Reflect.get(prototype, operation);
    if (typeof original !== "function") throw new Error(`there is no ${operation}`);
    const watched = async function (this: unknown, ...args: unknown[]): Promise<unknown> {
      begun++;
      const result: unknown = await Reflect.apply(original, this, args);
      watching?.(operation);
      return result;
    };
    Reflect.set(prototype, operation, watched);
  }
}

/** Counts the steps of a flow, or does something at one of its places. */
export class Steps {
  readonly steps: Step[] = [];
  readonly #world: MemoryWorld;
  readonly #seen: () => number;
  readonly #place: Place | null;
  readonly #act: () => void;
  #next = 0;
  #hasActed = false;

  /** @param seen changes with whatever can be seen from outside. @param place null counts. */
  constructor(world: MemoryWorld, seen: () => number, place: Place | null, act: () => void) {
    this.#world = world;
    this.#seen = seen;
    this.#place = place;
    this.#act = act;
    world.schedule.onStep = () => this.#pass("event");
    watching = (operation) => this.#pass(operation);
  }

  /** Whether the place was come by. */
  get hasActed(): boolean {
    return this.#hasActed;
  }

  stop(): void {
    this.#world.schedule.onStep = null;
    watching = null;
  }

  #pass(kind: string): void {
    const index = this.#next++;
    if (this.#place === null) this.#count(index, kind);
    else if (this.#place.step === index) this.#wait(this.#place.turn);
  }

  #wait(turns: number): void {
    if (turns > 0) {
      queueMicrotask(() => this.#wait(turns - 1));
      return;
    }
    this.#hasActed = true;
    this.#act();
  }

  /** Turns are those of the newest step: what goes on from there is its doing, and is not tried twice. */
  #count(index: number, kind: string): void {
    const step: Step = { kind, lastTurn: 0 };
    this.steps.push(step);
    let before = this.#fingerprint();
    let turn = 0;
    const look = (): void => {
      turn++;
      const now = this.#fingerprint();
      if (now !== before) step.lastTurn = turn;
      before = now;
      if (turn < maxTurns && this.#next === index + 1) queueMicrotask(look);
    };
    queueMicrotask(look);
  }

  #fingerprint(): number {
    return this.#seen() + this.#world.schedule.added + begun;
  }
}
