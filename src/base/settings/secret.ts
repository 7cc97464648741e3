/** A word that is not to be seen: it survives neither JSON nor a template string, so that no dump and no log line shows it by accident. */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The word itself, for the one place that needs it. */
  reveal(): string {
    return this.#text;
  }

  toJSON(): string {
    return "(hidden)";
  }

  toString(): string {
    return "(hidden)";
  }
}
