/** What SQLite reports, in the program's words. */
import { AssertionError } from "../base/assert.ts";
import { type ErrorCode, MeshError } from "../base/errors.ts";

/** By SQLite's primary result code (https://www.sqlite.org/rescode.html). Whatever is not here is a statement of ours that is wrong. */
const codes: readonly (readonly [pattern: RegExp, code: ErrorCode, words: string])[] = [
  [/^SQLITE_FULL/, "disk_full", "there is no room to write"],
  [/^SQLITE_(?:BUSY|LOCKED|PROTOCOL)/, "database_locked", "another process has it open"],
  [/^SQLITE_(?:CORRUPT|NOTADB|FORMAT)/, "database_damaged", "it is damaged, or no database"],
  [/^SQLITE_READONLY/, "disk_read_only", "it cannot be written"],
  [/^SQLITE_(?:IOERR|CANTOPEN|PERM|AUTH|NOMEM|TOOBIG|NOLFS)/, "io", "it cannot be read or written"],
];

/** @throws MeshError, or AssertionError for a bug of ours. */
export function failDatabase(thrown: unknown, path: string): never {
  if (thrown instanceof MeshError) throw thrown;
  const name = codeOf(thrown);
  if (name === null) throw thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  for (const [pattern, code, words] of codes) {
    if (pattern.test(name))
      throw new MeshError(code, "local", `${path}: ${words} (${name}: ${message})`, { cause: thrown });
  }
  const bug = new AssertionError(`${path}: ${name}: ${message}`);
  bug.cause = thrown;
  throw bug;
}

function codeOf(thrown: unknown): string | null {
  if (typeof thrown !== "object" || thrown === null || !("code" in thrown)) return null;
  return typeof thrown.code === "string" && thrown.code.startsWith("SQLITE_") ? thrown.code : null;
}
