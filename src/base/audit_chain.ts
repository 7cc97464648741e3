/**
 * The chain of the audit log: each row's hash is over the row and the hash before it. What is hashed of a row is a digest with a salt of its
 * own, so that somebody who must not read rows can still be shown, by digests alone, that one head of the log goes on from another.
 */
import { sha256 } from "./sha256.ts";

export interface ChainedRow {
  readonly id: number;
  readonly atMs: number;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly namespace: string | null;
  readonly outcome: string;
  readonly detail: string;
  readonly before: string | null;
  readonly after: string | null;
}

/** Before the first row. */
export const chainStart: Uint8Array = new Uint8Array(32);

/** Without the salt, rows are guessed from their digests. */
export function rowDigest(row: ChainedRow, salt: Uint8Array): Uint8Array {
  return sha256(salt, content(row));
}

/** The hash of a row by its digest. */
export function chainDigest(previous: Uint8Array, digest: Uint8Array): Uint8Array {
  return sha256(previous, digest);
}

/** @param salt null for rows of the first programs, which had no digests: the row itself is hashed. */
export function chainRow(previous: Uint8Array, row: ChainedRow, salt: Uint8Array | null): Uint8Array {
  return salt === null ? sha256(previous, content(row)) : chainDigest(previous, rowDigest(row, salt));
}

/** JSON of a fixed list of fields: no two different rows are written alike. */
function content(row: ChainedRow): Uint8Array {
  const fields = [row.id, row.atMs, row.actor, row.action, row.target, row.namespace];
  const rest = [row.outcome, row.detail, row.before, row.after];
  return new TextEncoder().encode(JSON.stringify([...fields, ...rest]));
}
