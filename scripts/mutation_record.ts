/**
 * What is known of mutants: the test that noticed each (`mutants_killed.json`, written by `--record`), so that it is tried by one test and
 * not by all the nearest; and those that live, with the reason (`mutants_kept.json`).
 */
import { type Mutant, nameOf } from "./mutation.ts";

export interface Killer {
  readonly file: string;
  /** Of the test, with those of its groups before it. */
  readonly test: string;
}

/** File of the program → `file of the test: its name` → what it noticed, by `shortNameOf`, with spaces between. */
export type KilledFile = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** The same as long as the name of the mutant is. Within a file two are the same with a chance of one in millions. */
export function shortNameOf(mutant: Mutant): string {
  return new Bun.CryptoHasher("sha256").update(nameOf(mutant)).digest("hex").slice(0, 8);
}

const between = ": ";

export class KilledRecord {
  readonly #killers = new Map<string, Map<string, Killer>>();

  constructor(written: KilledFile) {
    for (const [path, tests] of Object.entries(written))
      for (const [key, names] of Object.entries(tests)) {
        const at = key.indexOf(between);
        const killer = { file: key.slice(0, at), test: key.slice(at + between.length) };
        for (const name of names.split(" ")) this.#of(path).set(name, killer);
      }
  }

  killerOf(mutant: Mutant): Killer | null {
    return this.#killers.get(mutant.path)?.get(shortNameOf(mutant)) ?? null;
  }

  /** `null`: no test notices it any more, or only by not ending, which a busy machine could do as well. */
  set(mutant: Mutant, killer: Killer | null): void {
    const of = this.#of(mutant.path);
    if (killer === null) of.delete(shortNameOf(mutant));
    else of.set(shortNameOf(mutant), killer);
  }

  /** In an order that follows from what is in it; what is no mutant any more is left out. */
  toFile(all: readonly Mutant[]): KilledFile {
    const result: Record<string, Record<string, string>> = {};
    for (const path of [...new Set(all.map((mutant) => mutant.path))].sort()) {
      const names = new Map<string, string[]>();
      for (const mutant of all) {
        const killer = mutant.path === path ? this.killerOf(mutant) : null;
        if (killer === null) continue;
        const key = `${killer.file}${between}${killer.test}`;
        names.set(key, [...(names.get(key) ?? []), shortNameOf(mutant)]);
      }
      if (names.size === 0) continue;
      result[path] = Object.fromEntries(
        [...names].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, those]) => [key, those.sort().join(" ")]),
      );
    }
    return result;
  }

  #of(path: string): Map<string, Killer> {
    const known = this.#killers.get(path);
    if (known !== undefined) return known;
    const made = new Map<string, Killer>();
    this.#killers.set(path, made);
    return made;
  }
}

/** Weeks since a Monday, all of them in UTC: a sample is the same for all who draw it in one week. */
export function weekOf(timeMs: number): number {
  const dayMs = 86_400_000;
  // 1970-01-01 was a Thursday.
  return Math.floor((timeMs / dayMs + 3) / 7);
}
