/**
 * JSON.parse in slices: a body of many mebibytes is read while connections have their turn. The same text gives the same value; nesting and
 * the number of values have bounds, since those cost more than the bytes that they are written with.
 */
import { controlAdminLimits } from "../../base/limits/control.ts";

/** @throws SyntaxError as JSON.parse; RangeError past a bound. */
export function* parseJsonInSteps(text: string): Generator<void, unknown> {
  // Short texts take no time, whatever is in them.
  if (text.length <= sliceChars) return JSON.parse(text);
  const reader = new JsonReader(text);
  const value = yield* reader.value(0);
  reader.end();
  return value;
}

/** JSON.parse of so much takes well below a millisecond. */
const sliceChars = 64 * 1024;
const valuesPerStep = 1_000;

class JsonReader {
  readonly #text: string;
  #at = 0;
  #values = 0;

  constructor(text: string) {
    this.#text = text;
  }

  *value(depth: number): Generator<void, unknown> {
    if (++this.#values % valuesPerStep === 0) yield;
    if (this.#values > controlAdminLimits.maxJsonValues)
      throw new RangeError(`the body has more than ${controlAdminLimits.maxJsonValues} values`);
    if (depth > controlAdminLimits.maxJsonDepth)
      throw new RangeError(`the body is nested more than ${controlAdminLimits.maxJsonDepth} deep`);
    switch (this.#peek()) {
      case "{":
        return yield* this.#object(depth);
      case "[":
        return yield* this.#array(depth);
      case '"':
        return yield* this.#string();
      default:
        return this.#word();
    }
  }

  /** @throws SyntaxError when there is more. */
  end(): void {
    if (this.#peek() !== "") this.#fail();
  }

  *#object(depth: number): Generator<void, unknown> {
    const fields = new Map<string, unknown>();
    this.#at++;
    while (this.#peek() !== "}") {
      if (fields.size > 0 && !this.#take(",")) this.#fail();
      if (this.#peek() !== '"') this.#fail();
      const name = yield* this.#string();
      if (!this.#take(":")) this.#fail();
      fields.set(name, yield* this.value(depth + 1));
    }
    this.#at++;
    // Makes own fields of all names, `__proto__` too.
    return Object.fromEntries(fields);
  }

  *#array(depth: number): Generator<void, unknown> {
    const items: unknown[] = [];
    this.#at++;
    while (this.#peek() !== "]") {
      if (items.length > 0 && !this.#take(",")) this.#fail();
      items.push(yield* this.value(depth + 1));
    }
    this.#at++;
    return items;
  }

  /** In pieces that end before a quote or between two escapes. */
  *#string(): Generator<void, string> {
    const text = this.#text;
    let from = this.#at + 1;
    let at = from;
    const pieces: string[] = [];
    for (;;) {
      plain.lastIndex = at;
      plain.test(text);
      at = Math.max(at, plain.lastIndex);
      const isEnd = text[at] === '"';
      if (at >= text.length) this.#fail();
      if (isEnd || at - from >= sliceChars) {
        pieces.push(JSON.parse(`"${text.slice(from, at)}"`) as string);
        from = at;
        if (isEnd) break;
        yield;
      }
      // An escape: its first two characters; what follows in \\u is plain, and JSON.parse checks it with the piece.
      if (text[at] === "\\") at += text[at + 1] === "u" ? 6 : 2;
    }
    this.#at = at + 1;
    return pieces.length === 1 ? (pieces[0] ?? "") : pieces.join("");
  }

  #word(): unknown {
    wordPattern.lastIndex = this.#at;
    const [word] = wordPattern.exec(this.#text) ?? this.#fail();
    this.#at += word.length;
    return JSON.parse(word);
  }

  #take(sign: string): boolean {
    if (this.#peek() !== sign) return false;
    this.#at++;
    return true;
  }

  /** The next sign that is no blank (RFC 8259 §2); "" at the end. */
  #peek(): string {
    blank.lastIndex = this.#at;
    blank.test(this.#text);
    this.#at = Math.max(this.#at, blank.lastIndex);
    return this.#text[this.#at] ?? "";
  }

  #fail(): never {
    throw new SyntaxError(`the body is not JSON at character ${this.#at}`);
  }
}

/** At most so many at one time, so that a long string is cut. */
const plain = /[^"\\]{0,65536}/y;
const wordPattern = /[-+.0-9A-Za-z]{1,400}/y;
const blank = /[ \t\r\n]*/y;
