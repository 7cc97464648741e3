/** What one reading of the files gives, held against what was good before. */
import type { MeshError } from "../../base/errors.ts";
import { inSteps } from "../../base/turns/steps.ts";
import { isBelow } from "../../files/mesh_files.ts";
import type { DocumentStatus } from "../../mesh/convert/conversion_report.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import type { ParsedEntry } from "../../mesh/documents/parse.ts";
import type { RefusedForWaypoint, RefusedPolicy } from "../../mesh/documents/refused_policy.ts";
import type { DocumentError } from "../../mesh/location.ts";
import type { ParsedFile } from "./document_files.ts";

export interface RetainedStatus extends DocumentStatus {
  /** The document was refused, and an earlier version of it is still in force. */
  readonly lastGoodInForce: boolean;
}

/** A document that is to be in force, unless conversion refuses it. */
export interface Candidate {
  readonly document: MeshDocument;
  /** The error of the newer version that this one replaces; null when this is the newest. */
  readonly supersededBy: DocumentError | null;
}

export class DocumentCandidates {
  readonly candidates: Candidate[] = [];
  /** Policies of which no version was ever good. */
  readonly refusedPolicies: RefusedPolicy[] = [];
  /** The same for waypoints. */
  readonly refusedForWaypoints: RefusedForWaypoint[] = [];
  /** Refused documents of which no version was ever good. */
  readonly hopeless: RetainedStatus[] = [];
  /** Of files, of documents that do not even say what they are, and all but the first of the others. */
  readonly errors: DocumentError[] = [];
  readonly #good: ReadonlyMap<string, MeshDocument>;
  /** Names of which a good document was read now. */
  readonly #parsed = new Set<string>();
  readonly #seen = new Set<string>();
  /** Files and folders of which it cannot be told what they hold now, and why. */
  readonly #unclear = new Map<string, DocumentError>();

  private constructor(good: ReadonlyMap<string, MeshDocument>) {
    this.#good = good;
  }

  static *of(
    good: ReadonlyMap<string, MeshDocument>,
    files: readonly ParsedFile[],
    unreadable: ReadonlyMap<string, MeshError>,
  ): Generator<void, DocumentCandidates> {
    const made = new DocumentCandidates(good);
    const emptied = yield* heldByEmpty(good, files);
    // Nearly always: which names there are is asked for what is refused or unclear.
    if (unreadable.size + emptied.size === 0 && files.every(isGood)) {
      for (const { entries } of files)
        yield* inSteps(entries, ({ document }) => {
          if (document !== null) made.candidates.push({ document, supersededBy: null });
        });
      return made;
    }
    for (const { entries } of files)
      yield* inSteps(entries, ({ key, document }) => {
        if (key !== null && document !== null) made.#parsed.add(key);
      });
    for (const [path, { message }] of unreadable) {
      made.#isUnclear(path, { location: { file: path, line: 1, column: 1 }, resource: null, message });
    }
    for (const file of files) {
      if (file.error !== null) made.#isUnclear(file.path, file.error);
      const held = emptied.get(file.path)?.filter((key) => !made.#parsed.has(key)) ?? [];
      if (held.length > 0) made.#isUnclear(file.path, emptiedError(file.path, held.length));
      yield* inSteps(file.entries, (entry) => made.#take(entry, file.path));
    }
    if (made.#unclear.size > 0) yield* made.#retainUnseen();
    return made;
  }

  #take(entry: ParsedEntry, path: string): void {
    const { key, document } = entry;
    const [first, ...others] = entry.errors;
    if (key !== null) this.#seen.add(key);
    if (document !== null) this.candidates.push({ document, supersededBy: null });
    if (first === undefined) return;
    if (key === null) this.#isUnclear(path, first);
    else this.#takeRefused(key, entry, first);
    this.errors.push(...others);
  }

  #takeRefused(key: string, entry: ParsedEntry, error: DocumentError): void {
    // Where another document of that name is good, this one is only a broken second.
    const isSecond = this.#parsed.has(key);
    const good = isSecond ? undefined : this.#good.get(key);
    if (good !== undefined) {
      this.candidates.push({ document: good, supersededBy: error });
      return;
    }
    this.hopeless.push({
      resource: key,
      location: error.location,
      accepted: false,
      warnings: [],
      error,
      lastGoodInForce: false,
    });
    if (isSecond) return;
    const { refusedPolicy, refusedForWaypoint } = entry;
    if (refusedPolicy !== null) this.refusedPolicies.push(refusedPolicy);
    if (refusedForWaypoint !== null) this.refusedForWaypoints.push(refusedForWaypoint);
  }

  #isUnclear(path: string, error: DocumentError): void {
    this.errors.push(error);
    if (!this.#unclear.has(path)) this.#unclear.set(path, error);
  }

  /** What such a file held before may be what cannot be read now; it stays, unless it was read somewhere else. */
  *#retainUnseen(): Generator<void> {
    yield* inSteps(this.#good, ([key, document]) => {
      if (this.#seen.has(key)) return;
      const { file } = document.location;
      const error = this.#unclear.get(file) ?? [...this.#unclear].find(([path]) => isBelow(file, path))?.[1];
      if (error !== undefined) this.candidates.push({ document, supersededBy: error });
    });
  }
}

function isGood({ error, entries }: ParsedFile): boolean {
  return error === null && entries.every(({ errors }) => errors.length === 0);
}

/**
 * Names of what files held that have not a line now (a comment is one): a command that writes to them may have only begun, and between the
 * two, mesh and policies would be gone.
 */
function* heldByEmpty(
  good: ReadonlyMap<string, MeshDocument>,
  files: readonly ParsedFile[],
): Generator<void, ReadonlyMap<string, readonly string[]>> {
  const empty = files.filter(({ text }) => text !== null && !/\S/.test(text));
  const held = new Map(empty.map(({ path }): [string, string[]] => [path, []]));
  if (held.size > 0) yield* inSteps(good, ([key, { location }]) => void held.get(location.file)?.push(key));
  for (const [path, keys] of held) if (keys.length === 0) held.delete(path);
  return held;
}

function emptiedError(path: string, held: number): DocumentError {
  const message = `the file is empty; what it held (documents: ${held}) stays in force until it has a line, or is removed`;
  return { location: { file: path, line: 1, column: 1 }, resource: null, message };
}
