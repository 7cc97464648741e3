/**
 * The mesh's documents from our own control plane, for a waypoint: as their authors wrote them, so that a refusal on this host can point at
 * the line.
 */
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import { type ParsedEntry, parseInSteps } from "../../mesh/documents/parse.ts";
import { formatLocation, type Location } from "../../mesh/location.ts";
import {
  type Delivery,
  type DeltaResource,
  documentType,
  type RejectedResource,
} from "../../wire/ads/delta.ts";
import { decodeDocumentMessage } from "../../wire/messages/mesh_resources.ts";
import type { HeldDocuments, ReadDocument } from "./held_documents.ts";
import type { ResourceHandler } from "./resource_handler.ts";

export class WaypointDocumentResources implements ResourceHandler {
  readonly typeUrl = documentType;
  readonly #clock: Clock;
  readonly #held: HeldDocuments;

  constructor(clock: Clock, held: HeldDocuments) {
    this.#clock = clock;
    this.#held = held;
  }

  resources(): Iterable<DeltaResource> {
    return this.#held.resources(this.typeUrl);
  }

  async apply({ resources, removed }: Delivery): Promise<readonly RejectedResource[]> {
    const slice = new TimeSlice(this.#clock);
    const rejected: RejectedResource[] = [];
    for (const name of removed) this.#held.forget(this.typeUrl, name);
    for (const resource of resources) {
      await slice.giveWay();
      const reason = await this.#take(resource, slice);
      if (reason !== null) rejected.push({ name: resource.name, reason });
    }
    this.#held.publish();
    return rejected;
  }

  /** @returns why not; what was good under its name stays then. */
  async #take(resource: DeltaResource, slice: TimeSlice): Promise<string | null> {
    const noRoom = this.#held.refuse(this.typeUrl, resource);
    if (noRoom !== null) return noRoom;
    const read = await readDocument(resource.name, resource.resource?.value ?? new Uint8Array(), slice);
    return typeof read === "string" ? read : this.#held.take(this.typeUrl, resource, read);
  }
}

/** @returns why it is none at all. */
async function readDocument(
  name: string,
  bytes: Uint8Array,
  slice: TimeSlice,
): Promise<ReadDocument | string> {
  let message: ReturnType<typeof decodeDocumentMessage>;
  try {
    message = decodeDocumentMessage(bytes);
  } catch {
    return "the bytes are not a fairlead.v1.Document";
  }
  const { key, text, place, createdMs } = message;
  if (key !== name) return `it calls itself ${key}`;
  const source = { file: place?.file ?? "", firstLine: place?.line ?? 1, text };
  const read = await readText(source, Number(createdMs), slice);
  if (typeof read === "string" || read.document === null || read.document.metadata.key === name) return read;
  return `its text is of ${read.document.metadata.key}`;
}

/** @param createdMs the control plane's word for when it came, in the place of the author's; null leaves the author's. @returns why it is none. */
export async function readText(
  source: { readonly file: string; readonly firstLine: number; readonly text: string },
  createdMs: number | null,
  slice: TimeSlice,
): Promise<ReadDocument | string> {
  const entries: readonly ParsedEntry[] = await slice.run(parseInSteps(source));
  const [entry] = entries;
  if (entry === undefined || entries.length > 1) return "it is not one document";
  const [error] = entry.errors;
  const reason = error === undefined ? "" : describe(error);
  const { document, refusedForWaypoint } = entry;
  if (document === null) return { document, refused: refusedForWaypoint, reason };
  const metadata = createdMs === null ? document.metadata : { ...document.metadata, createdMs };
  return { document: { ...document, metadata }, refused: null, reason };
}

function describe({ location, message }: { readonly location: Location; readonly message: string }): string {
  return `${formatLocation(location)}: ${message}`;
}
