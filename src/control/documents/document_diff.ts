/** What is different between two sets of documents, and between the meshes that are made of them. */
import { authorizationKey } from "../../mesh/authorization.ts";
import { serviceKey } from "../../mesh/service.ts";
import type { MeshState } from "../../mesh/store/change.ts";
import type { MeshChange } from "../../mesh/store/store.ts";
import type { DocumentChange, StoredDocument } from "../records/document_versions.ts";

/** What a document is called, and whose it is. */
export type DocumentIdentity = Pick<StoredDocument, "key" | "kind" | "namespace" | "name">;

/** Which tenant's a document is: a Namespace is its own, though it is in none. */
export function owningNamespace({ kind, namespace, name }: DocumentIdentity): string {
  return kind === "Namespace" ? name : namespace;
}

export interface DocumentDiff extends DocumentIdentity {
  readonly change: "added" | "changed" | "removed";
  /** Null for one that is added. */
  readonly before: string | null;
  /** Null for one that is removed. */
  readonly after: string | null;
}

/** By key. Where it was written is no difference, what was written is. */
export function diffDocuments(
  before: readonly StoredDocument[],
  after: readonly StoredDocument[],
): readonly DocumentDiff[] {
  return changesBetween(before, after).map(({ change, old }) => ({
    key: change.key,
    kind: change.kind,
    namespace: change.namespace,
    name: change.name,
    change: old === null ? "added" : change.text === null ? "removed" : "changed",
    before: old?.text ?? null,
    after: change.text,
  }));
}

export interface Replacement {
  readonly change: DocumentChange;
  readonly old: StoredDocument | null;
}

/** The changes that make `after` of `before`, sorted by key. */
export function changesBetween(
  before: readonly StoredDocument[],
  after: readonly StoredDocument[],
): readonly Replacement[] {
  const old = new Map(before.map((document) => [document.key, document]));
  const kept = new Set(after.map(({ key }) => key));
  const written = after
    .filter(({ key, text }) => old.get(key)?.text !== text)
    .map((change): Replacement => ({ change, old: old.get(change.key) ?? null }));
  const removed = before
    .filter(({ key }) => !kept.has(key))
    .map((document): Replacement => ({ change: { ...document, text: null }, old: document }));
  return [...written, ...removed].sort((a, b) => compare(a.change.key, b.change.key));
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Names, sorted. */
export interface NamedChanges {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

/** What nodes will be told. */
export interface MeshEffect {
  /** uids */
  readonly workloads: NamedChanges;
  /** `namespace/hostname` */
  readonly services: NamedChanges;
  /** `namespace/name` */
  readonly policies: NamedChanges;
}

/** @param change null: nothing. */
export function describeEffect(before: MeshState, change: MeshChange | null): MeshEffect {
  return {
    workloads: named(before.workloads, change?.workloads, ({ uid }) => uid),
    services: named(before.services, change?.services, serviceKey),
    policies: named(before.policies, change?.policies, authorizationKey),
  };
}

function named<T>(
  before: readonly T[],
  change: { readonly upsert?: readonly T[]; readonly remove?: readonly string[] } | undefined,
  keyOf: (item: T) => string,
): NamedChanges {
  if (change === undefined) return { added: [], changed: [], removed: [] };
  const known = new Set(before.map(keyOf));
  const written = (change.upsert ?? []).map(keyOf).sort();
  return {
    added: written.filter((key) => !known.has(key)),
    changed: written.filter((key) => known.has(key)),
    removed: [...(change.remove ?? [])].sort(),
  };
}
