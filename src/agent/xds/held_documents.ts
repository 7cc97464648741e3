/**
 * The mesh's documents as a waypoint holds them, whoever gave them: each is judged alone; a bad one leaves its last good version in force,
 * and without one denies what it may have denied.
 */
import { joinLimits } from "../../base/limits/agent.ts";
import { type Watch, WatchSource } from "../../base/watch.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import type { RefusedForWaypoint } from "../../mesh/documents/refused_policy.ts";
import type { DeltaResource } from "../../wire/ads/delta.ts";

/** What a resource came to. */
export interface ReadDocument {
  /** Null: it could not be read. */
  readonly document: MeshDocument | null;
  readonly refused: RefusedForWaypoint | null;
  /** Why not; "" for a good one. */
  readonly reason: string;
}

interface Held extends Pick<ReadDocument, "document" | "refused"> {
  readonly resource: DeltaResource;
}

export class HeldDocuments {
  readonly #refusedPolicies: "deny" | "skip";
  /** By type, then by name. */
  readonly #held = new Map<string, Map<string, Held>>();
  readonly #inForce = new WatchSource<DocumentsInForce | null>(null);
  #size = 0;
  #bytes = 0;

  /** @param refusedPolicies what a document that never could be read does to the requests that it may have been about. */
  constructor(refusedPolicies: "deny" | "skip") {
    this.#refusedPolicies = refusedPolicies;
  }

  /** Null until it was said which documents there are. */
  get inForce(): Watch<DocumentsInForce | null> {
    return this.#inForce;
  }

  *resources(type: string): Iterable<DeltaResource> {
    for (const { resource } of this.#held.get(type)?.values() ?? []) yield resource;
  }

  /** @returns why there is no room for it. */
  refuse(type: string, { name, resource }: DeltaResource): string | null {
    const bytes = resource?.value.length ?? 0;
    if (this.#held.get(type)?.has(name) !== true && this.#size >= joinLimits.maxDocuments)
      return `this host holds ${joinLimits.maxDocuments} documents, which is the limit`;
    if (this.#bytes + bytes > joinLimits.maxResourceBytes)
      return `this host holds ${this.#bytes} bytes of documents, which is the limit`;
    return null;
  }

  /** @returns why not; what was good under its name stays then. */
  take(type: string, resource: DeltaResource, { document, refused, reason }: ReadDocument): string | null {
    const { name } = resource;
    const before = this.#held.get(type)?.get(name);
    if (document === null && before?.document != null) return reason;
    this.forget(type, name);
    const ofType = this.#held.get(type) ?? new Map<string, Held>();
    this.#held.set(type, ofType);
    ofType.set(name, { resource, document, refused });
    this.#size++;
    this.#bytes += sizeOf(resource);
    return document === null ? reason : null;
  }

  forget(type: string, name: string): void {
    const ofType = this.#held.get(type);
    const held = ofType?.get(name);
    if (ofType === undefined || held === undefined) return;
    ofType.delete(name);
    this.#size--;
    this.#bytes -= sizeOf(held.resource);
  }

  /** Puts in force what is held now. */
  publish(): void {
    const held = [...this.#held.values()].flatMap((ofType) => [...ofType.values()]);
    this.#inForce.set({
      documents: held.flatMap(({ document }) => document ?? []),
      refused: this.#refusedPolicies === "deny" ? held.flatMap(({ refused }) => refused ?? []) : [],
    });
  }
}

function sizeOf({ resource }: DeltaResource): number {
  return resource?.value.length ?? 0;
}
