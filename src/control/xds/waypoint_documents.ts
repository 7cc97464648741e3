/** The mesh's documents as resources for waypoints, which make their rules of them: each encoded once when it changes, in slices. */
import { inSteps } from "../../base/steps.ts";
import { TimeSlice } from "../../base/time_slice.ts";
import type { Watch } from "../../base/watch.ts";
import type { Clock } from "../../host/host.ts";
import { documentType } from "../../wire/ads/delta.ts";
import { type NewResource, ResourceSet } from "../../wire/ads/resource_set.ts";
import { encodeDocumentMessage } from "../../wire/messages/mesh_resources.ts";
import type { StoredDocument } from "../records/document_versions.ts";
import { contentResource } from "./mesh_resource_sets.ts";

/** Kinds that say nothing to a waypoint; one that comes later is given until it is known not to. */
const notForWaypoints: ReadonlySet<string> = new Set([
  "WorkloadEntry",
  "WorkloadGroup",
  "PeerAuthentication",
  "Grant",
  "Administrator",
  "TokenIssuer",
]);

export class WaypointDocuments {
  readonly set = new ResourceSet(documentType);
  readonly #clock: Clock;
  readonly #onChange: () => void;
  readonly #unsubscribe: () => void;
  #given = new Map<string, StoredDocument>();
  #wanted: readonly StoredDocument[] | null = null;
  #isRunning = false;
  #isReady = false;

  /** @param onChange after the set has changed. */
  constructor(clock: Clock, documents: Watch<readonly StoredDocument[]> | null, onChange: () => void) {
    this.#clock = clock;
    this.#onChange = onChange;
    this.#unsubscribe = documents?.subscribe((stored) => this.#want(stored)) ?? (() => {});
    if (documents !== null) this.#want(documents.value);
  }

  /** False until the documents were taken in for the first time: to have none is to have no policy, and is not said by mistake. */
  get isReady(): boolean {
    return this.#isReady;
  }

  close(): void {
    this.#unsubscribe();
  }

  /** Of several that come while one is being taken in, the last counts. */
  #want(stored: readonly StoredDocument[]): void {
    this.#wanted = stored;
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    const slice = new TimeSlice(this.#clock);
    for (let stored = this.#wanted; stored !== null; stored = this.#wanted) {
      this.#wanted = null;
      const next = new Map<string, StoredDocument>();
      const upsert: NewResource[] = [];
      const given = this.#given;
      await slice.run(
        inSteps(stored, (document) => {
          if (notForWaypoints.has(document.kind)) return;
          next.set(document.key, document);
          if (!isSame(given.get(document.key), document)) upsert.push(resourceOf(document));
        }),
      );
      const remove = [...given.keys()].filter((key) => !next.has(key));
      this.#given = next;
      this.#isReady = true;
      if (this.set.apply(upsert, remove)) this.#onChange();
    }
    this.#isRunning = false;
  }
}

function isSame(before: StoredDocument | undefined, now: StoredDocument): boolean {
  return (
    before === now ||
    (before !== undefined &&
      before.text === now.text &&
      before.source === now.source &&
      before.line === now.line &&
      before.createdMs === now.createdMs)
  );
}

function resourceOf({ key, text, source, line, createdMs }: StoredDocument): NewResource {
  const place = { file: source, line, column: 1 };
  return contentResource(
    key,
    encodeDocumentMessage({ key, text, place, createdMs: BigInt(Math.floor(createdMs)) }),
  );
}
