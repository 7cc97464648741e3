/** Whether archive and state are one: every segment, back from the one that the state names, and through them the chain of the audit log. */
import { asMeshError } from "../../base/errors.ts";
import { sha256InSteps } from "../../base/sha256.ts";
import { type SliceClock, TimeSlice } from "../../base/turns/time_slice.ts";
import type { Files } from "../../host/host.ts";
import type { ArchiveCheck, AuditHead, ChainedEntry } from "../records/audit.ts";
import { continues } from "../state/audit_rows.ts";
import { type ArchiveHead, endOf, readSegment, segmentName } from "./archive_segment.ts";

export interface ArchiveCheckOptions {
  readonly files: Pick<Files, "readText">;
  readonly clock: SliceClock;
  readonly directory: string;
  readonly stateId: string;
  /** The newest segment. */
  readonly head: ArchiveHead | null;
  /** What the audit log says of the newest segment, its file's name; null where it says nothing any more. */
  readonly named: string | null;
  /** The last row that the state does not have any more: where the archive's chain ends. */
  readonly start: AuditHead;
  /** Heads of rows, wherever they were kept. */
  readonly known: readonly AuditHead[];
}

/** One segment at a time is in memory. Never rejects. */
export async function checkArchive(options: ArchiveCheckOptions): Promise<ArchiveCheck> {
  const { files, clock, directory, stateId, start } = options;
  const known = new Map(options.known.map(({ id, hash }) => [id, hash]));
  const slice = new TimeSlice(clock);
  let [segments, rows] = [0, 0];
  /** The row that the next older one has to lead to; null for none that is known. */
  let later: ChainedEntry | null = null;
  let wanted = options.head;
  let oldestId = start.id + 1;
  const broken = (reason: string): ArchiveCheck => ({
    intact: false,
    segments,
    rows,
    fromId: oldestId,
    reason,
  });
  const newest = options.head === null ? null : segmentName(options.head);
  if (options.named !== null && options.named !== newest)
    return broken(
      `the state names ${newest ?? "no segment"} as the newest, and the audit log ${options.named}`,
    );
  while (wanted !== null) {
    const name = segmentName(wanted);
    try {
      const text = await files.readText(`${directory}/${name}`);
      const digest = await slice.run(sha256InSteps(new TextEncoder().encode(text)));
      if (digest.toHex() !== wanted.sha256) return broken(`${name} was changed`);
      const { header, rows: found, count } = await slice.run(readSegment(text));
      if (header.segment !== wanted.number || header.state !== stateId)
        return broken(`${name} is of another archive`);
      segments++;
      rows += count;
      const reason = await slice.run(checkRows(found, later, later === null ? start : null, known));
      if (reason !== null) return broken(`${name}: ${reason}`);
      later = found[0] ?? later;
      oldestId = later?.entry.id ?? oldestId;
      wanted = header.previous === null ? null : { number: wanted.number - 1, sha256: header.previous };
    } catch (thrown) {
      return broken(`${name}: ${asMeshError(thrown, "io", "local").message}`);
    }
  }
  return { intact: true, segments, rows, fromId: oldestId, reason: null };
}

const rowsPerStep = 50;

/** In steps. @param end what they have to end with; null where `later` says. @returns what is wrong. */
function* checkRows(
  rows: readonly ChainedEntry[],
  later: ChainedEntry | null,
  end: AuditHead | null,
  known: ReadonlyMap<number, string>,
): Generator<void, string | null> {
  for (const [index, row] of rows.entries()) {
    const { id } = row.entry;
    const next = rows[index + 1] ?? later;
    const here = { id, hash: row.hash.toHex() };
    // Rows that went without being archived leave a gap, which the state's log tells of.
    if (next !== null && next.entry.id === id + 1 && !continues(here, next))
      return `row ${id + 1} was changed`;
    if ((known.get(id) ?? here.hash) !== here.hash)
      return `row ${id} is not the one that the signed head names`;
    if (index % rowsPerStep === 0) yield;
  }
  const last = endOf(rows);
  if (last === null || end === null || last.id !== end.id) return null;
  return last.hash === end.hash ? null : `row ${last.id} is not the one that the state goes on from`;
}
