import { huffmanDecode } from "./huffman.ts";
import { isWellFormedName, isWellFormedValue, KnownStrings, latin1String } from "./string.ts";
import {
  DynamicTable,
  fieldOverheadBytes,
  type HpackEntry,
  staticTable,
  staticTableLength,
} from "./table.ts";

/** Sent and expected before any SETTINGS (RFC 9113 §6.5.2). */
export const defaultHeaderTableBytes = 4096;
/** An index or a length above this is an attack or damage; it also keeps the arithmetic within 32 bits. */
const maxInteger = 0x0fffffff;

/**
 * Header blocks to flat lists (RFC 7541). One per connection and direction, because the dynamic table is shared by all
 * blocks. After `decode` returned an error the connection cannot go on (RFC 9113 §4.3).
 */
export class HpackDecoder {
  readonly #table = new DynamicTable(defaultHeaderTableBytes);
  /** The largest table the encoder may use: what our acknowledged SETTINGS say. */
  #allowedTableBytes = defaultHeaderTableBytes;
  /** We lowered the limit below the table in use, so the next block has to begin with a size update (RFC 7541 §4.2). */
  #updateRequired = false;

  #source: Uint8Array = empty;
  #at = 0;
  #end = 0;
  #error: string | null = null;
  #fields: string[] = [];
  #maxListBytes = 0;
  /** Where Huffman output goes; grows to the longest string seen, within the header block limit. */
  #scratch: Uint8Array = empty;
  #stringWellFormed = true;
  /** None but well-formed ones. */
  readonly #knownNames = new KnownStrings();
  readonly #knownValues = new KnownStrings();

  /** The size of the list in the RFC's count (name + value + 32 each), also of what was left out of an overlong one. */
  listBytes = 0;
  /** Whether any field breaks RFC 9113 §8.2.1; the request is malformed then. */
  malformed = false;

