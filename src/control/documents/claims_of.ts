/** What a document claims of the things that namespaces own: host names, addresses, nodes, the way to a network. */
import { formatPrefix, type IpPrefix, isSingleAddress } from "../../base/prefix.ts";
import type {
  EndpointSpec,
  Labels,
  MeshDocument,
  ServiceEntryDocument,
} from "../../mesh/documents/document.ts";
import type { Location } from "../../mesh/location.ts";

export type Claimed =
  | { readonly kind: "host"; readonly host: string }
  /** `isService`: what is sent there is taken, whoever has the addresses. Otherwise a workload is there. */
  | {
      readonly kind: "range";
      readonly network: string;
      readonly prefix: IpPrefix;
      readonly isService: boolean;
    }
  | { readonly kind: "node"; readonly node: string }
  | { readonly kind: "network"; readonly network: string };

export interface Claim {
  readonly claimed: Claimed;
  /** Where the document says it. */
  readonly at: Location;
  readonly document: MeshDocument;
}

const nodeAnnotation = "fairlead.dev/node";
const gatewayAnnotation = "fairlead.dev/gateway-for-network";

/** @param network of addresses that name none. */
export function claimsOf(document: MeshDocument, network: string): readonly Claim[] {
  switch (document.kind) {
    case "WorkloadEntry":
      return [
        ...addressClaims(document, document.spec, network),
        ...annotationClaims(document, document.metadata.annotations),
      ];
    case "WorkloadGroup":
      // Members have the node that they joined as, whatever the group says.
      return annotationClaims(document, document.entryAnnotations).filter(
        ({ claimed }) => claimed.kind !== "node",
      );
    case "ServiceEntry":
      return [
        ...serviceClaims(document, network),
        ...document.endpoints.flatMap((endpoint) => addressClaims(document, endpoint, network)),
        ...annotationClaims(document, document.metadata.annotations),
      ];
    default:
      return [];
  }
}

/** What two claims on the same thing have in common. */
export function claimKey(claimed: Claimed): string {
  switch (claimed.kind) {
    case "host":
      return `host ${claimed.host}`;
    case "range":
      return `${claimed.isService ? "service" : "workload"} ${claimed.network}/${formatPrefix(claimed.prefix)}`;
    case "node":
      return `node ${claimed.node}`;
    case "network":
      return `network ${claimed.network}`;
  }
}

/** In an operator's words. */
export function describeClaimed(claimed: Claimed): string {
  switch (claimed.kind) {
    case "host":
      return `the host ${claimed.host}`;
    case "range": {
      const isOne = isSingleAddress(claimed.prefix);
      const text = isOne ? claimed.prefix.ip.text : formatPrefix(claimed.prefix);
      const what = isOne ? "the address" : "the range";
      return `${what} ${text}${claimed.network === "" ? "" : ` of network ${claimed.network}`}`;
    }
    case "node":
      return `node ${claimed.node}`;
    case "network":
      return `the way to network ${claimed.network}`;
  }
}

function serviceClaims(document: ServiceEntryDocument, network: string): readonly Claim[] {
  const ranges = document.addresses.map(
    ({ value: prefix, at }): Claim => ({
      claimed: { kind: "range", network, prefix, isService: true },
      at,
      document,
    }),
  );
  // A name that only its own namespace is led by takes nothing from others: two may have the same service outside the mesh.
  if (document.visibility === "NAMESPACE") return ranges;
  const hosts = document.hosts.map(
    ({ value: host, at }): Claim => ({ claimed: { kind: "host", host }, at, document }),
  );
  return [...hosts, ...ranges];
}

function addressClaims(document: MeshDocument, endpoint: EndpointSpec, network: string): readonly Claim[] {
  const { value, at } = endpoint.address;
  if (value.kind !== "ip") return [];
  const prefix = { ip: value.ip, length: value.ip.bytes.length * 8 };
  const claimed = { kind: "range", network: endpoint.network ?? network, prefix, isService: false } as const;
  return [{ claimed, at, document }];
}

function annotationClaims(document: MeshDocument, annotations: Labels): readonly Claim[] {
  const node = annotations.get(nodeAnnotation);
  const gateway = annotations.get(gatewayAnnotation);
  return [
    ...(node === undefined || node.value === ""
      ? []
      : [{ claimed: { kind: "node", node: node.value } as const, at: node.at, document }]),
    ...(gateway === undefined
      ? []
      : [{ claimed: { kind: "network", network: gateway.value } as const, at: gateway.at, document }]),
  ];
}
