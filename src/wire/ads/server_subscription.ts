/**
 * What one stream has asked for of one type, and what it has been given. Nothing is queued for it: what it lacks is worked out when
 * it can be sent, so changes that come faster than it reads become one.
 */
import { adsLimits } from "../../base/limits/rpc.ts";
import { type DeltaRequest, wildcardName } from "./delta.ts";
import type { HeldResources } from "./held_resources.ts";
import type { AdsResource, ResourceSet } from "./resource_set.ts";
import { type ResponsePart, type ResponseParts, splitIntoParts } from "./response_parts.ts";

/** Bounds of one response, smaller in tests. */
export interface ResponseLimits {
  readonly responseBytes: number;
  readonly firstResponseBytes: number;
}

/** What may be sent now. Policies are removed only after the workloads that named them have been sent again. */
export type Portion = "upserts" | "everything";

/** The log of changes does not reach back to where this stream is: it has to begin again. */
export class TooFarBehind extends Error {}

export class ServerSubscription {
  readonly #set: ResourceSet;
  readonly #limits: ResponseLimits;
  /** Groups whose members it is given without asking: the workloads of its own node. */
  readonly #implicit: readonly string[];
  readonly #names = new Set<string>();
  /** Names to be answered although the client has, or may have, what they stand for. */
  readonly #answers = new Set<string>();
  #wildcard = false;
  /** Name → version of what the client has. Null: it was given everything up to `#upsertsGiven`. */
  #held: Map<string, string> | null;
  /** Names of the resources that the names asked for came to, on demand. */
  #covered: ReadonlySet<string> = new Set();
  #upsertsGiven = 0;
  #removalsGiven = 0;
  /** What was found of what it holds, until the first response; then or on demand it is in `#held`. */
  #looked: HeldResources | null;
  /** What the client said it has and that is gone, where the first response was not to say so yet. */
  #leftovers: readonly string[] = [];
  #answered = false;
  #parts: ResponsePart[] = [];

  /** @param looked what was found of what its client says it holds; null when that is in `first`, or nothing. */
  constructor(
    set: ResourceSet,
    first: DeltaRequest,
    looked: HeldResources | null,
    implicit: readonly string[],
    limits: ResponseLimits,
  ) {
    this.#set = set;
    this.#limits = limits;
    this.#implicit = implicit;
    this.#held = new Map(Object.entries(first.initialResourceVersions));
    this.#looked = looked;
    // No names at all means all of them, in a first request alone.
    this.#wildcard = first.resourceNamesSubscribe.length === 0;
    this.update(first);
  }

  get wildcard(): boolean {
    return this.#wildcard;
  }

  get names(): ReadonlySet<string> {
    return this.#names;
  }

