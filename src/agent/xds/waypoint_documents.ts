/**
 * The mesh's documents from our own control plane, for a waypoint: as their authors wrote them, so that a refusal on this host can point at
 * the line. Each is judged alone; a bad one leaves its last good version in force, and without one denies what it may have denied.
 */
import { joinLimits } from "../../base/limits/agent.ts";
import { TimeSlice } from "../../base/time_slice.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { Clock } from "../../host/host.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import { type ParsedEntry, parseInSteps } from "../../mesh/documents/parse.ts";
import type { RefusedForWaypoint } from "../../mesh/documents/refused_policy.ts";
import { formatLocation } from "../../mesh/location.ts";
import {
  type Delivery,
  type DeltaResource,
  documentType,
  type RejectedResource,
} from "../../wire/ads/delta.ts";
import { decodeDocumentMessage } from "../../wire/messages/mesh_resources.ts";
import type { ResourceHandler } from "./resource_handler.ts";

interface Held {
  readonly resource: DeltaResource;
  readonly document: MeshDocument | null;
  /** It could not be read and never could. */
  readonly refused: RefusedForWaypoint | null;
}

export class WaypointDocumentResources implements ResourceHandler {
  readonly typeUrl = documentType;
  readonly #clock: Clock;
  readonly #refusedPolicies: "deny" | "skip";
  readonly #held = new Map<string, Held>();
  readonly #inForce = new WatchSource<DocumentsInForce | null>(null);
  #bytes = 0;

  /** @param refusedPolicies what a document that never could be read does to the requests that it may have been about. */
  constructor(clock: Clock, refusedPolicies: "deny" | "skip") {
    this.#clock = clock;
    this.#refusedPolicies = refusedPolicies;
  }

  /** Null until the control plane has said which documents there are. */
  get inForce(): Watch<DocumentsInForce | null> {
    return this.#inForce;
  }

  *resources(): Iterable<DeltaResource> {
    for (const { resource } of this.#held.values()) yield resource;
  }

  async apply({ resources, removed }: Delivery): Promise<readonly RejectedResource[]> {
    const slice = new TimeSlice(this.#clock);
    const rejected: RejectedResource[] = [];
    for (const name of removed) this.#forget(name);
    for (const resource of resources) {
      await slice.giveWay();
      const reason = await this.#take(resource, slice);
      if (reason !== null) rejected.push({ name: resource.name, reason });
    }
    const held = [...this.#held.values()];
    this.#inForce.set({
      documents: held.flatMap(({ document }) => document ?? []),
      refused: this.#refusedPolicies === "deny" ? held.flatMap(({ refused }) => refused ?? []) : [],
    });
    return rejected;
  }

  /** @returns why not; what was good under its name stays then. */
  async #take(resource: DeltaResource, slice: TimeSlice): Promise<string | null> {
    const { name } = resource;
    const bytes = resource.resource?.value ?? new Uint8Array();
    if (!this.#held.has(name) && this.#held.size >= joinLimits.maxDocuments)
      return `this host holds ${joinLimits.maxDocuments} documents, which is the limit`;
    if (this.#bytes + bytes.length > joinLimits.maxResourceBytes)
      return `this host holds ${this.#bytes} bytes of documents, which is the limit`;
    const read = await readDocument(name, bytes, slice);
    if (typeof read === "string") return read;
    const before = this.#held.get(name);
    if (read.document === null && before?.document != null) return read.reason;
    this.#hold(name, { resource, document: read.document, refused: read.refused });
    return read.document === null ? read.reason : null;
  }

  #hold(name: string, held: Held): void {
    this.#forget(name);
    this.#held.set(name, held);
    this.#bytes += sizeOf(held);
  }

  #forget(name: string): void {
    const held = this.#held.get(name);
    if (held === undefined) return;
    this.#held.delete(name);
    this.#bytes -= sizeOf(held);
  }
}

function sizeOf({ resource }: Held): number {
  return resource.resource?.value.length ?? 0;
}

/** @returns why it is none at all. */
async function readDocument(
  name: string,
  bytes: Uint8Array,
  slice: TimeSlice,
): Promise<
  | {
      readonly document: MeshDocument | null;
      readonly refused: RefusedForWaypoint | null;
      readonly reason: string;
    }
  | string
> {
  let message: ReturnType<typeof decodeDocumentMessage>;
  try {
    message = decodeDocumentMessage(bytes);
  } catch {
    return "the bytes are not a fairlead.v1.Document";
  }
  const { key, text, place, createdMs } = message;
  if (key !== name) return `it calls itself ${key}`;
  const source = { file: place?.file ?? "", firstLine: place?.line ?? 1, text };
  const entries: readonly ParsedEntry[] = await slice.run(parseInSteps(source));
  const [entry] = entries;
  if (entry === undefined || entries.length > 1) return "it is not one document";
  const [error] = entry.errors;
  const reason = error === undefined ? "" : `${formatLocation(error.location)}: ${error.message}`;
  const { document, refusedForWaypoint } = entry;
  if (document === null) return { document, refused: refusedForWaypoint, reason };
  if (document.metadata.key !== name) return `its text is of ${document.metadata.key}`;
  // The control plane's word for when it came, in the place of the author's.
  const metadata = { ...document.metadata, createdMs: Number(createdMs) };
  return { document: { ...document, metadata }, refused: null, reason };
}
