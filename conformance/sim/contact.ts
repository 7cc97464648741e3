/** When a node was in touch with its control plane: outside of that it may go by what it was told before. */

export interface LostSpan {
  readonly fromMs: number;
  untilMs: number;
  /** It was started again meanwhile, with what it had written down. */
  restarted: boolean;
}

/** What a node writes down is this old at the most when it is killed, and some. */
const snapshotAgeMs = 6_000;

export class Contact {
  readonly lost: LostSpan[] = [];
  #open: LostSpan | null = null;
  #lastMs = 0;
  #generation = -1;

  /** Looked at every now and then. @param generation of the node's process. */
  note(nowMs: number, isInTouch: boolean, generation: number): void {
    const restarted = generation !== this.#generation;
    if (!isInTouch || restarted) {
      if (this.#open === null) {
        this.#open = { fromMs: this.#lastMs, untilMs: nowMs, restarted };
        this.lost.push(this.#open);
      }
      this.#open.untilMs = nowMs;
      this.#open.restarted ||= restarted;
    } else if (this.#open !== null) {
      this.#open.untilMs = nowMs;
      this.#open = null;
    }
    this.#generation = generation;
    this.#lastMs = nowMs;
  }

  /** The earliest time of which something may still be in force. @param boundMs how long news may take. */
  staleSince(atMs: number, boundMs: number): number {
    let sinceMs = atMs - boundMs;
    for (const { fromMs, untilMs, restarted } of this.lost.toReversed())
      if (fromMs <= atMs && untilMs + boundMs >= sinceMs)
        sinceMs = Math.min(sinceMs, fromMs - boundMs - (restarted ? snapshotAgeMs : 0));
    return sinceMs;
  }
}