  setAllowedTableBytes(bytes: number): void {
    this.#allowedTableBytes = bytes;
    if (this.#table.maxBytes > bytes) this.#updateRequired = true;
  }

  /**
   * @param maxListBytes fields beyond it are decoded, for the table's sake, and left out; `listBytes` tells.
   * @returns flat names and values, or what is wrong (COMPRESSION_ERROR).
   */
  decode(source: Uint8Array, from: number, to: number, maxListBytes: number): string[] | HpackError {
    this.#source = source;
    this.#at = from;
    this.#end = to;
    this.#error = null;
    this.#maxListBytes = maxListBytes;
    this.#fields = [];
    this.listBytes = 0;
    this.malformed = false;
    this.#sizeUpdates();
    while (this.#at < this.#end && this.#error === null) this.#field();
    this.#source = empty;
    return this.#error === null ? this.#fields : { compressionError: this.#error };
  }

  /** Only at the start of a block (RFC 7541 §4.2); two at the most make sense. */
  #sizeUpdates(): void {
    let count = 0;
    while (this.#at < this.#end && ((this.#source[this.#at] ?? 0) & 0xe0) === 0x20) {
      const bytes = this.#integer(0x1f);
      if (this.#error !== null) return;
      if (bytes > this.#allowedTableBytes) {
        this.#fail("table size update above the limit");
        return;
      }
      if (++count > 2) {
        this.#fail("too many table size updates");
        return;
      }
      this.#table.setMaxBytes(bytes);
      this.#updateRequired = false;
    }
    if (this.#updateRequired && this.#at < this.#end) this.#fail("table size update missing");
  }

  #field(): void {
    const first = this.#source[this.#at] ?? 0;
    if (first & 0x80) {
      const entry = this.#entry(this.#integer(0x7f));
      if (entry !== null) this.#emit(entry.name, entry.value, entry.wellFormed);
    } else if (first & 0x40) this.#literal(0x3f, true);
    else if (first & 0x20) this.#fail("table size update inside a block");
    else this.#literal(0x0f, false);
  }

  #literal(prefix: number, index: boolean): void {
    const nameIndex = this.#integer(prefix);
    if (this.#error !== null) return;
    let name: string;
    let wellFormed: boolean;
    if (nameIndex === 0) {
      name = this.#string(true);
      wellFormed = this.#stringWellFormed;
    } else {
      const entry = this.#entry(nameIndex);
      if (entry === null) return;
      name = entry.name;
      // An entry may be malformed for its value alone; then its name is judged again.
      wellFormed = entry.wellFormed || nameIsWellFormed(name);
    }
    if (this.#error !== null) return;
    const value = this.#string(false);
    if (this.#error !== null) return;
    wellFormed = wellFormed && this.#stringWellFormed;
    if (index) this.#table.insert({ name, value, wellFormed });
    this.#emit(name, value, wellFormed);
  }

  #emit(name: string, value: string, wellFormed: boolean): void {
    this.listBytes += name.length + value.length + fieldOverheadBytes;
    if (!wellFormed) this.malformed = true;
    if (this.listBytes <= this.#maxListBytes) this.#fields.push(name, value);
  }

  #entry(index: number): HpackEntry | null {
    if (this.#error !== null) return null;
    const entry =
      index <= staticTableLength ? staticTable[index] : this.#table.at(index - staticTableLength - 1);
    if (index === 0 || entry === undefined) {
      this.#fail(`index ${index} is in no table`);
      return null;
    }
    return entry;
  }

  /** RFC 7541 §5.1; `mask` is the prefix, all ones. */
  #integer(mask: number): number {
    const first = (this.#source[this.#at++] ?? 0) & mask;
    if (first < mask) return first;
    let value = mask;
    for (let shift = 0; ; shift += 7) {
      if (this.#at >= this.#end) return this.#failInteger("truncated integer");
      const byte = this.#source[this.#at++] ?? 0;
      // Four more bytes reach 2^28; leading zeros would make the length unbounded.
      if (shift > 21) return this.#failInteger("integer too long");
      value += (byte & 0x7f) << shift;
      if (value > maxInteger) return this.#failInteger("integer too large");
      if ((byte & 0x80) === 0) return value;
    }
  }

  /** RFC 7541 §5.2. Sets `#stringWellFormed`. */
  #string(isName: boolean): string {
    if (this.#at >= this.#end) return this.#failString("truncated string");
    const huffman = ((this.#source[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#integer(0x7f);
    if (this.#error !== null) return "";
    const from = this.#at;
    const to = from + length;
    if (to > this.#end) return this.#failString("truncated string");
    this.#at = to;
    if (!huffman) return this.#text(this.#source, from, to, isName);
    // The shortest code has five bits.
    const room = Math.ceil((length * 8) / 5);
    if (this.#scratch.length < room) this.#scratch = new Uint8Array(Math.max(room, 64));
    const decoded = huffmanDecode(this.#source, from, to, this.#scratch);
    if (decoded < 0) return this.#failString("bad Huffman code");
    return this.#text(this.#scratch, 0, decoded, isName);
  }

  #text(bytes: Uint8Array, from: number, to: number, isName: boolean): string {
    const known = isName ? this.#knownNames : this.#knownValues;
    const text = known.find(bytes, from, to);
    this.#stringWellFormed = true;
    if (text !== null) return text;
    this.#stringWellFormed = isName ? isWellFormedName(bytes, from, to) : isWellFormedValue(bytes, from, to);
    const made = latin1String(bytes, from, to);
    if (this.#stringWellFormed) known.keep(made, bytes, from, to);
    return made;
  }

  #fail(message: string): void {
    this.#error ??= message;
  }

  #failInteger(message: string): number {
    this.#fail(message);
    return 0;
  }

  #failString(message: string): string {
    this.#fail(message);
    return "";
  }
}

/** The block cannot be decoded; the dynamic table is lost with it. */
export interface HpackError {
  readonly compressionError: string;
}

const empty = new Uint8Array(0);

function nameIsWellFormed(name: string): boolean {
  const bytes = new Uint8Array(name.length);
  for (let i = 0; i < name.length; i++) bytes[i] = name.charCodeAt(i);
  return isWellFormedName(bytes, 0, bytes.length);
}
