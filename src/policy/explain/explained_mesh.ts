/** A mesh made ready for questions: of a store that is in force, or of documents that are not. */
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { changeInParts, diffStatesInSteps, emptyState, type MeshState } from "../../mesh/store/change.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { PolicySet } from "../policy_set.ts";
import type { ExplainedMesh } from "./explain.ts";
import { Parties } from "./parties.ts";

export interface MeshWords {
  readonly missingPolicy: "deny" | "skip";
  readonly rootNamespace: string;
  readonly documents: readonly MeshDocument[] | null;
  readonly layer7: string | null;
}

export function* explainedStore(store: MeshStore, words: MeshWords): Generator<void, ExplainedMesh> {
  const parties = yield* Parties.of(store);
  return { ...words, store, parties, policies: new PolicySet(store.policies()) };
}

/** What documents were converted to. */
export function* explainedState(state: MeshState, words: MeshWords): Generator<void, ExplainedMesh> {
  const store = new MeshStore();
  const change = yield* diffStatesInSteps(emptyState, state);
  for (const part of change === null ? [] : changeInParts(change)) {
    yield;
    store.apply(part);
  }
  return yield* explainedStore(store, words);
}
