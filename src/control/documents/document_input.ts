/** What somebody applies, as documents with their own texts; or everything that is wrong with it. */
import { meshLimits } from "../../base/limits/mesh.ts";
import { TimeSlice } from "../../base/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { listItems, parseDocument } from "../../mesh/documents/parse.ts";
import { type DocumentText, parseYaml, splitDocuments } from "../../mesh/documents/yaml.ts";
import { formatYaml } from "../../mesh/documents/yaml_text.ts";
import type { DocumentError, Location } from "../../mesh/location.ts";
import type { StoredDocument } from "../state/document_versions.ts";

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

/** Every text is read to its end, so that all errors are told at once. No key comes twice in what is returned. */
export async function readInput(clock: Clock, texts: readonly InputText[]): Promise<InputReading> {
  const slice = new TimeSlice(clock);
  const gathering = new InputGathering();
  if (texts.length > meshLimits.maxFiles) {
    const message = `there are more than ${meshLimits.maxFiles} texts`;
    return { errors: [{ location: { file: "", line: 1, column: 1 }, resource: null, message }] };
  }
  for (const { source, text } of texts) {
    const parts = splitDocuments(source, text);
    if ("message" in parts) {
      gathering.errors.push(parts);
      continue;
    }
    for (const part of parts) {
      await slice.giveWay();
      gathering.take(part);
    }
  }
  return gathering.errors.length > 0 ? { errors: gathering.errors } : { documents: gathering.documents };
}

class InputGathering {
  readonly documents: ReadDocument[] = [];
  readonly errors: DocumentError[] = [];
  readonly #first = new Map<string, Location>();

  take(part: DocumentText): void {
    const texts = itemTexts(part);
    parseDocument(part).forEach((entry, index) => {
      this.errors.push(...entry.errors);
      const { document } = entry;
      if (document === null || !this.#isNew(document)) return;
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
    });
  }

  #isNew({ metadata, location }: MeshDocument): boolean {
    const first = this.#first.get(metadata.key);
    if (first === undefined) {
      this.#first.set(metadata.key, location);
      return true;
    }
    const message = `${metadata.key} stands here a second time; the first is at ${first.file}:${first.line}`;
    this.errors.push({ location, resource: metadata.key, message, word: metadata.name });
    return false;
  }
}

/** A text of its own for each item of a `kind: List`, so that each can be changed alone; null for any other document. */
function itemTexts(part: DocumentText): readonly string[] | null {
  // Most documents are none, and reading is not done twice for them.
  if (!MAY_BE_LIST.test(part.text)) return null;
  const yaml = parseYaml(part);
  if (!("root" in yaml)) return null;
  return listItems(yaml.root)?.map(formatYaml) ?? null;
}

const MAY_BE_LIST = /\bkind["']?\s*:\s*["']?\w*List\b/;

/** Documents as one text that `readInput` takes again: each as it was applied. */
export function joinDocuments(documents: readonly Pick<StoredDocument, "text">[]): string {
  return documents
    .map(({ text }, index) => {
      const ended = text.endsWith("\n") ? text : `${text}\n`;
      return index === 0 || STARTS_WITH_MARKER.test(text) ? ended : `---\n${ended}`;
    })
    .join("");
}

const STARTS_WITH_MARKER = /^---(?=[ \t\r\n]|$)/;
