/** What conversion says about each document: accepted or refused, and what its operator should know. */
import type { MeshDocument } from "../documents/document.ts";
import type { DocumentError, DocumentWarning, Location } from "../location.ts";

export interface DocumentStatus {
  /** `AuthorizationPolicy shop/only-cart` */
  readonly resource: string;
  readonly location: Location;
  readonly accepted: boolean;
  readonly warnings: readonly DocumentWarning[];
  readonly error: DocumentError | null;
}

const noWarnings: readonly DocumentWarning[] = [];

/** Gathers warnings and refusals while documents are converted together. */
export class ConversionReport {
  readonly #warnings = new Map<MeshDocument, DocumentWarning[]>();
  readonly #errors = new Map<MeshDocument, DocumentError>();

  warn(
    document: MeshDocument,
    reason: DocumentWarning["reason"],
    message: string,
    location: Location = document.location,
  ): void {
    const warnings = this.#warnings.get(document) ?? [];
    this.#warnings.set(document, warnings);
    warnings.push({ location, reason, message });
  }

  /** The first refusal of a document is the one that is told. */
  refuse(document: MeshDocument, location: Location, message: string, word?: string): void {
    if (this.#errors.has(document)) return;
    const error = { location, resource: document.metadata.key, message };
    this.#errors.set(document, word === undefined ? error : { ...error, word });
  }

  /** What was said of it here, beside what its reading said. */
  warnings(document: MeshDocument): readonly DocumentWarning[] {
    return this.#warnings.get(document) ?? noWarnings;
  }

  isRefused(document: MeshDocument): boolean {
    return this.#errors.has(document);
  }

  status(document: MeshDocument): DocumentStatus {
    const error = this.#errors.get(document) ?? null;
    const added = this.#warnings.get(document);
    return {
      resource: document.metadata.key,
      location: document.location,
      accepted: error === null,
      warnings: added === undefined ? document.warnings : [...document.warnings, ...added],
      error,
    };
  }

  errors(): readonly DocumentError[] {
    return [...this.#errors.values()];
  }
}
