import { assert } from "../../base/assert.ts";
import { defaultHeaderTableBytes } from "./decoder.ts";
import { huffmanEncode, huffmanLength } from "./huffman.ts";
import {
  DynamicTable,
  fieldOverheadBytes,
  type HpackEntry,
  staticTable,
  staticTableLength,
} from "./table.ts";

/** Never put in any table on the way (RFC 7541 §7.1.3): short secrets a dictionary attack could guess. */
const neverIndexed: ReadonlySet<string> = new Set([
  "authorization",
  "proxy-authorization",
  "cookie",
  "set-cookie",
  "x-api-key",
]);

/** Different on nearly every request: an entry would only push useful ones out. */
const notIndexed: ReadonlySet<string> = new Set([
  ":path",
  "age",
  "content-length",
  "content-range",
  "date",
  "etag",
  "expires",
  "forwarded",
  "grpc-timeout",
  "if-modified-since",
  "if-none-match",
  "last-modified",
  "location",
  "traceparent",
  "tracestate",
  "x-forwarded-for",
  "x-request-id",
]);

/** How many entries of a name are compared with a value: what repeats mostly does soon, and a table may be full of one name. */
const maxCompared = 16;
/** After so many values of a name in a row that were not in the table, those to come are neither looked for nor put there, */
const maxMisses = 16;
/** but one of so many: it may be another by now. */
const missesPerTry = 64;

/** What is known of a name that has an entry. */
interface NameUse {
  /** The number of its newest entry. */
  newest: number;
  /** Values since the last one that was found. */
  misses: number;
}

/** What is known of a name beforehand. */
interface NameFacts {
  /** Its first static index; 0 for none. */
  readonly index: number;
  /** The static index of each value that has one. */
  readonly values: ReadonlyMap<string, number>;
  readonly indexing: "always" | "not" | "never";
}

const nameFacts = factsOfNames();

const indexedField = 0x80;
const literalIndexed = 0x40;
const literalNotIndexed = 0x00;
const literalNeverIndexed = 0x10;
const tableSizeUpdate = 0x20;

/** Most bytes an integer of ours takes: lengths stay below 2^28. */
const integerBytes = 5;

/** Flat lists to header blocks (RFC 7541). One per connection and direction. */
export class HpackEncoder {
  readonly #huffman: boolean;
  /** The most we ever use, whatever the peer allows. */
  readonly #ownMaxTableBytes: number;
  readonly #table: DynamicTable;
  /** Of names with an entry. Made with the first insertion. */
  #uses: Map<string, NameUse> | null = null;
  /** By entry number modulo its length: the number of the entry before with the same name, or -1. */
  #previous: Int32Array = noNumbers;
  /** The lowest and the last table size set since the last block; both have to be told (RFC 7541 §4.2). */
  #lowestPending = -1;
  #lastPending = -1;

