/** The addresses that a document says are its own. Who may have them, `claims.ts` decides. */
import { formatNetwork, formatPrefix, isSingleAddress } from "../../base/prefix.ts";
import type { EndpointSpec, MeshDocument, ServiceEntryDocument } from "../documents/document.ts";
import type { ConversionContext } from "./conversion_context.ts";
import { isHbone } from "./workload_entry.ts";

export interface AddressClaim {
  readonly key: string;
  readonly at: MeshDocument["location"];
  readonly text: string;
  /** Two endpoints of the same description may share an address: one host behind two services. Null: no other may. */
  readonly sharing: string | null;
}

/** VIPs before endpoints. */
export function claimsOf(document: MeshDocument, context: ConversionContext): readonly AddressClaim[] {
  if (document.kind === "WorkloadEntry") {
    const claim = endpointClaim(document.spec, context);
    return claim === null ? [] : [{ ...claim, sharing: null }];
  }
  if (document.kind !== "ServiceEntry") return [];
  const vips = document.addresses.map(({ value, at }) => ({
    key: `${context.network}/${isSingleAddress(value) ? value.ip.text : formatNetwork(value)}`,
    at,
    text: isSingleAddress(value) ? value.ip.text : formatPrefix(value),
    sharing: null,
  }));
  const endpoints = document.endpoints.flatMap((endpoint) => {
    const claim = endpointClaim(endpoint, context);
    return claim === null ? [] : [{ ...claim, sharing: description(document, endpoint, context) }];
  });
  return [...vips, ...endpoints];
}

function endpointClaim(
  endpoint: EndpointSpec,
  context: ConversionContext,
): Omit<AddressClaim, "sharing"> | null {
  const address = endpoint.address.value;
  if (address.kind !== "ip") return null;
  const network = endpoint.network ?? context.network;
  return { key: `${network}/${address.ip.text}`, at: endpoint.address.at, text: address.ip.text };
}

function description(
  document: ServiceEntryDocument,
  endpoint: EndpointSpec,
  { trustDomain }: ConversionContext,
): string {
  const id = `spiffe://${trustDomain}/ns/${document.metadata.namespace}/sa/${endpoint.serviceAccount}`;
  return `${id} ${isHbone(document, endpoint) ? "with" : "without"} HBONE`;
}
