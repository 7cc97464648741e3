/** Files as parsed documents. Only what changed is parsed again, in slices that leave room for connections. */
import { meshLimits } from "../../base/limits/mesh.ts";
import { flatMapInSteps, indexInSteps } from "../../base/turns/steps.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import { type ParsedEntry, parseInSteps } from "../../mesh/documents/parse.ts";
import { relocate } from "../../mesh/documents/relocate.ts";
import { type DocumentText, splitInSteps } from "../../mesh/documents/yaml.ts";
import type { DocumentError } from "../../mesh/location.ts";

export interface ParsedFile {
  readonly path: string;
  /** Null when it was not kept. */
  readonly text: string | null;
  readonly entries: readonly ParsedEntry[];
  /** Of the file as a whole; then `entries` is empty. */
  readonly error: DocumentError | null;
  /** By place and text, to be used again. */
  readonly parts: ReadonlyMap<string, Part>;
}

/** One document of a file, or the documents of a list. */
interface Part {
  readonly document: DocumentText;
  readonly entries: readonly ParsedEntry[];
}

export class DocumentFiles {
  readonly #clock: Clock;
  readonly #maxDocuments: number;
  #files = new Map<string, ParsedFile>();

  constructor(clock: Clock, maxDocuments: number = meshLimits.maxDocuments) {
    this.#clock = clock;
    this.#maxDocuments = maxDocuments;
  }

  /** Parses the texts that differ from last time. In the order of `texts`. */
  async parse(texts: ReadonlyMap<string, string>): Promise<readonly ParsedFile[]> {
    const files = new Map<string, ParsedFile>();
    const slice = new TimeSlice(this.#clock);
    let left = this.#maxDocuments;
    for (const [path, text] of texts) {
      const before = this.#files.get(path);
      const file = before?.text === text ? before : await this.#parseFile(path, text, before, slice);
      const isTooMuch = file.entries.length > left;
      if (!isTooMuch) left -= file.entries.length;
      files.set(path, isTooMuch ? this.#refuse(file) : file);
    }
    this.#files = files;
    return [...files.values()];
  }

  /** With a text that no reading equals, so that it gets another chance at each one. */
  #refuse({ path }: ParsedFile): ParsedFile {
    const message = `there are more than ${this.#maxDocuments} documents; those of this file are ignored`;
    const error = { location: { file: path, line: 1, column: 1 }, resource: null, message };
    return { path, text: null, entries: [], error, parts: new Map() };
  }

  async #parseFile(
    path: string,
    text: string,
    before: ParsedFile | undefined,
    slice: TimeSlice,
  ): Promise<ParsedFile> {
    const documents = await slice.run(splitInSteps(path, text));
    if ("message" in documents) return { path, text, entries: [], error: documents, parts: new Map() };
    const parts = new Map<string, Part>();
    let elsewhere: ReadonlyMap<string, Part> | null = null;
    for (const document of documents) {
      const key = partKey(document);
      const known = before?.parts.get(key);
      if (known !== undefined) {
        parts.set(key, known);
        continue;
      }
      await slice.giveWay();
      elsewhere ??= await slice.run(indexInSteps(before?.parts.values() ?? [], (part) => part.document.text));
      const moved = movedTo(document, elsewhere.get(document.text));
      parts.set(key, { document, entries: moved ?? (await slice.run(parseInSteps(document))) });
    }
    const entries = await slice.run(flatMapInSteps(parts.values(), (part) => part.entries));
    return { path, text, entries, error: null, parts };
  }
}

/** @returns null where it has to be parsed. */
function movedTo(document: DocumentText, part: Part | undefined): readonly ParsedEntry[] | null {
  return part === undefined ? null : relocate(part.entries, document.firstLine - part.document.firstLine);
}

function partKey(document: DocumentText): string {
  return `${document.firstLine}\n${document.text}`;
}
