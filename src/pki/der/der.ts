/**
 * Strict DER (X.690 §10): definite minimal lengths, single-byte tags, minimal integers. Certificates come from
 * strangers before anything is known about them, so what is read here is read by one rule and never guessed.
 * Every error is a `MeshError` `certificate_malformed` with blame `peer`; a reader of a local file says so instead.
 */
import { MeshError } from "../../base/errors.ts";

export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  enumerated: 0x0a,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The tag `[number]` of a context-specific element, primitive or constructed. */
export function contextTag(number: number, constructed: boolean): number {
  return (constructed ? 0xa0 : 0x80) | number;
}

/** One element; its bytes are views, made when they are asked for, as most elements are passed over. */
export class DerElement {
  readonly tag: number;
  readonly #bytes: Uint8Array;
  readonly #start: number;
  readonly #contentStart: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, tag: number, start: number, contentStart: number, end: number) {
    this.tag = tag;
    this.#bytes = bytes;
    this.#start = start;
    this.#contentStart = contentStart;
    this.#end = end;
  }

  get content(): Uint8Array {
    return this.#bytes.subarray(this.#contentStart, this.#end);
  }

  /** Tag, length and content. */
  get whole(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#end);
  }
}

export function malformed(message: string): MeshError {
  return new MeshError("certificate_malformed", "peer", message);
}

/** Reads one element after the other. What it returns are views into the bytes it was given. */
export class DerReader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#offset === this.#bytes.length;
  }

  /** The tag of the next element; -1 at the end. */
  get nextTag(): number {
    return this.#bytes[this.#offset] ?? -1;
  }

  element(): DerElement {
    const start = this.#offset;
    const tag = this.#byte();
    // Tag numbers of 31 and above do not occur in the structures of RFC 5280.
    if ((tag & 0x1f) === 0x1f) throw malformed("DER tag of more than one byte");
    const length = this.#length();
    const contentStart = this.#offset;
    const end = contentStart + length;
    if (end > this.#bytes.length) throw malformed("DER element runs past the end");
    this.#offset = end;
    return new DerElement(this.#bytes, tag, start, contentStart, end);
  }

  /** The next element, which must have this tag. */
  expect(tag: number): DerElement {
    if (this.nextTag !== tag) throw malformed(`DER tag ${this.nextTag} where ${tag} was expected`);
    return this.element();
  }

  /** The content of the next element, which must have this tag. */
  content(tag: number): Uint8Array {
    return this.expect(tag).content;
  }

  /** A reader inside the next element, which must have this tag. */
  enter(tag: number): DerReader {
    return new DerReader(this.content(tag));
  }

  /** The content of the next element if it has this tag; null, and nothing read, otherwise. */
  optional(tag: number): Uint8Array | null {
    return this.nextTag === tag ? this.element().content : null;
  }

  /** States that nothing follows. */
  end(): void {
    if (!this.atEnd) throw malformed("DER element with trailing bytes");
  }

  #byte(): number {
    const byte = this.#bytes[this.#offset];
    if (byte === undefined) throw malformed("DER ends inside an element");
    this.#offset++;
    return byte;
  }

  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    // X.690 §10.1: the indefinite form (0x80) is not DER. Four bytes are more than any bound of ours.
    if (count === 0 || count > 4) throw malformed("DER length is indefinite or too long");
    let length = 0;
    for (let index = 0; index < count; index++) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 256 ** (count - 1)) throw malformed("DER length is not minimal");
    return length;
  }
}

/** The one element `bytes` consists of. */
export function readSingle(bytes: Uint8Array, tag: number): DerReader {
  const reader = new DerReader(bytes);
  const inner = reader.enter(tag);
  reader.end();
  return inner;
}
