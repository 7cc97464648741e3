/** A group of cases, and how a case says what is wrong. */
import type { Stage } from "./stage.ts";

/** One after the other on one stage: each finds it as the one before left it. */
export interface Group {
  readonly cases: readonly string[];
  /** Why it cannot run on this machine; null, or nothing at all, when it can. */
  whyNot?(): string | null;
  run(stage: Stage, check: Check): Promise<void>;
}

/** @throws nothing: what `body` throws is the problem of that case. */
export type Check = (name: string, body: () => Promise<void>) => Promise<void>;

export function equal(seen: unknown, wanted: unknown, what = "seen"): void {
  const [one, other] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`${what}: ${one}, not ${other}`);
}

export function holds(condition: boolean, otherwise: string): void {
  if (!condition) throw new Error(otherwise);
}
