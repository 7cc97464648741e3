/** A screen, keys and a node for what shows things live, driven by a test. */
import type { LiveBindings } from "../bindings.ts";

export class FakeLive implements LiveBindings {
  screen: { readonly columns: number; readonly rows: number } | null = null;
  /** All that was written, a piece each. */
  readonly written: string[] = [];
  /** How many more pieces the reader takes. */
  readsOn = Number.POSITIVE_INFINITY;
  /** What a node answers to `follow`, piece by piece. */
  pieces: readonly string[] = [];
  readonly followed: string[] = [];
  /** Runs at each sleep; its word is what the sleep returns. */
  onSleep: (ms: number) => boolean = () => true;
  #now = 0;
  readonly keys = new Set<(pressed: string) => void>();

  size() {
    return this.screen;
  }

  onKey(listener: (pressed: string) => void): () => void {
    this.keys.add(listener);
    return () => this.keys.delete(listener);
  }

  press(pressed: string): void {
    for (const listener of this.keys) listener(pressed);
  }

  write(text: string): boolean {
    this.written.push(text);
    return --this.readsOn >= 0;
  }

  now(): number {
    return this.#now;
  }

  async sleep(ms: number): Promise<boolean> {
    this.#now += ms;
    return this.onSleep(ms);
  }

  async follow(_node: unknown, path: string, take: (text: string) => boolean): Promise<void> {
    this.followed.push(path);
    for (const piece of this.pieces) if (!take(piece)) return;
  }
}
