/**
 * The mesh's documents as resources for waypoints, which make their rules of them: each encoded once when it changes, in slices. And those
 * that concern the workloads of one namespace, for tunnels that have a waypoint's application inside.
 */
import { filterInSteps, inSteps } from "../../base/turns/steps.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Watch } from "../../base/watch.ts";
import type { Clock } from "../../host/host.ts";
import { documentType } from "../../wire/ads/delta.ts";
import { type NewResource, ResourceSet } from "../../wire/ads/resource_set.ts";
import { encodeResourceField } from "../../wire/ads/response_parts.ts";
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

/** What services say of themselves to whoever calls them. All else is its own namespace's, and the root namespace's. */
const forAllNamespaces: ReadonlySet<string> = new Set([
  ...["VirtualService", "DestinationRule", "ServiceEntry", "BackendTLSPolicy", "ReferenceGrant"],
  ...["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"],
]);

interface Given {
  readonly document: StoredDocument;
  readonly resource: NewResource;
}

export interface WaypointDocumentsOptions {
  readonly clock: Clock;
  readonly documents: Watch<readonly StoredDocument[]> | null;
  readonly rootNamespace: string;
  /** After a set has changed. */
  readonly onChange: () => void;
}

export class WaypointDocuments {
  readonly set = new ResourceSet(documentType);
  readonly #clock: Clock;
  readonly #rootNamespace: string;
  readonly #onChange: () => void;
  readonly #unsubscribe: () => void;
  /** By namespace, for as long as somebody has one. */
  readonly #views = new Map<string, ResourceSet>();
  #given = new Map<string, Given>();
  #wanted: readonly StoredDocument[] | null = null;
  #isRunning = false;
  #isReady = false;

  constructor({ clock, documents, rootNamespace, onChange }: WaypointDocumentsOptions) {
    this.#clock = clock;
    this.#rootNamespace = rootNamespace;
    this.#onChange = onChange;
    this.#unsubscribe = documents?.subscribe((stored) => this.#want(stored)) ?? (() => {});
    if (documents !== null) this.#want(documents.value);
  }

  /** False until the documents were taken in for the first time: to have none is to have no policy, and is not said by mistake. */
  get isReady(): boolean {
    return this.#isReady;
  }

  /** What concerns the workloads of a namespace. It is kept up to date until `forgetView`. */
  viewOf(namespace: string): ResourceSet {
    const known = this.#views.get(namespace);
    if (known !== undefined) return known;
    const view = new ResourceSet(documentType);
    const resources = [...this.#given.values()]
      .filter(({ document }) => this.#concerns(document, namespace))
      .map(({ resource }) => resource);
    view.apply(resources, []);
    this.#views.set(namespace, view);
    return view;
  }

  forgetView(namespace: string): void {
    this.#views.delete(namespace);
  }

  #concerns(document: StoredDocument, namespace: string): boolean {
    const isNear = [namespace, this.#rootNamespace, ""].includes(document.namespace);
    return isNear || forAllNamespaces.has(document.kind);
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
      const next = new Map<string, Given>();
      const changed: Given[] = [];
      const upsert: NewResource[] = [];
      const given = this.#given;
      await slice.run(
        inSteps(stored, (document) => {
          if (notForWaypoints.has(document.kind)) return;
          const before = given.get(document.key);
          const now =
            before !== undefined && isSame(before.document, document)
              ? before
              : { document, resource: resourceOf(document) };
          next.set(document.key, now);
          if (now === before) return;
          changed.push(now);
          upsert.push(now.resource);
        }),
      );
      const remove = await slice.run(filterInSteps(given.keys(), (key) => !next.has(key)));
      this.#given = next;
      this.#isReady = true;
      // In one turn, since no subscriber may read what is half in force; what takes long is done before.
      let isChanged = this.set.apply(upsert, remove);
      for (const [namespace, view] of this.#views) {
        const nearby = changed.filter(({ document }) => this.#concerns(document, namespace));
        isChanged =
          view.apply(
            nearby.map(({ resource }) => resource),
            remove,
          ) || isChanged;
      }
      if (isChanged) this.#onChange();
    }
    this.#isRunning = false;
  }
}

function isSame(before: StoredDocument, now: StoredDocument): boolean {
  return (
    before === now ||
    (before.text === now.text &&
      before.source === now.source &&
      before.line === now.line &&
      before.createdMs === now.createdMs)
  );
}

function resourceOf({ key, text, source, line, createdMs }: StoredDocument): NewResource {
  const place = { file: source, line, column: 1 };
  const message = encodeDocumentMessage({ key, text, place, createdMs: BigInt(Math.floor(createdMs)) });
  const { name, version, value } = contentResource(key, message);
  // Made here, in steps, and not when all of them come into force together.
  return { name, version, value, field: encodeResourceField(documentType, name, version, value) };
}
