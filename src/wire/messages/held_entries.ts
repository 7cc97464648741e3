/**
 * What a client says it holds (`initial_resource_versions`) in the bytes that it came in: whoever comes back to a large mesh names all it
 * has, nearly all of it in the version that is there, and text made of it would be thrown away.
 */

/** One name and its version, decoded. */
export type HeldEntry = readonly [name: string, version: string];

export class HeldEntries {
  readonly #bytes: Uint8Array;
  readonly #bounds: Uint32Array;
  readonly #odd: ReadonlyMap<number, HeldEntry>;

  /**
   * @param bounds where entries begin and end in `bytes`, by turns: each is written as `plainEntry` says, and its text is UTF-8.
   * @param odd those of them that are written otherwise, by their place, read already.
   */
  constructor(bytes: Uint8Array, bounds: Uint32Array, odd: ReadonlyMap<number, HeldEntry> = new Map()) {
    this.#bytes = bytes;
    this.#bounds = bounds;
    this.#odd = odd;
  }

  get count(): number {
    return this.#bounds.length >> 1;
  }

  read(index: number): HeldEntry {
    const odd = this.#odd.get(index);
    if (odd !== undefined) return odd;
    const from = this.#bounds[index * 2] ?? 0;
    const to = this.#bounds[index * 2 + 1] ?? 0;
    const { nameAt, nameEnd } = plainEntry(this.#bytes, from, to) ?? empty;
    const text = (start: number, end: number) => utf8.decode(this.#bytes.subarray(start, end));
    return [text(nameAt, nameEnd), text(nameEnd + 2, to)];
  }

  /** @returns where an index has what the entry names in its version; -1 says nothing, `read` does. */
  findIn(index: { find(bytes: Uint8Array, from: number, to: number): number }, at: number): number {
    if (this.#odd.size > 0 && this.#odd.has(at)) return -1;
    return index.find(this.#bytes, this.#bounds[at * 2] ?? 0, this.#bounds[at * 2 + 1] ?? 0);
  }

  /** In their order: of two with one name the last counts, as in a map of Protocol Buffers. */
  *[Symbol.iterator](): Iterator<HeldEntry> {
    for (let index = 0; index < this.count; index++) yield this.read(index);
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
const empty = { nameAt: 0, nameEnd: 0 };

/** A tag's byte: its number, and that a length follows. */
export const nameTag = 0x0a;
export const versionTag = 0x12;
/** What one byte of length says, and two. */
export const oneByte = 0x80;
export const twoBytes = 0x4000;

/**
 * An entry as everybody writes it: name, then version, each with its length in as few bytes as it takes, and nothing else.
 *
 * @returns where its name is (the version begins two bytes behind it), null when it is written otherwise or is longer than usual.
 */
export function plainEntry(
  bytes: Uint8Array,
  from: number,
  to: number,
): { readonly nameAt: number; readonly nameEnd: number } | null {
  if (bytes[from] !== nameTag) return null;
  let length = bytes[from + 1] ?? 0;
  let nameAt = from + 2;
  if (length >= oneByte) {
    length = (length & 0x7f) | ((bytes[nameAt] ?? oneByte) << 7);
    if (length >= twoBytes || length < oneByte) return null;
    nameAt++;
  }
  const nameEnd = nameAt + length;
  if (nameEnd + 2 > to || bytes[nameEnd] !== versionTag) return null;
  const versionLength = bytes[nameEnd + 1] ?? 0;
  if (versionLength >= oneByte || nameEnd + 2 + versionLength !== to) return null;
  return { nameAt, nameEnd };
}
