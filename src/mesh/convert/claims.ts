/**
 * Who may have an address or a host name: the first document that says so. Istio tolerates two; then which identity a caller
 * expects there depends on the order of events, so here the second is refused and told where the first is.
 */
import { formatNetwork, formatPrefix, type IpPrefix, isSingleAddress } from "../../base/prefix.ts";
import type {
  EndpointSpec,
  MeshDocument,
  ServiceEntryDocument,
  WorkloadEntryDocument,
} from "../documents/document.ts";
import { nodeNamespace } from "../identity.ts";
import { formatLocation } from "../location.ts";
import type { ConversionContext } from "./conversion_context.ts";
import type { ConversionReport } from "./conversion_report.ts";
import { isHbone } from "./workload_entry.ts";

interface Claim {
  readonly document: MeshDocument;
  /** Two endpoints of the same description may share an address: one host behind two services. Null: no other may. */
  readonly sharing: string | null;
}

export class Claims {
  readonly #context: ConversionContext;
  readonly #report: ConversionReport;
  readonly #documents = new Map<string, MeshDocument>();
  readonly #hosts = new Map<string, MeshDocument>();
  readonly #addresses = new Map<string, Claim>();

  constructor(context: ConversionContext, report: ConversionReport) {
    this.#context = context;
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
    const claim = this.#endpointClaim(document, document.spec, null);
    if (claim === null) return true;
    if (!this.#isFree(claim, document)) return false;
    this.#addresses.set(claim.key, { document, sharing: claim.sharing });
    return true;
  }

  #takeService(document: ServiceEntryDocument): boolean {
    for (const { value, at } of document.hosts) {
      const other = this.#hosts.get(`${document.metadata.namespace}/${value}`);
      if (other === undefined) continue;
      const where = `${other.metadata.key} at ${formatLocation(other.location)}`;
      this.#report.refuse(document, at, `the host ${value} is claimed by ${where}`, value);
      return false;
    }
    const vips = document.addresses.map(({ value, at }) => ({
      key: this.#vipKey(value),
      at,
      text: isSingleAddress(value) ? value.ip.text : formatPrefix(value),
      sharing: null,
    }));
    const endpoints = document.endpoints.flatMap(
      (endpoint) => this.#endpointClaim(document, endpoint, "endpoint") ?? [],
    );
    const claims = [...vips, ...endpoints];
    if (!claims.every((claim) => this.#isFree(claim, document))) return false;
    for (const claim of claims)
      if (!this.#addresses.has(claim.key))
        this.#addresses.set(claim.key, { document, sharing: claim.sharing });
    for (const { value } of document.hosts)
      this.#hosts.set(`${document.metadata.namespace}/${value}`, document);
    return true;
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

  #endpointClaim(
    document: WorkloadEntryDocument | ServiceEntryDocument,
    endpoint: EndpointSpec,
    sharing: "endpoint" | null,
  ): AddressClaim | null {
    const address = endpoint.address.value;
    if (address.kind !== "ip") return null;
    const network = endpoint.network ?? this.#context.network;
    return {
      key: `${network}/${address.ip.text}`,
      at: endpoint.address.at,
      text: address.ip.text,
      sharing: sharing === null ? null : this.#describe(document, endpoint),
    };
  }

  #describe(document: WorkloadEntryDocument | ServiceEntryDocument, endpoint: EndpointSpec): string {
    const id = `spiffe://${this.#context.trustDomain}/ns/${document.metadata.namespace}/sa/${endpoint.serviceAccount}`;
    return `${id} ${isHbone(document, endpoint) ? "with" : "without"} HBONE`;
  }

  #vipKey(prefix: IpPrefix): string {
    return `${this.#context.network}/${isSingleAddress(prefix) ? prefix.ip.text : formatNetwork(prefix)}`;
  }
}

interface AddressClaim {
  readonly key: string;
  readonly at: MeshDocument["location"];
  readonly text: string;
  readonly sharing: string | null;
}
