/**
 * Segments of the archive: files of JSON lines that are written once. The first line names the segment before it by its SHA-256, and the
 * state names the last one: who has that can tell whether any of them was changed, or is missing.
 */
import { stateLimits } from "../../base/limits/control.ts";
import type { AuditHead, ChainedEntry } from "../records/audit.ts";
import type { AuditDue } from "../state/audit.ts";
import type { ControlState } from "../state/control_state.ts";
import type { DueRows } from "../state/due_rows.ts";
import { recordOf } from "./audit_record.ts";

/** The newest segment, as the state names it. */
export interface ArchiveHead {
  readonly number: number;
  /** Hexadecimal; it is in the file's name too. */
  readonly sha256: string;
}

export interface SegmentHeader extends Readonly<Record<string, unknown>> {
  readonly archive: typeof archiveFormat;
  readonly state: string;
  readonly segment: number;
  /** SHA-256 of the segment before it; null for the first. */
  readonly previous: string | null;
}

export const archiveFormat = "fairlead archive 1";

export function segmentName({ number, sha256 }: ArchiveHead): string {
  return `${String(number).padStart(8, "0")}-${sha256}.jsonl`;
}

/** In steps. Rows are of the state's tables by their names; of a join token's secret nothing is there, not even its hash. */
export function* segmentLines(
  state: ControlState,
  due: DueRows,
  header: SegmentHeader,
): Generator<void, Uint8Array> {
  const lines = [JSON.stringify(header)];
  for (const row of auditRows(state, due.audit)) {
    lines.push(JSON.stringify({ table: "audit", ...recordOf(state.id, row) }));
    if (lines.length % rowsPerStep === 0) yield;
  }
  for (const certificate of due.certificates)
    lines.push(JSON.stringify({ table: "certificates", ...certificate }));
  yield;
  for (const revocation of due.revocations)
    lines.push(JSON.stringify({ table: "revocations", ...revocation }));
  for (const { secretHash: _, ...token } of due.tokens)
    lines.push(JSON.stringify({ table: "tokens", ...token }));
  yield;
  return new TextEncoder().encode(`${lines.join("\n")}\n`);
}

const rowsPerStep = 50;

function* auditRows(state: ControlState, due: AuditDue | null): Generator<ChainedEntry> {
  for (let after = due?.startId ?? 0; due !== null && after < due.endId; ) {
    const page = state.audit.page(after, stateLimits.archivePageChars);
    for (const row of page) if (row.entry.id <= due.endId) yield row;
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.entry.id;
  }
}

export interface ReadSegment {
  readonly header: SegmentHeader;
  readonly rows: readonly ChainedEntry[];
  /** Lines of all tables. */
  readonly count: number;
}

/** In steps. @throws TypeError, SyntaxError for what is no segment. */
export function* readSegment(text: string): Generator<void, ReadSegment> {
  const [first = "", ...lines] = text.trimEnd().split("\n");
  const header = JSON.parse(first) as SegmentHeader;
  if (header.archive !== archiveFormat || typeof header.segment !== "number")
    throw new TypeError("it is no segment of an archive");
  const rows: ChainedEntry[] = [];
  for (const [index, line] of lines.entries()) {
    const record = JSON.parse(line) as Readonly<Record<string, unknown>>;
    if (record.table === "audit") rows.push(readRow(record));
    if (index % rowsPerStep === 0) yield;
  }
  return { header, rows, count: lines.length };
}

function readRow(record: Readonly<Record<string, unknown>>): ChainedEntry {
  const word = (name: string): string => {
    const value = record[name];
    if (typeof value !== "string") throw new TypeError(`a row has no ${name}`);
    return value;
  };
  const wordOrNull = (name: string): string | null => (record[name] === null ? null : word(name));
  const { id, atMs } = record;
  const outcome = (["ok", "refused", "failed"] as const).find((one) => one === record.outcome);
  if (typeof id !== "number" || typeof atMs !== "number" || outcome === undefined)
    throw new TypeError("a row has no number, time or outcome");
  const salt = wordOrNull("salt");
  return {
    entry: {
      id,
      atMs,
      actor: word("actor"),
      action: word("action"),
      target: word("target"),
      namespace: wordOrNull("namespace"),
      outcome,
      detail: word("detail"),
      before: wordOrNull("before"),
      after: wordOrNull("after"),
    },
    salt: salt === null ? null : Uint8Array.fromHex(salt),
    hash: Uint8Array.fromHex(word("hash")),
  };
}

/** Where the chain of a segment's rows ends. */
export function endOf(rows: readonly ChainedEntry[]): AuditHead | null {
  const last = rows.at(-1);
  return last === undefined ? null : { id: last.entry.id, hash: last.hash.toHex() };
}
