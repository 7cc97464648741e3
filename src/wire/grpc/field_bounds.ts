/**
 * How often a field may be in a message, looked at before the message is decoded: a decoder makes an object of each, all in one turn of
 * the event loop, and 16 MiB of names are half a million of them.
 */
import { type DescField, type DescMessage, ScalarType } from "@bufbuild/protobuf";

/** Field number → how often it may be there, at the top of the message, and what is said when it is there more often. */
export type FieldBounds = Readonly<Record<number, FieldBound>>;

interface FieldBound {
  readonly most: number;
  readonly refusal: string;
  /** Of a map: its entries are looked at as well, because the decoder is one that does not (see `checkMessage`). */
  readonly entries?: true;
}

/**
 * Looks through a message before it is decoded: `many` when it holds more fields than `most`, messages within it and entries of maps counted,
 * since of a few bytes each a decoder makes an object; `malformed` when a field is not written as its type is. A decoder that does not look
 * at that (@bufbuild/protobuf 2 does not) would take what is in such a field for fields beside it.
 *
 * @param apart fields at its top that have a bound of their own. @returns null when it may be decoded; the number of the first of `apart`
 *   that is there more often than it may be.
 */
export function checkMessage(
  schema: DescMessage,
  bytes: Uint8Array,
  most: number,
  apart: FieldBounds = {},
): "many" | "malformed" | number | null {
  const budget: Budget = { left: most, isMalformed: false, beyond: null };
  spend(schema, bytes, budget, apart, 0);
  if (budget.isMalformed) return "malformed";
  return budget.beyond ?? (budget.left < 0 ? "many" : null);
}

interface Budget {
  left: number;
  isMalformed: boolean;
  beyond: number | null;
}

function spend(
  schema: DescMessage,
  bytes: Uint8Array,
  budget: Budget,
  apart: FieldBounds,
  depth: number,
): void {
  const known = fieldsOf(schema);
  const reader = new FieldReader(bytes);
  const counts = new Map<number, number>();
  while (budget.left >= 0 && !budget.isMalformed && reader.next()) {
    const field = known.get(reader.field);
    // A decoder skips what it does not know without a look at where it ends, and reads on in what is behind this message. A group it skips
    // with all that is in it, which would be looked at here as if it were outside: no message of ours has one.
    if (!reader.isPlain || (field !== undefined && !isWrittenAs(field, reader.wireType)))
      budget.isMalformed = true;
    const bound = apart[reader.field];
    if (bound !== undefined) {
      const count = (counts.get(reader.field) ?? 0) + 1;
      counts.set(reader.field, count);
      if (count <= bound.most) {
        if (bound.entries === true && field?.fieldKind === "map" && reader.wireType === lengthDelimited)
          budget.isMalformed ||= isMalformedEntry(field, bytes.subarray(reader.valueAt, reader.at), depth);
        continue;
      }
      budget.beyond = reader.field;
      return;
    }
    budget.left--;
    if (field === undefined || reader.wireType !== lengthDelimited) continue;
    const value = bytes.subarray(reader.valueAt, reader.at);
    // Deeper than any message of ours is, and than a stack is safe.
    if (depth >= maxDepth) budget.isMalformed = true;
    else if (field.fieldKind === "map") spendEntry(field, value, budget, depth + 1);
    else if (field.message !== undefined) spend(field.message, value, budget, {}, depth + 1);
    // Numbers in a row are one field, and as many values as it has bytes at the most.
    else if (field.fieldKind === "list" && scalarWireType(field) !== lengthDelimited)
      budget.left -= value.length;
  }
}

function isMalformedEntry(
  field: DescField & { fieldKind: "map" },
  entry: Uint8Array,
  depth: number,
): boolean {
  const budget: Budget = { left: entry.length, isMalformed: false, beyond: null };
  spendEntry(field, entry, budget, depth + 1);
  return budget.isMalformed;
}

/** A map's entry is a message of its own: field 1 is the key, field 2 the value. */
function spendEntry(
  field: DescField & { fieldKind: "map" },
  entry: Uint8Array,
  budget: Budget,
  depth: number,
): void {
  const reader = new FieldReader(entry);
  while (budget.left >= 0 && !budget.isMalformed && reader.next()) {
    budget.left--;
    if (!reader.isPlain) budget.isMalformed = true;
    else if (reader.field === 1) budget.isMalformed = reader.wireType !== wireTypes[field.mapKey];
    if (reader.field !== 2) continue;
    const wanted = field.message === undefined ? scalarWireType(field) : lengthDelimited;
    if (reader.wireType !== wanted) budget.isMalformed = true;
    else if (field.message !== undefined)
      spend(field.message, entry.subarray(reader.valueAt, reader.at), budget, {}, depth);
  }
}

