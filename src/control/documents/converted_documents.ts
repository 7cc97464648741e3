/** Sets of documents, parsed and converted as a whole; what did not change is not done again. */
import { assert } from "../../base/assert.ts";
import { flatMapInSteps, indexInSteps, inSteps } from "../../base/turns/steps.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import { ConversionCache } from "../../mesh/convert/conversion_cache.ts";
import type { ConversionContext } from "../../mesh/convert/conversion_context.ts";
import type { DocumentStatus } from "../../mesh/convert/conversion_report.ts";
import { type Conversion, convertInSteps } from "../../mesh/convert/convert_documents.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { parseInSteps } from "../../mesh/documents/parse.ts";
import type { RefusedPolicy } from "../../mesh/documents/refused_policy.ts";
import type { DocumentError, DocumentWarning } from "../../mesh/location.ts";
import type { StoredDocument } from "../records/document_versions.ts";
import type { ReadDocument } from "./document_input.ts";
import type { MeshView } from "./lock_out.ts";

/** Documents that were not applied but made of those that were: members of WorkloadGroups. */
export interface DerivedDocuments {
  derive(documents: readonly MeshDocument[]): readonly MeshDocument[];
  /** `listener` runs when `derive` would answer differently. @returns a function that ends the subscription. */
  subscribe(listener: () => void): () => void;
}

export interface ConvertedSet {
  readonly stored: readonly StoredDocument[];
  /** Those that could be read, in the order of `stored`. */
  readonly documents: readonly MeshDocument[];
  /** Made of those. */
  readonly derived: readonly MeshDocument[];
  readonly conversion: Conversion;
  /** One for each of `stored`, and then for each that was derived. */
  readonly statuses: readonly DocumentStatus[];
  /** What is wrong with documents that were stored, by key. */
  readonly errors: ReadonlyMap<string, readonly DocumentError[]>;
}

interface Parsed {
  readonly text: string;
  readonly createdMs: number;
  readonly document: MeshDocument | null;
  readonly errors: readonly DocumentError[];
  readonly refusedPolicy: RefusedPolicy | null;
}

export class DocumentConverter {
  readonly #clock: Clock;
  readonly #context: ConversionContext;
  readonly #derived: Pick<DerivedDocuments, "derive"> | null;
  readonly #cache = new ConversionCache();
  #parsed = new Map<string, Parsed>();

  constructor(clock: Clock, context: ConversionContext, derived: Pick<DerivedDocuments, "derive"> | null) {
    this.#clock = clock;
    this.#context = context;
    this.#derived = derived;
  }

