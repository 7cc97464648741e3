/** Header fields as HPACK sees them, the static table (RFC 7541 Appendix A) and the dynamic table (§2.3.2, §4). */

export interface HpackEntry {
  readonly name: string;
  readonly value: string;
  /** Name and value keep RFC 9113 §8.2.1; found out once, when the bytes were read. */
  readonly wellFormed: boolean;
}

/** What a field costs in a table and in a header list (RFC 7541 §4.1, RFC 9113 §6.5.2). */
export const fieldOverheadBytes = 32;

// biome-ignore format: a table
const staticFields: readonly (readonly [name: string, value: string])[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""],
];

/** Index 1 is the first entry; index 0 is not used (RFC 7541 §2.3.1). */
export const staticTable: readonly HpackEntry[] = [
  { name: "", value: "", wellFormed: false },
  ...staticFields.map(([name, value]) => ({ name, value, wellFormed: true })),
];

export const staticTableLength = staticFields.length;

/**
 * First in, first out, bounded by bytes. Entries are numbered for ever from 0; the newest is `inserted - 1` and has
 * HPACK index 62. Nothing is allocated before the first insertion.
 */
export class DynamicTable {
  #ring: (HpackEntry | undefined)[] = [];
  #inserted = 0;
  #evicted = 0;
  #sizeBytes = 0;
  #maxBytes: number;
  readonly #onEvict: ((entry: HpackEntry, number: number) => void) | null;

  constructor(maxBytes: number, onEvict: ((entry: HpackEntry, number: number) => void) | null = null) {
    this.#maxBytes = maxBytes;
    this.#onEvict = onEvict;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get maxBytes(): number {
    return this.#maxBytes;
  }

  /** The number the next entry will get. */
  get inserted(): number {
    return this.#inserted;
  }

  /** Entries with a smaller number are gone. */
  get evicted(): number {
    return this.#evicted;
  }

  setMaxBytes(maxBytes: number): void {
    this.#maxBytes = maxBytes;
    this.#evictTo(maxBytes);
  }

  /** `index` counts from 0, the newest. */
  at(index: number): HpackEntry | undefined {
    const number = this.#inserted - 1 - index;
    if (number < this.#evicted) return undefined;
    return this.#ring[number & (this.#ring.length - 1)];
  }

  /** An entry larger than the table empties it, which is not an error (RFC 7541 §4.4). @returns whether it is in the table now. */
  insert(entry: HpackEntry): boolean {
    const bytes = entryBytes(entry);
    this.#evictTo(this.#maxBytes - bytes);
    if (bytes > this.#maxBytes) return false;
    if (this.#inserted - this.#evicted === this.#ring.length) this.#grow();
    this.#ring[this.#inserted & (this.#ring.length - 1)] = entry;
    this.#inserted++;
    this.#sizeBytes += bytes;
    return true;
  }

  #evictTo(bytes: number): void {
    while (this.#sizeBytes > bytes && this.#evicted < this.#inserted) {
      const slot = this.#evicted & (this.#ring.length - 1);
      const entry = this.#ring[slot];
      this.#ring[slot] = undefined;
      if (entry !== undefined) {
        this.#sizeBytes -= entryBytes(entry);
        this.#onEvict?.(entry, this.#evicted);
      }
      this.#evicted++;
    }
  }

  /** To the next power of two, so that a number is found by a mask. */
  #grow(): void {
    const length = Math.max(8, this.#ring.length * 2);
    const ring = new Array<HpackEntry | undefined>(length).fill(undefined);
    for (let number = this.#evicted; number < this.#inserted; number++) {
      ring[number & (length - 1)] = this.#ring[number & (this.#ring.length - 1)];
    }
    this.#ring = ring;
  }
}

function entryBytes(entry: HpackEntry): number {
  return entry.name.length + entry.value.length + fieldOverheadBytes;
}
