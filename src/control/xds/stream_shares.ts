/**
 * Who holds how many of the streams. A host that has joined has its own, a few; one workload's identity, or one address, may be that of
 * many clients, and has half of what the others leave: none of them keeps the others out.
 */
import { type ShareBounds, shareOf } from "../../base/share.ts";
import { type Caller, callerName } from "../identity/caller.ts";

export class StreamShares {
  readonly #bounds: ShareBounds;
  readonly #held = new Map<string, number>();
  #hosts = 0;
  #others = 0;

  constructor(bounds: ShareBounds) {
    this.#bounds = bounds;
  }

  /** @param source its address, as `networkSource` says. @returns whose share is used up, or null; then the stream is counted until `leave`. */
  enter(caller: Caller, source: string): string | null {
    if (caller.kind === "node") {
      this.#hosts++;
      return null;
    }
    const keys = keysOf(caller, source);
    for (const [key, whose] of keys) {
      const own = this.#held.get(key) ?? 0;
      if (own >= shareOf(this.#bounds, this.#others - own, this.#hosts)) return whose;
    }
    this.#others++;
    for (const [key] of keys) this.#held.set(key, (this.#held.get(key) ?? 0) + 1);
    return null;
  }

  leave(caller: Caller, source: string): void {
    if (caller.kind === "node") {
      this.#hosts--;
      return;
    }
    this.#others--;
    for (const [key] of keysOf(caller, source)) {
      const left = (this.#held.get(key) ?? 0) - 1;
      if (left > 0) this.#held.set(key, left);
      else this.#held.delete(key);
    }
  }
}

function keysOf(caller: Caller, source: string): readonly (readonly [key: string, whose: string])[] {
  return [
    [`identity ${callerName(caller)}`, "this identity"],
    [`address ${source}`, "this address"],
  ];
}
