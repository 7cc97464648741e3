/** What is applied, as documents with their own texts; or everything that is wrong with it. */
import { meshLimits } from "../../base/limits/mesh.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { listItems, readInSteps } from "../../mesh/documents/parse.ts";
import { type DocumentText, parseYamlInSteps, splitInSteps } from "../../mesh/documents/yaml.ts";
import { formatYaml } from "../../mesh/documents/yaml_text.ts";
import type { DocumentError, Location } from "../../mesh/location.ts";
import type { StoredDocument } from "../records/document_versions.ts";

/** One text as it was given; `source` is what errors call it. */
export interface InputText {
  readonly source: string;
  readonly text: string;
}

/** A document that is good by itself. */
export interface ReadDocument {
  readonly stored: StoredDocument;
  readonly document: MeshDocument;
}

export type InputReading =
  | { readonly documents: readonly ReadDocument[] }
  | { readonly errors: readonly DocumentError[] };

/**
 * Every text is read to its end, once and in slices, so that all errors are told at once. No key comes twice in what is returned.
 *
 * @param onNamed is told the key of each document that says what it is, good or bad; what it throws ends the reading.
 */
export async function readInput(
  clock: Clock,
  texts: readonly InputText[],
  onNamed: (key: string) => void = () => {},
): Promise<InputReading> {
  const slice = new TimeSlice(clock);
  const gathering = new InputGathering();
  if (texts.length > meshLimits.maxFiles) {
    const message = `there are more than ${meshLimits.maxFiles} texts`;
    return { errors: [{ location: { file: "", line: 1, column: 1 }, resource: null, message }] };
  }
  for (const { source, text } of texts) {
    const parts = await slice.run(splitInSteps(source, text));
    if ("message" in parts) {
      gathering.tell([parts]);
      continue;
    }
    for (const part of parts) {
      await slice.giveWay();
      await slice.run(gathering.take(part, onNamed));
    }
  }
  const errors = gathering.allErrors();
  return errors.length > 0 ? { errors } : { documents: gathering.documents };
}

class InputGathering {
  readonly documents: ReadDocument[] = [];
  readonly #errors: DocumentError[] = [];
  #untold = 0;
  readonly #first = new Map<string, Location>();

  *take(part: DocumentText, onNamed: (key: string) => void): Generator<void, void> {
    const yaml = yield* parseYamlInSteps(part);
    const items = "root" in yaml ? listItems(yaml.root) : null;
    // A text of its own for each item of a `kind: List`, so that each can be changed alone.
    const texts = items?.map(formatYaml) ?? null;
    const entries = yield* readInSteps(part, yaml);
    for (const [index, entry] of entries.entries()) {
      if (entry.key !== null) onNamed(entry.key);
      this.tell(entry.errors);
      const { document } = entry;
      if (document === null || !this.#isNew(document)) continue;
      const text = texts === null ? part.text : (texts[index] ?? "");
      const line = texts === null ? part.firstLine : document.location.line;
      const { key, namespace, name } = document.metadata;
      // Stamped when it comes into the set; an author's word for it counts for nothing.
      const stored = {
        key,
        namespace,
        name,
        kind: document.kind,
        text,
        source: part.file,
        line,
        createdMs: 0,
      };
      this.documents.push({ stored, document });
    }
  }

  tell(errors: readonly DocumentError[]): void {
    const room = Math.max(0, meshLimits.maxErrorsTold - this.#errors.length);
    this.#errors.push(...errors.slice(0, room));
    this.#untold += Math.max(0, errors.length - room);
  }

  allErrors(): readonly DocumentError[] {
    if (this.#untold === 0) return this.#errors;
    const location = { file: "", line: 1, column: 1 };
    return [...this.#errors, { location, resource: null, message: `and ${this.#untold} more errors` }];
  }

  #isNew({ metadata, location }: MeshDocument): boolean {
    const first = this.#first.get(metadata.key);
    if (first === undefined) {
      this.#first.set(metadata.key, location);
      return true;
    }
    const message = `is given twice; the first is at ${first.file}:${first.line}`;
    this.tell([{ location, resource: metadata.key, message, word: metadata.name }]);
    return false;
  }
}

/** Documents as one text that `readInput` takes again: each as it was applied. */
export function joinDocuments(documents: readonly Pick<StoredDocument, "text">[]): string {
  return documents
    .map(({ text }, index) => {
      const ended = text.endsWith("\n") ? text : `${text}\n`;
      return index === 0 || startsWithMarker.test(text) ? ended : `---\n${ended}`;
    })
    .join("");
}

const startsWithMarker = /^---(?=[ \t\r\n]|$)/;
