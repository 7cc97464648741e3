/**
 * Which documents are in force: the newest version of each that is good. A document that became bad keeps its last good version;
 * only one that is gone from a file that can be read is gone from the mesh.
 */
import type { MeshError } from "../../base/errors.ts";
import { inSteps, mapInSteps } from "../../base/turns/steps.ts";
import type { TimeSlice } from "../../base/turns/time_slice.ts";
import { ConversionCache } from "../../mesh/convert/conversion_cache.ts";
import type { ConversionContext } from "../../mesh/convert/conversion_context.ts";
import type { DocumentStatus } from "../../mesh/convert/conversion_report.ts";
import { type Conversion, convertInSteps } from "../../mesh/convert/convert_documents.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import type { RefusedPolicy } from "../../mesh/documents/refused_policy.ts";
import type { DocumentError } from "../../mesh/location.ts";
import { type Candidate, DocumentCandidates, type RetainedStatus } from "./document_candidates.ts";
import type { ParsedFile } from "./document_files.ts";

export interface LastGoodResult {
  readonly conversion: Conversion;
  readonly documents: readonly RetainedStatus[];
  /** Of files, and of documents that do not even say what they are. */
  readonly errors: readonly DocumentError[];
  readonly inForce: DocumentsInForce;
}

interface Settled {
  readonly conversion: Conversion;
  readonly candidates: readonly Candidate[];
}

export class LastGoodDocuments {
  readonly #context: ConversionContext;
  readonly #refusedPolicies: "deny" | "skip";
  readonly #cache = new ConversionCache();
  /** What was made of statuses without an error. */
  readonly #unblamed = new WeakMap<DocumentStatus, RetainedStatus>();
  #good: ReadonlyMap<string, MeshDocument> = new Map();

  constructor(context: ConversionContext, refusedPolicies: "deny" | "skip") {
    this.#context = context;
    this.#refusedPolicies = refusedPolicies;
  }

  async update(
    files: readonly ParsedFile[],
    unreadable: ReadonlyMap<string, MeshError>,
    slice: TimeSlice,
  ): Promise<LastGoodResult> {
    const candidates = await slice.run(DocumentCandidates.of(this.#good, files, unreadable));
    const refused = this.#refusedPolicies === "deny" ? candidates.refusedPolicies : [];
    const settled = await this.#settle(candidates.candidates, refused, slice);
    const documents = await slice.run(this.#retain(settled));
    return {
      conversion: settled.conversion,
      documents: [...documents, ...candidates.hopeless],
      errors: candidates.errors,
      inForce: {
        documents: [...this.#good.values()],
        refused: this.#refusedPolicies === "deny" ? candidates.refusedForWaypoints : [],
      },
    };
  }

  *#retain({ conversion, candidates }: Settled): Generator<void, readonly RetainedStatus[]> {
    const good = new Map<string, MeshDocument>();
    const retained: RetainedStatus[] = [];
    yield* inSteps(conversion.statuses, (status) => {
      const candidate = candidates[retained.length];
      if (candidate !== undefined && status.accepted) good.set(status.resource, candidate.document);
      const error = candidate?.supersededBy ?? status.error;
      // Nearly always: the status that it had before.
      const known = error === null ? this.#unblamed.get(status) : undefined;
      const made = known ?? {
        ...status,
        location: error?.location ?? status.location,
        accepted: error === null,
        error,
        lastGoodInForce: candidate?.supersededBy !== null && status.accepted,
      };
      if (error === null) this.#unblamed.set(status, made);
      retained.push(made);
    });
    this.#good = good;
    return retained;
  }

  /** Converts; whatever is refused and has an earlier good version is replaced by that, until nothing more is. */
  async #settle(
    first: readonly Candidate[],
    refused: readonly RefusedPolicy[],
    slice: TimeSlice,
  ): Promise<Settled> {
    let candidates = first;
    for (;;) {
      const documents = await slice.run(mapInSteps(candidates, ({ document }) => document));
      const conversion = await slice.run(convertInSteps(documents, this.#context, refused, this.#cache));
      if (conversion.errors.length === 0) return { conversion, candidates };
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
      const key = candidate.document.metadata.key;
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
