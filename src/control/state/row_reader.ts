/** A row of the database as typed values. The file is not believed: what does not fit is damage, not a guess. */
import { MeshError } from "../../base/errors.ts";
import type { SqlRow, SqlValue } from "../../host/database.ts";

export class RowReader {
  readonly #table: string;
  readonly #row: SqlRow;

  constructor(table: string, row: SqlRow) {
    this.#table = table;
    this.#row = row;
  }

  text(column: string): string {
    const value = this.#row[column];
    return typeof value === "string" ? value : this.#fail(column, "text");
  }

  textOrNull(column: string): string | null {
    return this.#row[column] === null ? null : this.text(column);
  }

  integer(column: string): number {
    const value = this.#row[column];
    return typeof value === "number" && Number.isSafeInteger(value)
      ? value
      : this.#fail(column, "a whole number");
  }

  integerOrNull(column: string): number | null {
    return this.#row[column] === null ? null : this.integer(column);
  }

  flag(column: string): boolean {
    const value = this.#row[column];
    return value === 0 || value === 1 ? value === 1 : this.#fail(column, "0 or 1");
  }

  /** @param length exact, in bytes; any when left out. */
  bytes(column: string, length?: number): Uint8Array {
    const value = this.#row[column];
    if (!(value instanceof Uint8Array)) return this.#fail(column, "bytes");
    return length === undefined || value.length === length ? value : this.#fail(column, `${length} bytes`);
  }

  bytesOrNull(column: string): Uint8Array | null {
    return this.#row[column] === null ? null : this.bytes(column);
  }

  oneOf<const T extends string>(column: string, words: readonly T[]): T {
    const value = this.text(column);
    return words.find((word) => word === value) ?? this.#fail(column, words.join(" or "));
  }

  /** A JSON array of strings. */
  texts(column: string): readonly string[] {
    const value = this.#json(column);
    return Array.isArray(value) && value.every((item) => typeof item === "string")
      ? value
      : this.#fail(column, "a list of texts");
  }

  /** A JSON object whose values are strings. */
  textMap(column: string): Readonly<Record<string, string>> {
    const value = this.#json(column);
    if (typeof value !== "object" || value === null || Array.isArray(value))
      return this.#fail(column, "named texts");
    const entries = Object.entries(value).map(([name, text]): [string, string] => [
      name,
      typeof text === "string" ? text : this.#fail(column, "named texts"),
    ]);
    return Object.fromEntries(entries);
  }

  #json(column: string): unknown {
    try {
      return JSON.parse(this.text(column));
    } catch {
      return this.#fail(column, "JSON");
    }
  }

  #fail(column: string, wanted: string): never {
    const found: SqlValue | undefined = this.#row[column];
    const what = found === undefined ? "missing" : found === null ? "null" : typeof found;
    throw new MeshError(
      "database_damaged",
      "local",
      `the control plane's state has an invalid row: ${this.#table}.${column} is ${what}, not ${wanted}`,
    );
  }
}

/** Of `SELECT count(*) AS count …` and its like. */
export function countOf(row: SqlRow | null): number {
  return row === null ? 0 : new RowReader("count", row).integer("count");
}

/** A time as it is kept, in whole milliseconds: a clock may tell fractions. */
export function storedMs(ms: number): number {
  return Math.floor(ms);
}

export function storedMsOrNull(ms: number | null): number | null {
  return ms === null ? null : Math.floor(ms);
}
