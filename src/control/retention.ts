/**
 * Which documents are in force: the newest version of each that is good. A document that became bad keeps its last good version;
 * only one that is gone from a file that can be read is gone from the mesh.
 */
import type { MeshError } from "../base/errors.ts";
import type { ConversionContext, DocumentStatus } from "../mesh/conversion.ts";
import { ConversionCache } from "../mesh/conversion_cache.ts";
import { type Conversion, convertDocuments } from "../mesh/convert.ts";
import { documentKey, type MeshDocument } from "../mesh/document.ts";
import type { DocumentError } from "../mesh/location.ts";
import type { RefusedPolicy } from "../mesh/refused_policy.ts";
import type { ParsedFile } from "./document_files.ts";
import { isBelow } from "./mesh_files.ts";

export interface RetainedStatus extends DocumentStatus {
  /** The document was refused, and an earlier version of it is still in force. */
  readonly lastGoodInForce: boolean;
}

export interface RetentionResult {
  readonly conversion: Conversion;
  readonly documents: readonly RetainedStatus[];
  /** Of files, and of documents that do not even say what they are. */
  readonly errors: readonly DocumentError[];
}

/** A document that is to be in force, unless conversion refuses it. */
interface Candidate {
  readonly document: MeshDocument;
  /** The error of the newer version that this one stands in for; null when this is the newest. */
  readonly supersededBy: DocumentError | null;
}

export class Retention {
  readonly #context: ConversionContext;
  readonly #refusedPolicies: "deny" | "skip";
  readonly #cache = new ConversionCache();
  #good = new Map<string, MeshDocument>();

  constructor(context: ConversionContext, refusedPolicies: "deny" | "skip") {
    this.#context = context;
    this.#refusedPolicies = refusedPolicies;
  }

  update(files: readonly ParsedFile[], unreadable: ReadonlyMap<string, MeshError>): RetentionResult {
    const { candidates, refused, errors, hopeless } = this.#gather(files, unreadable);
    const settled = this.#settle(candidates, refused);
    this.#good = new Map();
    const documents = settled.conversion.statuses.map((status, index): RetainedStatus => {
      const candidate = settled.candidates[index];
      if (candidate !== undefined && status.accepted) this.#good.set(status.resource, candidate.document);
      const error = candidate?.supersededBy ?? status.error;
      const lastGoodInForce = candidate?.supersededBy !== null && status.accepted;
      return {
        ...status,
        location: error?.location ?? status.location,
        accepted: error === null,
        error,
        lastGoodInForce,
      };
    });
    return { conversion: settled.conversion, documents: [...documents, ...hopeless], errors };
  }

  #gather(
    files: readonly ParsedFile[],
    unreadable: ReadonlyMap<string, MeshError>,
  ): {
    readonly candidates: readonly Candidate[];
    readonly refused: readonly RefusedPolicy[];
    readonly errors: readonly DocumentError[];
    readonly hopeless: readonly RetainedStatus[];
  } {
    const candidates: Candidate[] = [];
    const refused: RefusedPolicy[] = [];
    const hopeless: RetainedStatus[] = [];
    const errors: DocumentError[] = [];
    const seen = new Set<string>();
    /** Files of which it cannot be told what they hold now. */
    const unclear = new Map<string, DocumentError>();
    for (const [path, error] of unreadable) {
      unclear.set(path, {
        location: { file: path, line: 1, column: 1 },
        resource: null,
        message: error.message,
      });
    }
    for (const file of files) {
      if (file.error !== null) unclear.set(file.path, file.error);
      for (const entry of file.entries) {
        const error = entry.errors[0];
        if (entry.key !== null) seen.add(entry.key);
        if (entry.document !== null) candidates.push({ document: entry.document, supersededBy: null });
        else if (error === undefined) continue;
        else if (entry.key === null) unclear.set(file.path, error);
        else {
          const good = this.#good.get(entry.key);
          if (good !== undefined) candidates.push({ document: good, supersededBy: error });
          else {
            if (entry.refusedPolicy !== null && this.#refusedPolicies === "deny")
              refused.push(entry.refusedPolicy);
            hopeless.push(refusedStatus(entry.key, error));
          }
        }
        if (entry.key === null) errors.push(...entry.errors);
        else errors.push(...entry.errors.slice(1));
      }
    }
    errors.push(...[...unclear.values()].filter((error) => !errors.includes(error)));
    for (const [key, document] of this.#good) {
      const error = [...unclear].find(([path]) => isBelow(document.location.file, path))?.[1];
      if (!seen.has(key) && error !== undefined) candidates.push({ document, supersededBy: error });
    }
    return { candidates, refused, errors, hopeless };
  }

  /** Converts; whatever is refused and has an earlier good version is replaced by that, until nothing more is. */
  #settle(
    first: readonly Candidate[],
    refused: readonly RefusedPolicy[],
  ): { readonly conversion: Conversion; readonly candidates: readonly Candidate[] } {
    let candidates = first;
    for (;;) {
      const documents = candidates.map(({ document }) => document);
      const conversion = convertDocuments(documents, this.#context, refused, this.#cache);
      const next = this.#replaceRefused(candidates, conversion);
      if (next === null) return { conversion, candidates };
      candidates = next;
    }
  }

  /** @returns null when there is nothing to replace. Each candidate is replaced once at most, so this comes to an end. */
  #replaceRefused(candidates: readonly Candidate[], conversion: Conversion): readonly Candidate[] | null {
    const seen = new Set<string>();
    let replaced = false;
    const next = candidates.map((candidate, index) => {
      const key = documentKey(candidate.document);
      const isFirst = !seen.has(key);
      seen.add(key);
      const error = conversion.statuses[index]?.error ?? null;
      const good = this.#good.get(key);
      // Of two with one name only the first can have been in force.
      if (
        error === null ||
        !isFirst ||
        candidate.supersededBy !== null ||
        good === undefined ||
        good === candidate.document
      ) {
        return candidate;
      }
      replaced = true;
      return { document: good, supersededBy: error };
    });
    return replaced ? next : null;
  }
}

function refusedStatus(resource: string, error: DocumentError): RetainedStatus {
  return { resource, location: error.location, accepted: false, warnings: [], error, lastGoodInForce: false };
}