  /** Takes the names of a request; its nonce is not looked at here. */
  update({ resourceNamesSubscribe, resourceNamesUnsubscribe }: DeltaRequest): void {
    for (const name of resourceNamesSubscribe) {
      if (name === wildcardName) this.#toWildcard();
      else {
        this.#names.add(name);
        this.#answers.add(name);
      }
    }
    for (const name of resourceNamesUnsubscribe) {
      if (name === wildcardName) this.#toNames();
      else if (this.#names.delete(name)) this.#drop(name);
    }
  }

  /** Whether the client lacks resources that are there, or an answer. */
  get lacksUpserts(): boolean {
    if (!this.#answered || this.#answers.size > 0 || this.#parts.length > 0) return true;
    if (this.#held !== null) return this.#onDemandDifference() !== null;
    return this.#set.hasUpsertsSince(this.#upsertsGiven);
  }

  /** Whether it lacks anything, removals included. */
  get lacksAnything(): boolean {
    if (this.lacksUpserts || this.#leftovers.length > 0) return true;
    return this.#held === null && this.#set.hasRemovalsSince(this.#removalsGiven, this.#upsertsGiven);
  }

  /** Whether a response of several parts is under way. */
  get inParts(): boolean {
    return this.#parts.length > 0;
  }

  /**
   * The next response; what is in it counts as given, whatever the client then says of it, so that a refusal is never sent again.
   *
   * @throws TooFarBehind
   */
  next(portion: Portion): ResponsePart | null {
    if (this.#parts.length === 0) this.#parts = [...(this.#difference(portion) ?? [])];
    return this.#parts.shift() ?? null;
  }

  #toWildcard(): void {
    if (this.#wildcard) return;
    this.#wildcard = true;
    this.#answered = false;
  }

  #toNames(): void {
    if (!this.#wildcard) return;
    this.#wildcard = false;
    this.#answered = false;
    // The client may drop at once what it did not name; what it named is sent again.
    this.#held ??= new Map();
  }

  /** Whoever has everything and gives back a name may have dropped it, and still wants it: it is sent again (xDS protocol, "wildcard"). */
  #drop(name: string): void {
    this.#answers.delete(name);
    if (this.#wildcard) this.#answers.add(name);
    else this.#held?.delete(name);
  }

  #difference(portion: Portion): ResponseParts | null {
    const parts = this.#wildcard ? this.#wildcardDifference(portion) : this.#namesDifference();
    this.#answered = true;
    return parts;
  }

  #wildcardDifference(portion: Portion): ResponseParts | null {
    if (this.#held !== null) return this.#firstWildcard(this.#held, portion);
    const from = this.#upsertsGiven;
    const removalsFrom = this.#removalsGiven;
    const now = this.#set.revision;
    this.#upsertsGiven = now;
    if (portion === "everything") this.#removalsGiven = now;
    const make = (answers: ReadonlySet<string>) => this.#makeDifference(portion, from, removalsFrom, answers);
    if (this.#answers.size > 0) {
      const answers = new Set(this.#answers);
      this.#answers.clear();
      return make(answers);
    }
    if (this.#leftovers.length > 0 && portion === "everything") return make(new Set());
    if (from === now && removalsFrom === now) return null;
    return this.#set.share(`${portion} ${from} ${removalsFrom}`, () => make(new Set()));
  }

  #makeDifference(
    portion: Portion,
    from: number,
    removalsFrom: number,
    answers: ReadonlySet<string>,
  ): ResponseParts | null {
    const upserts = this.#known(this.#set.upsertsSince(from));
    const removed = portion === "upserts" ? [] : this.#takeRemovals(removalsFrom, from);
    if (upserts.length === 0 && removed.length === 0 && answers.size === 0) return null;
    return this.#split(new Map(upserts.map((each) => [each.name, each])), new Set(removed), answers, from);
  }

  #takeRemovals(from: number, given: number): readonly string[] {
    const gone = this.#leftovers.filter((name) => this.#set.get(name) === undefined);
    this.#leftovers = [];
    return [...gone, ...this.#known(this.#set.removalsSince(from, given))];
  }

  /** All but what the client says it has, in that version. */
  #firstWildcard(held: ReadonlyMap<string, string>, portion: Portion): ResponseParts {
    const answers = new Set(this.#answers);
    this.#answers.clear();
    this.#held = null;
    this.#upsertsGiven = this.#set.revision;
    this.#removalsGiven = this.#set.revision;
    const looked = this.#looked;
    this.#looked = null;
    const gone =
      looked === null
        ? [...held.keys()].filter((name) => this.#set.get(name) === undefined)
        : this.#known(looked.goneFrom(this.#set));
    if (portion === "upserts") this.#leftovers = gone;
    const make = () => {
      const lacks = looked?.lacksOf(this.#set) ?? lackedBy(held, this.#set);
      const upserts = new Map(lacks.map((each) => [each.name, each]));
      return this.#split(upserts, new Set(), answers, 0, portion === "upserts" ? [] : gone);
    };
    if (answers.size > 0) return make();
    // Those who were cut off together come back together.
    if (looked?.isAllOf(this.#set) === true) return this.#set.share("held", make) ?? make();
    // The first push of a new client is the same for all new clients, and the largest there is.
    if (looked !== null || held.size > 0) return make();
    return this.#set.share("first", make) ?? make();
  }

  #namesDifference(): ResponseParts | null {
    const looked = this.#looked;
    this.#looked = null;
    if (looked !== null) this.#held = looked.versions();
    const difference = this.#onDemandDifference();
    const before = this.#upsertsGiven;
    this.#upsertsGiven = this.#set.revision;
    this.#removalsGiven = this.#set.revision;
    if (difference === null && this.#answered && looked === null) return null;
    const answers = new Set(this.#answers);
    this.#answers.clear();
    const { upserts, removed } = difference ?? {
      upserts: new Map<string, AdsResource>(),
      removed: new Set<string>(),
    };
    const held = this.#held ?? new Map<string, string>();
    this.#held = held;
    for (const name of removed) held.delete(name);
    for (const { name, version } of upserts.values()) held.set(name, version);
    const gone = looked === null ? [] : this.#known(looked.goneFrom(this.#set));
    const others = gone.filter((name) => !removed.has(name));
    return this.#split(upserts, removed, answers, before, others);
  }

  /** @returns null when nothing changed of what was asked for. */
  #onDemandDifference(): {
    readonly upserts: Map<string, AdsResource>;
    readonly removed: Set<string>;
  } | null {
    if (this.#answered && this.#answers.size === 0 && !this.#isConcerned()) return null;
    const held = this.#held ?? new Map<string, string>();
    const wanted = new Map<string, AdsResource>();
    for (const name of [...this.#names, ...this.#implicit])
      for (const each of this.#set.lookup(name)) wanted.set(each.name, each);
    this.#covered = new Set(wanted.keys());
    const upserts = new Map([...wanted].filter(([name, { version }]) => held.get(name) !== version));
    const removed = new Set([...held.keys()].filter((name) => !wanted.has(name)));
    if (this.#answered && this.#answers.size === 0 && upserts.size === 0 && removed.size === 0) return null;
    return { upserts, removed };
  }

  /** Whether a change since the last response can matter to the names asked for. */
  #isConcerned(): boolean {
    if (this.#set.revision === this.#upsertsGiven) return false;
    const changed = this.#set.changedSince(this.#upsertsGiven);
    // Forgotten changes do no harm here: what the client has is known by name.
    if (changed === null) return true;
    const asked = (name: string) =>
      this.#names.has(name) || this.#covered.has(name) || this.#implicit.includes(name);
    for (const name of changed) {
      if (asked(name) || this.#held?.has(name) === true) return true;
      const resource = this.#set.get(name);
      if (resource?.aliases.some(asked) === true || resource?.groups.some(asked) === true) return true;
    }
    return false;
  }

  #split(
    upserts: Map<string, AdsResource>,
    removed: Set<string>,
    answers: ReadonlySet<string>,
    before: number,
    gone: readonly string[] = [],
  ): ResponseParts {
    for (const name of answers) {
      const found = this.#set.lookup(name);
      for (const each of found) upserts.set(each.name, each);
      // An absent name is called removed. So is one that stands for resources of other names: ztunnel lets go of a waiting lookup
      // only when it sees the very name it asked for (`notify_on_demand` of `src/xds/client.rs`), and takes that
      // removal for nothing.
      if (this.#set.get(name) === undefined) removed.add(name);
    }
    const { responseBytes, firstResponseBytes } = this.#limits;
    const maxBytes = this.#answered ? responseBytes : firstResponseBytes;
    const revisions = { before, after: this.#set.revision };
    const names = removed.size === 0 ? gone : [...removed, ...gone];
    const resources = [...upserts.values()];
    return splitIntoParts(this.#set.typeUrl, revisions, resources, names, { maxBytes, responseBytes });
  }

  #known<T>(value: T | null): T {
    if (value === null)
      throw new TooFarBehind(`more than ${adsLimits.maxRememberedChanges} changes behind; begin again`);
    return value;
  }
}

/** What of all that is there is not held in that version. */
function lackedBy(held: ReadonlyMap<string, string>, set: ResourceSet): AdsResource[] {
  return [...set.all()].filter(({ name, version }) => held.get(name) !== version);
}
