/** What rules look at in a request's head, found once for each request. */
import type { Fields, RequestHead } from "../exchange.ts";

export class HeadView {
  readonly head: RequestHead;
  /** Without query and fragment. */
  readonly path: string;
  readonly #queryAt: number;

  constructor(head: RequestHead) {
    this.head = head;
    const end = pathEnd(head.path);
    this.path = end === head.path.length ? head.path : head.path.slice(0, end);
    this.#queryAt = head.path[end] === "?" ? end + 1 : -1;
  }

  /** All values of a field, joined as a list; null when it is absent. Names with a colon are those of HTTP/2. */
  header(name: string): string | null {
    return name.startsWith(":") ? this.#pseudo(name) : joinedField(this.head.fields, name);
  }

  /** The first parameter of that name, as it is written: Envoy does not decode it either. Null when there is none. */
  query(name: string): string | null {
    if (this.#queryAt === -1) return null;
    const text = this.head.path;
    const hash = text.indexOf("#", this.#queryAt);
    const end = hash === -1 ? text.length : hash;
    for (let at = this.#queryAt; at <= end; ) {
      const next = text.indexOf("&", at);
      const stop = next === -1 || next > end ? end : next;
      const equals = text.indexOf("=", at);
      const nameEnd = equals === -1 || equals > stop ? stop : equals;
      if (nameEnd - at === name.length && text.startsWith(name, at))
        return nameEnd === stop ? "" : text.slice(nameEnd + 1, stop);
      at = stop + 1;
    }
    return null;
  }

  #pseudo(name: string): string | null {
    const { head } = this;
    if (name === ":path") return head.path;
    if (name === ":method") return head.method;
    if (name === ":authority") return head.authority;
    return name === ":scheme" ? head.scheme : null;
  }
}

/** Where the path of a request's target ends. */
export function pathEnd(target: string): number {
  for (let i = 0; i < target.length; i++) {
    const char = target.charCodeAt(i);
    if (char === 0x3f || char === 0x23) return i;
  }
  return target.length;
}

/** RFC 9110 §5.3: several lines of one field are one list. */
export function joinedField(fields: Fields, name: string): string | null {
  let value: string | null = null;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] !== name) continue;
    const one = fields[i + 1] ?? "";
    value = value === null ? one : `${value},${one}`;
  }
  return value;
}
