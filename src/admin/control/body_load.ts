/**
 * What bodies of requests hold in memory, counted by caller and in all, until their requests are answered. A caller may hold half of what the
 * others have left, so that no caller shuts others out; small bodies have room of their own, since a revocation is one.
 */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { Problem } from "./problem.ts";

class Pool {
  readonly #maxBytes: number;
  readonly #held = new Map<string, number>();
  #total = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  take(caller: string, bytes: number): boolean {
    const mine = this.#held.get(caller) ?? 0;
    const left = this.#maxBytes - (this.#total - mine);
    if (mine + bytes > left / 2) return false;
    this.#held.set(caller, mine + bytes);
    this.#total += bytes;
    return true;
  }

  giveBack(caller: string, bytes: number): void {
    const mine = (this.#held.get(caller) ?? 0) - bytes;
    this.#total -= bytes;
    if (mine > 0) this.#held.set(caller, mine);
    else this.#held.delete(caller);
  }

  get total(): number {
    return this.#total;
  }
}

export class BodyLoad {
  readonly #large = new Pool(controlAdminLimits.maxHeldBodyBytes);
  readonly #small = new Pool(controlAdminLimits.maxHeldSmallBodyBytes);

  /** What one request holds: nothing yet. @param maxBytes of its body. */
  open(caller: string, maxBytes: number): HeldBody {
    return new HeldBody(maxBytes > controlAdminLimits.maxBodyBytes ? this.#large : this.#small, caller);
  }

  get heldBytes(): number {
    return this.#large.total + this.#small.total;
  }
}

export class HeldBody {
  readonly #pool: Pool;
  readonly #caller: string;
  #bytes = 0;

  constructor(pool: Pool, caller: string) {
    this.#pool = pool;
    this.#caller = caller;
  }

  /** @throws Problem 429. */
  take(bytes: number): void {
    if (!this.#pool.take(this.#caller, bytes))
      throw new Problem(
        429,
        "your other requests use too much memory; send this one again when they are answered",
      );
    this.#bytes += bytes;
  }

  /** Idempotent. */
  release(): void {
    this.#pool.giveBack(this.#caller, this.#bytes);
    this.#bytes = 0;
  }
}
