/** The documents as they are kept, one list that is sorted by key: looked up, stamped, and made into the next one in steps. */
import { compareText, filterInSteps, inSteps, mergeInSteps, sortInSteps } from "../../base/turns/steps.ts";
import type { StoredDocument } from "../records/document_versions.ts";

export function findStored(set: readonly StoredDocument[], key: string): StoredDocument | null {
  let low = 0;
  let high = set.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareText(set[middle]?.key ?? "", key) < 0) low = middle + 1;
    else high = middle;
  }
  const found = set[low];
  return found?.key === key ? found : null;
}

/** Those of `set` that `stays` keeps, with the given ones in their places. @param given of each key one. */
export function* replaceStored(
  set: readonly StoredDocument[],
  given: readonly StoredDocument[],
  stays: (document: StoredDocument) => boolean = () => true,
): Generator<void, readonly StoredDocument[]> {
  const sorted = yield* sortInSteps(given, byKey);
  const kept = yield* filterInSteps(
    set,
    (document) => findStored(sorted, document.key) === null && stays(document),
  );
  return yield* mergeInSteps(kept, sorted, byKey);
}

/**
 * The same text from another file is the same document: it keeps its place, and nothing changes. A changed one keeps the time at
 * which it first came; a new one comes after all that are there, even if the clock was set back.
 */
export function* stampStored(
  set: readonly StoredDocument[],
  given: readonly StoredDocument[],
  nowMs: number,
): Generator<void, readonly StoredDocument[]> {
  let createdMs = nowMs;
  yield* inSteps(set, (document) => {
    createdMs = Math.max(createdMs, document.createdMs + 1);
  });
  const stamped: StoredDocument[] = [];
  yield* inSteps(given, (document) => {
    const before = findStored(set, document.key);
    if (before?.text === document.text) stamped.push(before);
    else stamped.push({ ...document, createdMs: before?.createdMs ?? createdMs });
  });
  return stamped;
}

function byKey(a: StoredDocument, b: StoredDocument): number {
  return compareText(a.key, b.key);
}
