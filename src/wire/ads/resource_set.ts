/**
 * All resources of one type as a server has them, each encoded once, with a log of what changed in which revision. A subscriber of
 * everything is then one number, however many resources there are.
 */
import { adsLimits } from "../../base/limits/rpc.ts";
import { inSteps } from "../../base/turns/steps.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { EntryIndex } from "./entry_index.ts";
import { NameIndex } from "./name_index.ts";
import { encodeResourceField, type ResponseParts } from "./response_parts.ts";

export interface NewResource {
  readonly name: string;
  /** Of the content: the same bytes, the same version. */
  readonly version: string;
  /** The message inside the `Any`. */
  readonly value: Uint8Array;
  /** Further names it can be asked for by, `network/ip`. */
  readonly aliases?: readonly string[];
  /** What it is a member of: who asks for that is given the members, too. */
  readonly groups?: readonly string[];
  /** What `encodeResourceField` makes of it, where it was made ahead. */
  readonly field?: Uint8Array;
}

export interface AdsResource {
  readonly name: string;
  readonly version: string;
  /** As one `resources` field of a `DeltaDiscoveryResponse`. */
  readonly field: Uint8Array;
  readonly aliases: readonly string[];
  readonly groups: readonly string[];
  /** The revision since which there has been a resource of this name without a break. */
  readonly since: number;
}

interface Change {
  readonly revision: number;
  readonly name: string;
  /** Not null for a removal: since when what was removed had been there. */
  readonly removedSince: number | null;
}

export class ResourceSet {
  readonly typeUrl: string;
  readonly #resources = new Map<string, AdsResource>();
  readonly #index = new NameIndex();
  readonly #maxChanges: number;
  #changes: Change[] = [];
  #revision = 0;
  /** Changes up to this revision are forgotten. */
  #forgotten = 0;
  /** Shared by all who are at the same revision; dropped with the next change. */
  readonly #shared = new Map<string, ResponseParts>();
  readonly #facts = new Map<string, boolean>();
  #entryIndex: { readonly revision: number; readonly index: EntryIndex<AdsResource> } | null = null;

  constructor(typeUrl: string, maxChanges: number = adsLimits.maxRememberedChanges) {
    this.typeUrl = typeUrl;
    this.#maxChanges = maxChanges;
  }

  /** Counts the changes. */
  get revision(): number {
    return this.#revision;
  }

  get size(): number {
    return this.#resources.size;
  }

  get(name: string): AdsResource | undefined {
    return this.#resources.get(name);
  }

