/** What of a set a client holds that comes back: found out in steps, and still right when the set changes meanwhile. */
import { stepsOf } from "../../base/turns/steps.ts";
import type { HeldEntries } from "../messages/held_entries.ts";
import type { EntryIndex } from "./entry_index.ts";
import type { AdsResource, ResourceSet } from "./resource_set.ts";

export class HeldResources {
  /** Of the set, when the look began. */
  readonly #revision: number;
  readonly #index: EntryIndex<AdsResource>;
  /** By the place in the index: 1 for what was found by its bytes, so in the version that was there. */
  readonly #found: Uint8Array;
  #foundCount = 0;
  /** Name → version of what was there and not found by its bytes, in another version for the most part. It counts before `#found`. */
  readonly #read = new Map<string, string>();
  /** Names of what was not there. */
  readonly #gone = new Set<string>();

  private constructor(revision: number, index: EntryIndex<AdsResource>) {
    this.#revision = revision;
    this.#index = index;
    this.#found = new Uint8Array(index.resources.length);
  }

  static *look(set: ResourceSet, entries: HeldEntries): Generator<void, HeldResources> {
    const { revision, index } = yield* set.entryIndex();
    const held = new HeldResources(revision, index);
    yield* stepsOf(entries.count, (at) => {
      const place = entries.findIn(index, at);
      if (place === -1) held.#note(set, ...entries.read(at));
      else held.#find(place);
    });
    return held;
  }

  /** Of two entries with one name the last counts. */
  #find(place: number): void {
    if (this.#found[place] === 0) this.#foundCount++;
    this.#found[place] = 1;
    if (this.#read.size > 0) this.#read.delete(this.#index.resources[place]?.name ?? "");
  }

  #note(set: ResourceSet, name: string, version: string): void {
    if (set.get(name) === undefined) this.#gone.add(name);
    else this.#read.set(name, version);
  }

  /** Whether it is all that there is, and nothing else: who comes back like this is told the same as all others who do. */
  isAllOf(set: ResourceSet): boolean {
    if (set.revision !== this.#revision || this.#read.size > 0 || this.#gone.size > 0) return false;
    return this.#foundCount === set.size;
  }

  /** What is there and not held in that version. */
  lacksOf(set: ResourceSet): AdsResource[] {
    if (set.revision === this.#revision)
      return this.#index.resources.filter((each, place) => !this.#holds(each, this.#found[place]));
    const held = this.versions();
    return [...set.all()].filter(({ name, version }) => held.get(name) !== version);
  }

  #holds({ name, version }: AdsResource, found: number | undefined): boolean {
    const read = this.#read.size === 0 ? undefined : this.#read.get(name);
    return read === undefined ? found === 1 : read === version;
  }

  /** Names of what is held and not there. @returns null when it is no longer known what changed since the look. */
  goneFrom(set: ResourceSet): readonly string[] | null {
    const changed = set.changedSince(this.#revision);
    if (changed === null) return null;
    if (changed.size === 0) return [...this.#gone];
    const gone = new Set(this.#gone);
    for (const name of changed)
      if (set.get(name) !== undefined) gone.delete(name);
      else if (this.#read.has(name)) gone.add(name);
    for (const [place, { name }] of this.#index.resources.entries())
      if (this.#found[place] === 1 && changed.has(name) && set.get(name) === undefined) gone.add(name);
    return [...gone];
  }

  /** Name → version of what is held, but for what was gone. */
  versions(): Map<string, string> {
    const versions = new Map<string, string>();
    for (const [place, { name, version }] of this.#index.resources.entries())
      if (this.#found[place] === 1) versions.set(name, version);
    for (const [name, version] of this.#read) versions.set(name, version);
    return versions;
  }
}