  /**
   * @param fresh what was just read of `stored`, so that it is not parsed again.
   * @param leftOut keys of derived documents that are not taken; `all`: none is.
   */
  async convert(
    stored: readonly StoredDocument[],
    fresh: readonly ReadDocument[] = [],
    leftOut: ReadonlySet<string> | "all" = new Set(),
  ): Promise<ConvertedSet> {
    const slice = new TimeSlice(this.#clock);
    const read = await slice.run(indexInSteps(fresh, (one) => one.stored.key));
    const parsed: Parsed[] = [];
    for (const document of stored) {
      await slice.giveWay();
      const known = this.#parsed.get(document.key);
      if (known !== undefined && isOf(known, document)) parsed.push(known);
      else parsed.push(await slice.run(this.#parse(document, read.get(document.key))));
    }
    const documents = await slice.run(
      flatMapInSteps(parsed, ({ document }) => (document === null ? [] : [document])),
    );
    await slice.giveWay();
    const derived =
      leftOut === "all"
        ? []
        : (this.#derived?.derive(documents) ?? []).filter(({ metadata }) => !leftOut.has(metadata.key));
    // A policy that was good once and cannot be read by this program denies what it may have denied.
    const refused = await slice.run(
      flatMapInSteps(parsed, ({ refusedPolicy }) => (refusedPolicy === null ? [] : [refusedPolicy])),
    );
    const conversion = await slice.run(
      convertInSteps([...documents, ...derived], this.#context, refused, this.#cache),
    );
    return {
      stored,
      documents,
      derived,
      conversion,
      ...(await slice.run(report(stored, parsed, conversion))),
    };
  }

  /** Forgets what was parsed of all but `set`, which is in force. */
  *keep({ stored }: ConvertedSet): Generator<void> {
    const kept = new Map<string, Parsed>();
    yield* inSteps(stored, (document) => {
      const parsed = this.#parsed.get(document.key);
      if (parsed !== undefined && isOf(parsed, document)) kept.set(document.key, parsed);
    });
    this.#parsed = kept;
  }

  *#parse(stored: StoredDocument, read: ReadDocument | undefined): Generator<void, Parsed> {
    const { key, text, createdMs } = stored;
    const found =
      read?.stored.text === text
        ? { document: read.document, errors: [], refusedPolicy: null }
        : yield* parseStored(stored);
    const parsed = { ...found, text, createdMs, document: stamped(found.document, createdMs) };
    this.#parsed.set(key, parsed);
    return parsed;
  }
}

function isOf(parsed: Parsed, { text, createdMs }: StoredDocument): boolean {
  return parsed.text === text && parsed.createdMs === createdMs;
}

/** With the control plane's word for when it came in the place of the author's. */
function stamped(document: MeshDocument | null, createdMs: number): MeshDocument | null {
  return document === null ? null : { ...document, metadata: { ...document.metadata, createdMs } };
}

function* parseStored({
  key,
  text,
  source,
  line,
}: StoredDocument): Generator<void, Pick<Parsed, "document" | "errors" | "refusedPolicy">> {
  const [entry, ...others] = yield* parseInSteps({ file: source, firstLine: line, text });
  const location = { file: source, line, column: 1 };
  if (entry === undefined || others.length > 0 || (entry.key !== key && entry.errors.length === 0)) {
    const message = `it is kept as ${key}, but its text says otherwise`;
    return { document: null, errors: [{ location, resource: key, message }], refusedPolicy: null };
  }
  return { document: entry.document, errors: entry.errors, refusedPolicy: entry.refusedPolicy };
}

function* report(
  stored: readonly StoredDocument[],
  parsed: readonly Parsed[],
  conversion: Conversion,
): Generator<void, Pick<ConvertedSet, "statuses" | "errors">> {
  const errors = new Map<string, readonly DocumentError[]>();
  const statuses: DocumentStatus[] = [];
  let next = 0;
  yield* inSteps(stored.entries(), ([index, { key, source, line }]) => {
    const { document = null, errors: found = [] } = parsed[index] ?? {};
    if (document === null) {
      const [error = null] = found;
      errors.set(key, found);
      const location = { file: source, line, column: 1 };
      statuses.push({ resource: key, location, accepted: false, warnings: [], error });
      return;
    }
    const status = conversion.statuses[next++];
    assert(status !== undefined, "conversion gives a status for each document");
    if (status.error !== null) errors.set(key, [status.error]);
    statuses.push(status);
  });
  return { statuses: [...statuses, ...conversion.statuses.slice(next)], errors };
}

/** As it is looked at for who would be locked out. */
export function viewOf({ documents, derived, conversion }: ConvertedSet): MeshView {
  return { documents: [...documents, ...derived], state: conversion };
}

/** What is to be known of some of the documents. @param keys of these. */
export function* warningsOf(
  { statuses }: ConvertedSet,
  keys: ReadonlySet<string>,
): Generator<void, readonly { readonly resource: string; readonly warning: DocumentWarning }[]> {
  return yield* flatMapInSteps(statuses, ({ resource, warnings }) =>
    keys.has(resource) ? warnings.map((warning) => ({ resource, warning })) : [],
  );
}

/** Derived documents that are refused, and were not before: another has what they claim. */
export function newlyRefusedMembers(
  before: ConvertedSet,
  { statuses, stored }: ConvertedSet,
): readonly { readonly resource: string; readonly reason: string }[] {
  const known = new Set(before.statuses.filter(({ accepted }) => !accepted).map(({ resource }) => resource));
  return statuses
    .slice(stored.length)
    .flatMap(({ resource, error }) =>
      error === null || known.has(resource) ? [] : [{ resource, reason: error.message }],
    );
}
