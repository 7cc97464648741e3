/** The string values that a section's rules mention in one field, found by what a caller is: no scan over all of them. */
import type { StringMatch } from "../../mesh/authorization.ts";

/** One distinct value, numbered within its section. */
export interface Atom {
  readonly id: number;
  /** Rules that mention it, sorted, without repeats. */
  readonly rules: number[];
}

/** Notes that `rule` mentions the atom. Rules come in order. */
export function mention(atom: Atom, rule: number): Atom {
  if (atom.rules.at(-1) !== rule) atom.rules.push(rule);
  return atom;
}

export class StringTable {
  readonly #newAtom: () => Atom;
  readonly #exact = new Map<string, Atom>();
  /** By length, so that a text is looked up once per length in use. */
  readonly #prefixes = new Map<number, Map<string, Atom>>();
  readonly #suffixes = new Map<number, Map<string, Atom>>();
  #presence: Atom | null = null;

  constructor(newAtom: () => Atom) {
    this.#newAtom = newAtom;
  }

  atom(match: StringMatch): Atom {
    switch (match.kind) {
      case "exact":
        return this.#intern(this.#exact, match.value);
      case "prefix":
        return this.#intern(this.#ofLength(this.#prefixes, match.value.length), match.value);
      case "suffix":
        return this.#intern(this.#ofLength(this.#suffixes, match.value.length), match.value);
      case "presence":
        this.#presence ??= this.#newAtom();
        return this.#presence;
    }
  }

  /** The atoms that any text that is not empty satisfies: `*`, and the empty prefix and suffix. */
  universal(): readonly Atom[] {
    const found = [this.#presence, this.#prefixes.get(0)?.get(""), this.#suffixes.get(0)?.get("")];
    return found.filter((atom) => atom !== null && atom !== undefined);
  }

  /** The atoms that `text` satisfies. */
  satisfied(text: string): readonly Atom[] {
    const found = [this.#exact.get(text), text === "" ? null : this.#presence];
    for (const [length, prefixes] of this.#prefixes) {
      if (length <= text.length) found.push(prefixes.get(text.slice(0, length)));
    }
    for (const [length, suffixes] of this.#suffixes) {
      if (length <= text.length) found.push(suffixes.get(text.slice(text.length - length)));
    }
    return found.filter((atom) => atom !== null && atom !== undefined);
  }

  #ofLength(tables: Map<number, Map<string, Atom>>, length: number): Map<string, Atom> {
    let table = tables.get(length);
    if (table === undefined) {
      table = new Map();
      tables.set(length, table);
    }
    return table;
  }

  #intern(table: Map<string, Atom>, value: string): Atom {
    let atom = table.get(value);
    if (atom === undefined) {
      atom = this.#newAtom();
      table.set(value, atom);
    }
    return atom;
  }
}
