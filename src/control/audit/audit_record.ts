/** Rows of the audit log as they leave the control plane: one JSON object each, with all that the chain of hashes is made of. */
import { sha256Hex } from "../../base/sha256.ts";
import type { ChainedEntry } from "../records/audit.ts";

/** A row in JSON. `atMs` and what follows is what the hash is over; `time` is the same for people. */
export function recordOf(
  stateId: string,
  { entry, salt, hash }: ChainedEntry,
): Readonly<Record<string, unknown>> {
  const { id, atMs, actor, action, target, namespace, outcome, detail, before, after } = entry;
  const time = new Date(atMs).toISOString();
  const chained = { id, atMs, actor, action, target, namespace, outcome, detail, before, after };
  return { state: stateId, time, ...chained, salt: salt?.toHex() ?? null, hash: hash.toHex() };
}

/** Rows as JSON lines. */
export function recordLines(stateId: string, rows: readonly ChainedEntry[]): Uint8Array {
  return new TextEncoder().encode(rows.map((row) => `${JSON.stringify(recordOf(stateId, row))}\n`).join(""));
}

/** One row in ASCII, no longer than that: texts give way to their hashes, the longest first. */
export function shortRecord(stateId: string, row: ChainedEntry, maxBytes: number): string {
  const record: Record<string, unknown> = { ...recordOf(stateId, row) };
  for (let text = asciiJson(record); ; text = asciiJson(record)) {
    if (text.length <= maxBytes) return text;
    const longest = ["before", "after", "detail", "target", "actor"]
      .filter((name) => typeof record[name] === "string")
      .sort((a, b) => String(record[b]).length - String(record[a]).length)[0];
    if (longest === undefined) return text.slice(0, maxBytes);
    const whole = String(record[longest]);
    record[longest] = { characters: whole.length, sha256: sha256Hex(new TextEncoder().encode(whole)) };
  }
}

/** JSON in which everything but printable ASCII is escaped: no receiver takes a byte of it for a line's end or for another character set. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
