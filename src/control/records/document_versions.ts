/** The documents of the mesh as they are kept: versions of the whole set. */

export interface StoredDocument {
  /** `AuthorizationPolicy shop/only-cart`, as `Metadata.key`. */
  readonly key: string;
  /** "" for a Namespace. */
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  /** As it was applied, comments included. */
  readonly text: string;
  /** What the operator called the file, and the line of it that `text` begins on. */
  readonly source: string;
  readonly line: number;
  /**
   * When it first came, by the control plane's own clock, and kept for as long as it stays: what an author writes as
   * `creationTimestamp` is not looked at. Of two documents the one that came first has less.
   */
  readonly createdMs: number;
}

/** `text` null: the document is gone. */
export type DocumentChange = Omit<StoredDocument, "text"> & { readonly text: string | null };

export interface DocumentSet {
  /** 0: nothing was ever applied. */
  readonly version: number;
  /** Sorted by key. */
  readonly documents: readonly StoredDocument[];
}

export interface DocumentVersion {
  readonly version: number;
  readonly atMs: number;
  readonly actor: string;
  readonly action: "apply" | "delete" | "rollback";
  readonly detail: string;
  /** Documents added, changed and removed. */
  readonly changes: number;
}

export type NewVersion = Omit<DocumentVersion, "version" | "changes">;
