/** Resources by the further names they can be asked for by, and by what they are members of. */

interface Named {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly groups: readonly string[];
}

export class NameIndex {
  readonly #byAlias = new Map<string, Set<string>>();
  readonly #byGroup = new Map<string, Set<string>>();

  byAlias(alias: string): Iterable<string> {
    return this.#byAlias.get(alias) ?? [];
  }

  members(group: string): Iterable<string> {
    return this.#byGroup.get(group) ?? [];
  }

  add({ name, aliases, groups }: Named): void {
    for (const alias of aliases) addTo(this.#byAlias, alias, name);
    for (const group of groups) addTo(this.#byGroup, group, name);
  }

  remove({ name, aliases, groups }: Named): void {
    for (const alias of aliases) removeFrom(this.#byAlias, alias, name);
    for (const group of groups) removeFrom(this.#byGroup, group, name);
  }
}

function addTo(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key);
  if (names === undefined) index.set(key, new Set([name]));
  else names.add(name);
}

function removeFrom(index: Map<string, Set<string>>, key: string, name: string): void {
  const names = index.get(key);
  names?.delete(name);
  if (names?.size === 0) index.delete(key);
}