function isWrittenAs(field: DescField, wireType: number): boolean {
  if (field.fieldKind === "map" || field.message !== undefined) return wireType === lengthDelimited;
  const own = scalarWireType(field);
  return wireType === own || (field.fieldKind === "list" && wireType === lengthDelimited);
}

/** Of a field, an item or a map's value that is no message. */
function scalarWireType(field: DescField): number {
  return field.scalar === undefined ? 0 : wireTypes[field.scalar];
}

/** https://protobuf.dev/programming-guides/encoding/#structure */
const wireTypes: Readonly<Record<ScalarType, number>> = {
  [ScalarType.DOUBLE]: 1,
  [ScalarType.FLOAT]: 5,
  [ScalarType.INT64]: 0,
  [ScalarType.UINT64]: 0,
  [ScalarType.INT32]: 0,
  [ScalarType.FIXED64]: 1,
  [ScalarType.FIXED32]: 5,
  [ScalarType.BOOL]: 0,
  [ScalarType.STRING]: 2,
  [ScalarType.BYTES]: 2,
  [ScalarType.UINT32]: 0,
  [ScalarType.SFIXED32]: 5,
  [ScalarType.SFIXED64]: 1,
  [ScalarType.SINT32]: 0,
  [ScalarType.SINT64]: 0,
};

function fieldsOf(schema: DescMessage): ReadonlyMap<number, DescField> {
  const known = fieldsBySchema.get(schema);
  if (known !== undefined) return known;
  const fields = new Map(schema.fields.map((field) => [field.number, field]));
  fieldsBySchema.set(schema, fields);
  return fields;
}

const fieldsBySchema = new WeakMap<DescMessage, ReadonlyMap<number, DescField>>();
const maxDepth = 64;
const lengthDelimited = 2;

const wireTypesOfFields: ReadonlySet<number> = new Set([0, 1, lengthDelimited, 5]);

/** Numbers of five bytes may have more of them that say nothing, up to ten, as a decoder takes them. */
const maxVarintBytes = 10;
/** A tag has 32 bits, and may be written in no more bytes than those need. */
const maxTagBytes = 5;

/** The fields at the top of a message, one after the other, nothing decoded. What is no message ends it, or is skipped to its end. */
export class FieldReader {
  readonly #bytes: Uint8Array;
  /** Behind the field that was read last. */
  at = 0;
  /** Where that begins with its tag, and its value. */
  from = 0;
  valueAt = 0;
  field = 0;
  wireType = 0;
  #isOverlong = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** @returns whether there is one. */
  next(): boolean {
    const bytes = this.#bytes;
    if (this.at >= bytes.length) return false;
    this.from = this.at;
    const tag = this.#readUint32();
    this.#isOverlong ||= this.at - this.from > maxTagBytes;
    this.field = tag >>> 3;
    this.wireType = tag & 7;
    let at = this.at;
    this.valueAt = at;
    switch (this.wireType) {
      case 0:
        while (((bytes[at++] ?? 0) & 0x80) !== 0);
        break;
      case 1:
        at += 8;
        break;
      case lengthDelimited: {
        const length = this.#readUint32();
        this.valueAt = this.at;
        at = this.at + length;
        break;
      }
      case 5:
        at += 4;
        break;
      // Groups: what is in one is looked at as if it were outside, so that nothing behind their start is passed over.
      default:
    }
    this.at = at;
    return true;
  }

  /** Its lower 32 bits, as a decoder takes them. */
  #readUint32(): number {
    let value = 0;
    for (let count = 0; count < maxVarintBytes; count++) {
      const byte = this.#bytes[this.at++] ?? 0;
      if (count < 5) value |= (byte & 0x7f) << (7 * count);
      if ((byte & 0x80) === 0) return value >>> 0;
    }
    this.#isOverlong = true;
    return value >>> 0;
  }

  /**
   * Whether the field that was read last is whole, has a number, is written in no more bytes than it may be, and is no part of a group,
   * which only fields of old have.
   */
  get isPlain(): boolean {
    return this.isWhole && !this.#isOverlong && this.field !== 0 && wireTypesOfFields.has(this.wireType);
  }

  /** Whether the bytes end with the field that was read last, and not within it. */
  get isWhole(): boolean {
    return this.at <= this.#bytes.length;
  }
}
