/** A group of cases of a VM's life, and how a case says what is wrong. */

export interface Group {
  readonly cases: readonly string[];
  /** Why it cannot run here; null when it can. */
  whyNot(): string | null;
  run(directory: string, check: Check): Promise<void>;
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
