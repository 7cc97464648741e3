/** What calls may cost, counted where they share it: per connection, and for the whole server above it. */
export interface CallLoadLimits {
  /** Bytes of requests that are not whole yet. */
  readonly maxAssembledBytes: number;
  /** Handlers that run, those of calls that are gone included: a peer that resets its calls does not get more of them. */
  readonly maxHandlers: number;
}

export class CallLoad {
  readonly #limits: CallLoadLimits;
  readonly #above: CallLoad | null;
  #assembledBytes = 0;
  #handlers = 0;

  constructor(limits: CallLoadLimits, above: CallLoad | null = null) {
    this.#limits = limits;
    this.#above = above;
  }

  get assembledBytes(): number {
    return this.#assembledBytes;
  }

  get handlers(): number {
    return this.#handlers;
  }

  /** Adds what came, or takes away what went (negative). @returns false, and nothing is added, when it would be too much. */
  assemble(bytes: number): boolean {
    if (bytes > 0 && this.#assembledBytes + bytes > this.#limits.maxAssembledBytes) return false;
    if (this.#above !== null && !this.#above.assemble(bytes)) return false;
    this.#assembledBytes += bytes;
    return true;
  }

  /** @returns false when too many run; otherwise `handlerEnded` is to be called once. */
  handlerStarts(): boolean {
    if (this.#handlers >= this.#limits.maxHandlers) return false;
    if (this.#above !== null && !this.#above.handlerStarts()) return false;
    this.#handlers++;
    return true;
  }

  handlerEnded(): void {
    this.#handlers--;
    this.#above?.handlerEnded();
  }
}
