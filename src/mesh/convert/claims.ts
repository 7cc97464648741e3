/**
 * Who may have an address or a host name: the first document that says so. Istio tolerates two; then which identity a caller
 * expects there depends on the order of events, so here the second is refused and told where the first is.
 */
import type { MeshDocument, ServiceEntryDocument, WorkloadEntryDocument } from "../documents/document.ts";
import { nodeNamespace } from "../identity.ts";
import { formatLocation } from "../location.ts";
import type { AddressClaim } from "./address_claims.ts";
import type { ConversionCache } from "./conversion_cache.ts";
import type { ConversionContext } from "./conversion_context.ts";
import type { ConversionReport } from "./conversion_report.ts";

interface Claim {
  readonly document: MeshDocument;
  readonly sharing: AddressClaim["sharing"];
}

export class Claims {
  readonly #context: ConversionContext;
  readonly #cache: ConversionCache;
  readonly #report: ConversionReport;
  readonly #documents = new Map<string, MeshDocument>();
  /** By namespace. */
  readonly #hosts = new Map<string, Map<string, MeshDocument>>();
  readonly #addresses = new Map<string, Claim>();

  constructor(context: ConversionContext, cache: ConversionCache, report: ConversionReport) {
    this.#context = context;
    this.#cache = cache;
    this.#report = report;
  }

  /** Claims all that the document needs, or nothing and refuses it. */
  take(document: MeshDocument): boolean {
    const key = document.metadata.key;
    const first = this.#documents.get(key);
    if (first !== undefined) {
      const message = `is given twice; the first is at ${formatLocation(first.location)}`;
      this.#report.refuse(document, document.location, message, document.metadata.name);
      return false;
    }
    if (document.metadata.namespace === nodeNamespace) {
      // A workload there would have a host's identity, and a policy there would be for no workload.
      const message = `the namespace ${nodeNamespace} is reserved for the hosts of the mesh; no document can be in it`;
      this.#report.refuse(document, document.location, message, nodeNamespace);
      return false;
    }
    if (document.kind === "WorkloadEntry" && !this.#takeWorkload(document)) return false;
    if (document.kind === "ServiceEntry" && !this.#takeService(document)) return false;
    this.#documents.set(key, document);
    return true;
  }

  #takeWorkload(document: WorkloadEntryDocument): boolean {
    const [claim] = this.#cache.claims(document, this.#context);
    if (claim === undefined) return true;
    if (!this.#isFree(claim, document)) return false;
    this.#addresses.set(claim.key, { document, sharing: claim.sharing });
    return true;
  }

  #takeService(document: ServiceEntryDocument): boolean {
    const hosts = this.#hostsOf(document.metadata.namespace);
    for (const { value, at } of document.hosts) {
      const other = hosts.get(value);
      if (other === undefined) continue;
      const where = `${other.metadata.key} at ${formatLocation(other.location)}`;
      this.#report.refuse(document, at, `the host ${value} is claimed by ${where}`, value);
      return false;
    }
    const claims = this.#cache.claims(document, this.#context);
    if (!claims.every((claim) => this.#isFree(claim, document))) return false;
    for (const claim of claims)
      if (!this.#addresses.has(claim.key))
        this.#addresses.set(claim.key, { document, sharing: claim.sharing });
    for (const { value } of document.hosts) hosts.set(value, document);
    return true;
  }

  #hostsOf(namespace: string): Map<string, MeshDocument> {
    const known = this.#hosts.get(namespace) ?? new Map<string, MeshDocument>();
    this.#hosts.set(namespace, known);
    return known;
  }

  #isFree(claim: AddressClaim, document: MeshDocument): boolean {
    const other = this.#addresses.get(claim.key);
    if (other === undefined || (other.sharing !== null && other.sharing === claim.sharing)) return true;
    const where = `${other.document.metadata.key} at ${formatLocation(other.document.location)}`;
    const how =
      other.sharing !== null && claim.sharing !== null
        ? ` as ${other.sharing}, and here as ${claim.sharing}`
        : "";
    this.#report.refuse(
      document,
      claim.at,
      `the address ${claim.text} is claimed by ${where}${how}`,
      claim.text,
    );
    return false;
  }
}
