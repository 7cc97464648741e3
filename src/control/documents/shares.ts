/**
 * What a namespace's documents may take of the whole set: half of what the others leave, in bytes and in number, so that no tenant fills it. The
 * root namespace is the mesh's own, and is held to the whole alone.
 */
import { stateLimits } from "../../base/limits/control.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import { inSteps } from "../../base/turns/steps.ts";
import type { DocumentError } from "../../mesh/location.ts";
import type { StoredDocument } from "../records/document_versions.ts";
import { owningNamespace } from "./document_diff.ts";

interface Taken {
  bytes: number;
  count: number;
}

/** @returns why the set `after` cannot take the place of `before`; null where it can. What got no larger is never refused. */
export function* overShare(
  before: readonly StoredDocument[],
  after: readonly StoredDocument[],
  rootNamespace: string,
): Generator<void, DocumentError | null> {
  const message = yield* excess(before, after, rootNamespace);
  if (message === null) return null;
  return { location: { file: "", line: 1, column: 1 }, resource: null, message };
}

function* excess(
  before: readonly StoredDocument[],
  after: readonly StoredDocument[],
  rootNamespace: string,
): Generator<void, string | null> {
  const old = yield* takenBy(before);
  const taken = yield* takenBy(after);
  const all = sum(taken);
  if (all.count > meshLimits.maxDocuments)
    return `there would be more than ${meshLimits.maxDocuments} documents`;
  if (all.bytes > stateLimits.maxDocumentBytesInForce && all.bytes > sum(old).bytes)
    return `all documents would take more than ${stateLimits.maxDocumentBytesInForce} bytes`;
  for (const [namespace, { bytes, count }] of taken) {
    if (namespace === rootNamespace || namespace === "") continue;
    const was = old.get(namespace) ?? { bytes: 0, count: 0 };
    const leftBytes = (stateLimits.maxDocumentBytesInForce - (all.bytes - bytes)) / 2;
    if (bytes > was.bytes && bytes > leftBytes)
      return `the documents of namespace ${namespace} would take ${bytes} bytes, and its share is ${Math.floor(leftBytes)}`;
    const leftCount = (meshLimits.maxDocuments - (all.count - count)) / 2;
    if (count > was.count && count > leftCount)
      return `there would be ${count} documents in namespace ${namespace}, and its share is ${Math.floor(leftCount)}`;
  }
  return null;
}

function* takenBy(documents: readonly StoredDocument[]): Generator<void, ReadonlyMap<string, Taken>> {
  const taken = new Map<string, Taken>();
  yield* inSteps(documents, (document) => {
    const namespace = owningNamespace(document);
    const one = taken.get(namespace) ?? { bytes: 0, count: 0 };
    taken.set(namespace, one);
    // A UTF-16 unit is at most three bytes of UTF-8 and mostly one: shares are no accounts.
    one.bytes += document.text.length;
    one.count++;
  });
  return taken;
}

function sum(taken: ReadonlyMap<string, Taken>): Taken {
  const all = { bytes: 0, count: 0 };
  for (const { bytes, count } of taken.values()) {
    all.bytes += bytes;
    all.count += count;
  }
  return all;
}
