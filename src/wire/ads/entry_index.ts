/**
 * Resources by the bytes of the entry with which a client says that it holds one in its version. All entries lie in one piece of memory: a look
 * for ten thousand of them is bound by memory, and an object for each would be fetched from a place of its own.
 */
import { stepsOf } from "../../base/turns/steps.ts";
import { nameTag, oneByte, twoBytes, versionTag } from "../messages/held_entries.ts";

/** How many of an entry's bytes, the last ones, are in its hash: a version that is a hash itself, or a short one and the end of a name. */
const hashedBytes = 32;
/** Beyond this many others with its hash a resource is left out, and found by its name: names that collide cost their author. */
const maxProbes = 16;

export class EntryIndex<T extends { readonly name: string; readonly version: string }> {
  readonly resources: readonly T[];
  /** Where each entry begins in `#bytes`, and behind them where the last one ends. */
  readonly #starts: Uint32Array;
  #bytes: Uint8Array<ArrayBuffer>;
  /** Open addressing: the place of a resource and one more, 0 for none. A power of two, at most half full. */
  readonly #table: Uint32Array;

  private constructor(resources: readonly T[]) {
    this.resources = resources;
    this.#starts = new Uint32Array(resources.length + 1);
    this.#bytes = new Uint8Array(resources.length * usualBytes);
    this.#table = new Uint32Array(2 << Math.ceil(Math.log2(Math.max(2, resources.length))));
  }

  static *of<T extends { readonly name: string; readonly version: string }>(
    resources: readonly T[],
  ): Generator<void, EntryIndex<T>> {
    const index = new EntryIndex(resources);
    yield* stepsOf(resources.length, (place) => index.#add(place));
    return index;
  }

  /** @returns the place among `resources`, or -1, which says nothing: it may be there all the same. */
  find(bytes: Uint8Array, from: number, to: number): number {
    const mask = this.#table.length - 1;
    let slot = hashOf(bytes, from, to) & mask;
    for (let probe = 0; probe < maxProbes; probe++, slot = (slot + 1) & mask) {
      const place = (this.#table[slot] ?? 0) - 1;
      if (place < 0 || this.#isAt(place, bytes, from, to)) return place;
    }
    return -1;
  }

  #add(place: number): void {
    const from = this.#starts[place] ?? 0;
    const to = this.#write(place, from);
    this.#starts[place + 1] = to;
    if (to === from) return;
    const mask = this.#table.length - 1;
    let slot = hashOf(this.#bytes, from, to) & mask;
    for (let probe = 0; probe < maxProbes; probe++, slot = (slot + 1) & mask) {
      if (this.#table[slot] !== 0) continue;
      this.#table[slot] = place + 1;
      return;
    }
  }

  /** As `plainEntry` has it. @returns where it ends: where it begins, for one that is longer than usual or not in ASCII. */
  #write(place: number, from: number): number {
    const { name = "", version = "" } = this.resources[place] ?? {};
    if (name.length >= twoBytes || version.length >= oneByte) return from;
    this.#makeRoom(from + name.length + version.length + 5);
    const bytes = this.#bytes;
    let at = from;
    bytes[at++] = nameTag;
    if (name.length >= oneByte) bytes[at++] = (name.length & 0x7f) | oneByte;
    bytes[at++] = name.length >= oneByte ? name.length >> 7 : name.length;
    if (!writeAscii(name, bytes, at)) return from;
    at += name.length;
    bytes[at++] = versionTag;
    bytes[at++] = version.length;
    return writeAscii(version, bytes, at) ? at + version.length : from;
  }

  #makeRoom(bytes: number): void {
    if (bytes <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(bytes, this.#bytes.length * 2));
    grown.set(this.#bytes);
    this.#bytes = grown;
  }

  #isAt(place: number, bytes: Uint8Array, from: number, to: number): boolean {
    const start = this.#starts[place] ?? 0;
    if ((this.#starts[place + 1] ?? 0) - start !== to - from) return false;
    const own = this.#bytes;
    for (let at = from, ownAt = start; at < to; at++, ownAt++) if (bytes[at] !== own[ownAt]) return false;
    return true;
  }
}

/** The first allocation for an entry; it grows where they are longer. */
const usualBytes = 96;

/** @returns whether it is ASCII; if not, what is there means nothing. */
function writeAscii(text: string, into: Uint8Array, at: number): boolean {
  let all = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    all |= code;
    into[at + i] = code;
  }
  return all < 0x80;
}

/** FNV-1a, folded so that its low bits have a part of all. */
function hashOf(bytes: Uint8Array, from: number, to: number): number {
  let hash = to - from;
  for (let at = Math.max(from, to - hashedBytes); at < to; at++)
    hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  return hash ^ (hash >>> 15);
}
