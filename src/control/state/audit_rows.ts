/** Rows of the audit log between the database and values, and the texts that a row keeps. */
import { chainRow } from "../../base/audit_chain.ts";
import { stateLimits } from "../../base/limits/control.ts";
import { sha256Hex } from "../../base/sha256.ts";
import type { SqlRow } from "../../host/database.ts";
import type { AuditHead, ChainedEntry, StoredAuditEntry } from "../records/audit.ts";
import { RowReader } from "./row_reader.ts";

/** About what a row takes, in characters. */
export function charsOf({ detail, before, after }: StoredAuditEntry): number {
  return 200 + detail.length + (before?.length ?? 0) + (after?.length ?? 0);
}

export function readEntry(row: SqlRow): { readonly entry: StoredAuditEntry; readonly hash: Uint8Array } {
  const reader = new RowReader("audit", row);
  const entry = {
    id: reader.integer("id"),
    atMs: reader.integer("at_ms"),
    actor: reader.text("actor"),
    action: reader.text("action"),
    target: reader.text("target"),
    namespace: reader.textOrNull("namespace"),
    outcome: reader.oneOf("outcome", ["ok", "refused", "failed"]),
    detail: reader.text("detail"),
    before: reader.textOrNull("before"),
    after: reader.textOrNull("after"),
  };
  return { entry, hash: reader.bytes("hash", 32) };
}

/** @returns whether this row is the one that was written after the head. */
export function continues({ id, hash }: AuditHead, { entry, salt, hash: own }: ChainedEntry): boolean {
  return entry.id === id + 1 && chainRow(Uint8Array.fromHex(hash), entry, salt).toHex() === own.toHex();
}

/** What is left of a text of a tenant that has had its share of the log. */
export function hashed(text: string): string {
  return `… ${text.length} characters, left out: the namespace has used its share of the audit log; SHA-256 ${sha256Hex(new TextEncoder().encode(text))}`;
}

/** As it will be read again: half of a surrogate pair, which a caller's JSON may hold, has no place in UTF-8, and the hash is of what is stored. */
export function storable(text: string): string {
  return text.toWellFormed();
}

export function shortened(text: string): string {
  if (text.length <= stateLimits.maxAuditTextLength) return storable(text);
  const kept = storable(text.slice(0, stateLimits.maxAuditTextLength));
  return `${kept}\n… ${text.length - kept.length} characters more; SHA-256 of it all ${sha256Hex(new TextEncoder().encode(text))}`;
}
