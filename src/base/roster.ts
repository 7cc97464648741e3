/**
 * What is open now: an unordered set, whose members know their place in it. It stands where a `Set` would, for members that come and go by
 * the thousand: a `Set` or `Map` of the runtime is copied every so often, and its copies, once they are old, keep the members of then alive,
 * with all that hangs on them, until a collection of the whole heap.
 */

/** On one roster at a time. */
export interface Listed {
  /** For the roster alone; `notListed` on none. */
  rosterAt: number;
}

export const notListed = -1;

export class Roster<Member extends Listed> {
  readonly #members: Member[] = [];

  get size(): number {
    return this.#members.length;
  }

  /** Nothing happens to one that is on it. */
  add(member: Member): void {
    if (this.has(member)) return;
    member.rosterAt = this.#members.length;
    this.#members.push(member);
  }

  has(member: Member): boolean {
    return this.#members[member.rosterAt] === member;
  }

  /** The last one takes its place. @returns false when it was not on it. */
  delete(member: Member): boolean {
    if (!this.has(member)) return false;
    const last = this.#members.pop();
    if (last !== undefined && last !== member) {
      this.#members[member.rosterAt] = last;
      last.rosterAt = member.rosterAt;
    }
    member.rosterAt = notListed;
    return true;
  }

  /** In no order. To go through while members come or go, take a copy: `[...roster]`. */
  [Symbol.iterator](): IterableIterator<Member> {
    return this.#members.values();
  }
}