  constructor(options: { readonly maxTableBytes: number; readonly huffman: boolean }) {
    this.#huffman = options.huffman;
    this.#ownMaxTableBytes = options.maxTableBytes;
    this.#table = new DynamicTable(defaultHeaderTableBytes, (entry, number) => {
      if (this.#uses?.get(entry.name)?.newest === number) this.#uses.delete(entry.name);
    });
    if (options.maxTableBytes < defaultHeaderTableBytes) this.setPeerTableBytes(defaultHeaderTableBytes);
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE; takes effect with the next block. */
  setPeerTableBytes(peerBytes: number): void {
    const bytes = Math.min(peerBytes, this.#ownMaxTableBytes);
    if (this.#lastPending === -1 && bytes === this.#table.maxBytes) return;
    this.#lowestPending = this.#lowestPending === -1 ? bytes : Math.min(this.#lowestPending, bytes);
    this.#lastPending = bytes;
  }

  /** A bound for `encode`'s output, to reserve room by. */
  maxEncodedBytes(fields: readonly string[]): number {
    let bytes = 2 * (integerBytes + 1);
    for (const text of fields) bytes += text.length + integerBytes;
    return bytes + fields.length * integerBytes;
  }

  /**
   * Writes the block at `at`; `maxEncodedBytes` must be free.
   *
   * @returns the position after it.
   * @throws AssertionError when a name or value has NUL, CR, LF or a code unit above 0xff. The table may then be ahead
   *   of the peer's: the connection cannot go on.
   */
  encode(fields: readonly string[], target: Uint8Array, at: number): number {
    if (this.#lastPending !== -1) at = this.#writeSizeUpdates(target, at);
    for (let i = 0; i + 1 < fields.length; i += 2)
      at = this.#field(fields[i] ?? "", fields[i + 1] ?? "", target, at);
    return at;
  }

  #writeSizeUpdates(target: Uint8Array, at: number): number {
    if (this.#lowestPending < this.#lastPending) {
      this.#table.setMaxBytes(this.#lowestPending);
      at = writeInteger(this.#lowestPending, tableSizeUpdate, 0x1f, target, at);
    }
    this.#table.setMaxBytes(this.#lastPending);
    at = writeInteger(this.#lastPending, tableSizeUpdate, 0x1f, target, at);
    this.#lowestPending = -1;
    this.#lastPending = -1;
    return at;
  }

  #field(name: string, value: string, target: Uint8Array, at: number): number {
    const known = nameFacts.get(name);
    if (known !== undefined) {
      const index = known.values.get(value);
      if (index !== undefined) return writeInteger(index, indexedField, 0x7f, target, at);
      if (known.indexing !== "always") {
        const kind = known.indexing === "not" ? literalNotIndexed : literalNeverIndexed;
        return this.#literal(kind, 0x0f, known.index, name, value, target, at);
      }
    }
    const use = this.#uses?.get(name);
    const isOnce = use !== undefined && isOfOneUse(use);
    if (use !== undefined && !isOnce) {
      const index = this.#indexOf(value, use.newest);
      if (index !== -1) {
        use.misses = 0;
        return writeInteger(staticTableLength + 1 + index, indexedField, 0x7f, target, at);
      }
    }
    const ofEntry = use === undefined ? 0 : staticTableLength + this.#table.inserted - use.newest;
    const nameIndex = known?.index ?? ofEntry;
    if (isOnce || this.#isTooLarge(name, value)) {
      return this.#literal(literalNotIndexed, 0x0f, nameIndex, name, value, target, at);
    }
    at = this.#literal(literalIndexed, 0x3f, nameIndex, name, value, target, at);
    this.#insert({ name, value, wellFormed: true });
    return at;
  }

  /** @param newest the number of the name's newest entry. @returns the value's place, 0 the newest of all, or -1. */
  #indexOf(value: string, newest: number): number {
    let number = newest;
    for (let looks = 0; looks < maxCompared && number >= this.#table.evicted; looks++) {
      const index = this.#table.inserted - 1 - number;
      if (this.#table.at(index)?.value === value) return index;
      number = this.#previousOf(number);
    }
    return -1;
  }

  /** An entry of more than half the table would flush the rest for one field. */
  #isTooLarge(name: string, value: string): boolean {
    return (name.length + value.length + fieldOverheadBytes) * 2 > this.#table.maxBytes;
  }

  #previousOf(number: number): number {
    return this.#previous[number % this.#previous.length] ?? -1;
  }

  #insert(entry: HpackEntry): void {
    this.#uses ??= new Map();
    if (this.#previous.length === 0) {
      this.#previous = new Int32Array(Math.ceil(this.#ownMaxTableBytes / fieldOverheadBytes) + 1);
    }
    const number = this.#table.inserted;
    // Looked up before the insertion, whose evictions may take the older entry of this name out of the map.
    const use = this.#uses.get(entry.name) ?? { newest: -1, misses: 0 };
    const before = use.newest;
    if (!this.#table.insert(entry)) return;
    this.#previous[number % this.#previous.length] = before;
    use.newest = number;
    // The evictions may have taken it away, or it was not there.
    if (before < this.#table.evicted) this.#uses.set(entry.name, use);
  }

  #literal(
    kind: number,
    mask: number,
    nameIndex: number,
    name: string,
    value: string,
    target: Uint8Array,
    at: number,
  ): number {
    at = writeInteger(nameIndex, kind, mask, target, at);
    if (nameIndex === 0) at = this.#string(name, target, at);
    return this.#string(value, target, at);
  }

  #string(text: string, target: Uint8Array, at: number): number {
    if (this.#huffman) {
      const length = huffmanLength(text);
      if (length < text.length) {
        assertEncodable(text);
        return huffmanEncode(text, target, writeInteger(length, 0x80, 0x7f, target, at));
      }
    }
    at = writeInteger(text.length, 0, 0x7f, target, at);
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code < 0x0e || code > 0xff) assertEncodable(text);
      target[at++] = code;
    }
    return at;
  }
}

const noNumbers = new Int32Array(0);

/** Ids and deadlines have another value each time, by whatever name: in the table they push out what comes again. Counts the value as not found. */
function isOfOneUse(use: NameUse): boolean {
  use.misses++;
  return use.misses > maxMisses && use.misses % missesPerTry !== 0;
}

/** A line break in a field would be a second field to an HTTP/1 hop behind the peer (RFC 9113 §10.3). */
function assertEncodable(text: string): void {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    assert(
      code <= 0xff && code !== 0 && code !== 0x0a && code !== 0x0d,
      "header field with NUL, CR, LF or a code unit above 0xff",
    );
  }
}

/** RFC 7541 §5.1; `mask` is the prefix, all ones, and `kind` the bits above it. @returns the position after it. */
function writeInteger(value: number, kind: number, mask: number, target: Uint8Array, at: number): number {
  if (value < mask) {
    target[at++] = kind | value;
    return at;
  }
  target[at++] = kind | mask;
  let rest = value - mask;
  while (rest >= 0x80) {
    target[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  target[at++] = rest;
  return at;
}

function factsOfNames(): ReadonlyMap<string, NameFacts> {
  const names = new Map<string, NameFacts & { readonly values: Map<string, number> }>();
  const factsOf = (name: string, index: number) => {
    const indexing = neverIndexed.has(name) ? "never" : notIndexed.has(name) ? "not" : "always";
    const known = names.get(name) ?? { index, values: new Map<string, number>(), indexing };
    names.set(name, known);
    return known;
  };
  for (const [index, { name, value }] of staticTable.entries()) {
    if (index === 0) continue;
    const { values } = factsOf(name, index);
    // An empty value in the table stands for "name only", except that sending it as is would be right too.
    if (!values.has(value)) values.set(value, index);
  }
  for (const name of [...neverIndexed, ...notIndexed]) factsOf(name, 0);
  return names;
}