  /** For who comes back with much. Made at the first wish and dropped with the next change; of the revision at which it was begun. */
  *entryIndex(): Generator<void, { readonly revision: number; readonly index: EntryIndex<AdsResource> }> {
    const known = this.#entryIndex;
    if (known !== null) return known;
    const revision = this.#revision;
    const index = yield* EntryIndex.of([...this.#resources.values()]);
    const made = { revision, index };
    if (revision === this.#revision) this.#entryIndex = made;
    return made;
  }

  all(): Iterable<AdsResource> {
    return this.#resources.values();
  }

  /** A resource of the version that is there is no change. @returns whether anything changed. */
  apply(upsert: readonly NewResource[], remove: readonly string[]): boolean {
    return runSteps(this.applyInSteps(upsert, remove));
  }

  /** The same in steps, in each of which a part comes under the new revision: nothing may be read of the set before the last one. */
  *applyInSteps(upsert: readonly NewResource[], remove: readonly string[]): Generator<void, boolean> {
    const revision = this.#revision + 1;
    const before = this.#changes.length;
    yield* inSteps(remove, (name) => this.#remove(name, revision));
    yield* inSteps(upsert, (resource) => this.#upsert(resource, revision));
    if (this.#changes.length === before) return false;
    this.#revision = revision;
    this.#shared.clear();
    this.#facts.clear();
    this.#entryIndex = null;
    this.#forget();
    return true;
  }

  /**
   * What changed after revision `from`, by name.
   *
   * @returns null when that is no longer known.
   */
  changedSince(from: number): ReadonlySet<string> | null {
    const changes = this.#since(from);
    return changes === null ? null : new Set(changes.map(({ name }) => name));
  }

  /** Resources that are new or other than at revision `from`; all of them at 0. @returns null when that is no longer known. */
  upsertsSince(from: number): readonly AdsResource[] | null {
    if (from === 0) return [...this.#resources.values()];
    const names = this.changedSince(from);
    return names === null ? null : [...names].flatMap((name) => this.#resources.get(name) ?? []);
  }

  /**
   * Names that were removed since `from`, are not there now, and that somebody knows who was given all resources up to `given`.
   *
   * @returns null when that is no longer known.
   */
  removalsSince(from: number, given: number): readonly string[] | null {
    const changes = this.#since(from);
    if (changes === null) return null;
    const names = new Set<string>();
    for (const { name, removedSince } of changes)
      if (removedSince !== null && removedSince <= given && !this.#resources.has(name)) names.add(name);
    return [...names];
  }

  /** Whether there are upserts since `from`: worked out once for all who are there. True when that is no longer known. */
  hasUpsertsSince(from: number): boolean {
    if (from === this.#revision) return false;
    return this.#fact(`upserts ${from}`, () => {
      const changes = this.#since(from);
      return changes === null || changes.some(({ name }) => this.#resources.has(name));
    });
  }

  /** Whether `removalsSince` gives any. True when that is no longer known. */
  hasRemovalsSince(from: number, given: number): boolean {
    if (from === this.#revision) return false;
    return this.#fact(`removals ${from} ${given}`, () => this.removalsSince(from, given)?.length !== 0);
  }

  /** What is asked for by `name`: the resource, those of that alias, and the members of each. */
  lookup(name: string): readonly AdsResource[] {
    const own = this.#resources.get(name);
    const found = own === undefined ? this.#named(this.#index.byAlias(name)) : [own];
    const groups = [name, ...found.map((resource) => resource.name)];
    const members = groups.flatMap((group) => this.#named(this.#index.members(group)));
    return [...new Set([...found, ...members])];
  }

  /** The parts of one difference, made once for all who lack the same. @param make null: not known any more. */
  share(key: string, make: () => ResponseParts | null): ResponseParts | null {
    const known = this.#shared.get(key);
    if (known !== undefined) return known;
    const made = make();
    if (made !== null) this.#shared.set(key, made);
    return made;
  }

  #fact(key: string, find: () => boolean): boolean {
    const known = this.#facts.get(key);
    if (known !== undefined) return known;
    const found = find();
    this.#facts.set(key, found);
    return found;
  }

  #named(names: Iterable<string>): AdsResource[] {
    return [...names].flatMap((name) => this.#resources.get(name) ?? []);
  }

  #upsert(resource: NewResource, revision: number): void {
    const { name, version, aliases = [], groups = [] } = resource;
    const known = this.#resources.get(name);
    if (known?.version === version && sameNames(known.aliases, aliases) && sameNames(known.groups, groups))
      return;
    const field = resource.field ?? encodeResourceField(this.typeUrl, name, version, resource.value);
    const next = { name, version, field, aliases, groups, since: known?.since ?? revision };
    if (known !== undefined) this.#index.remove(known);
    this.#index.add(next);
    this.#resources.set(name, next);
    this.#changes.push({ revision, name, removedSince: null });
  }

  #remove(name: string, revision: number): void {
    const known = this.#resources.get(name);
    if (known === undefined) return;
    this.#index.remove(known);
    this.#resources.delete(name);
    this.#changes.push({ revision, name, removedSince: known.since });
  }

  #since(from: number): readonly Change[] | null {
    if (from < this.#forgotten) return null;
    let low = 0;
    let high = this.#changes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#changes[middle]?.revision ?? 0) <= from) low = middle + 1;
      else high = middle;
    }
    return this.#changes.slice(low);
  }

  /** Whole revisions, the oldest first, half of what may be kept at a time; never the last one, which everybody lacks. */
  #forget(): void {
    if (this.#changes.length <= this.#maxChanges) return;
    const cut = this.#changes[this.#changes.length - (this.#maxChanges >> 1)]?.revision ?? this.#revision;
    this.#forgotten = Math.min(cut, this.#revision - 1);
    this.#changes = this.#changes.filter(({ revision }) => revision > this.#forgotten);
  }
}

function sameNames(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, index) => name === b[index]);
}
