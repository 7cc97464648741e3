/** What is different between two sets of documents, and between the meshes that are made of them. */
import { compareText, filterInSteps, inSteps, mapInSteps, sortInSteps } from "../../base/turns/steps.ts";
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
export function* diffDocuments(
  before: readonly StoredDocument[],
  after: readonly StoredDocument[],
): Generator<void, readonly DocumentDiff[]> {
  return yield* describeChanges(yield* changesBetween(before, after));
}

export function describeChanges(
  replacements: readonly Replacement[],
): Generator<void, readonly DocumentDiff[]> {
  return mapInSteps(
    replacements,
    ({ change, old }): DocumentDiff => ({
      key: change.key,
      kind: change.kind,
      namespace: change.namespace,
      name: change.name,
      change: old === null ? "added" : change.text === null ? "removed" : "changed",
      before: old?.text ?? null,
      after: change.text,
    }),
  );
}

export interface Replacement {
  readonly change: DocumentChange;
  readonly old: StoredDocument | null;
}

/** The changes that make `after` of `before`, sorted by key, as both are. */
export function* changesBetween(
  before: readonly StoredDocument[],
  after: readonly StoredDocument[],
): Generator<void, readonly Replacement[]> {
  const changes: Replacement[] = [];
  const remove = (old: StoredDocument) => changes.push({ change: { ...old, text: null }, old });
  let from = 0;
  yield* inSteps(after, (document) => {
    let old = before[from];
    for (; old !== undefined && compareText(old.key, document.key) < 0; old = before[++from]) remove(old);
    const same = old?.key === document.key ? old : null;
    if (same !== null) from++;
    if (same !== document && same?.text !== document.text) changes.push({ change: document, old: same });
  });
  yield* inSteps(before.slice(from), remove);
  return changes;
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
export function* describeEffect(before: MeshState, change: MeshChange | null): Generator<void, MeshEffect> {
  return {
    workloads: yield* named(before.workloads, change?.workloads, ({ uid }) => uid),
    services: yield* named(before.services, change?.services, serviceKey),
    policies: yield* named(before.policies, change?.policies, authorizationKey),
  };
}

function* named<T>(
  before: readonly T[],
  change: { readonly upsert?: readonly T[]; readonly remove?: readonly string[] } | undefined,
  keyOf: (item: T) => string,
): Generator<void, NamedChanges> {
  if (change === undefined) return { added: [], changed: [], removed: [] };
  const known = new Set(yield* mapInSteps(before, keyOf));
  const written = yield* sortInSteps(yield* mapInSteps(change.upsert ?? [], keyOf), compareText);
  return {
    added: yield* filterInSteps(written, (key) => !known.has(key)),
    changed: yield* filterInSteps(written, (key) => known.has(key)),
    removed: yield* sortInSteps(change.remove ?? [], compareText),
  };
}
