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

/**
 * A version that is written in several transactions, so that none of them takes long. Until it is published it is nothing, and a
 * start throws it away; from then on it is there, and what the audit log lacks of it is made up.
 */
export interface StagedVersion extends NewVersion {
  readonly version: number;
  /** What the control plane would be locked out by was insisted on. */
  readonly forced: boolean;
  readonly isPublished: boolean;
  /** The last document that the audit log has a row of; "" for none. */
  readonly auditedKey: string;
}

/** One change, with what was there before. */
export interface RecordedChange {
  readonly change: DocumentChange;
  readonly before: string | null;
}

/** What a version changed, without its text. */
export type ChangedName = Pick<StoredDocument, "key" | "namespace" | "kind" | "name"> & {
  readonly isRemoved: boolean;
};
