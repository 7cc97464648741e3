/**
 * `istio.io/use-waypoint` on a namespace, a ServiceEntry or a WorkloadEntry (istiod `ambient/waypoints.go`,
 * `GetUseWaypoint`). A waypoint is a Gateway of that name, or without one a ServiceEntry or a WorkloadEntry;
 * `istio.io/waypoint-for` stands on it, and is `service` without it, as in Istio.
 */

import { ports } from "../../base/limits/ports.ts";
import type {
  EndpointAddress,
  GatewayDocument,
  MeshDocument,
  NamespaceDocument,
  ServiceEntryDocument,
  WorkloadEntryDocument,
} from "../documents/document.ts";
import type { Located } from "../documents/reader.ts";
import type { GatewayAddress } from "../workload.ts";
import type { ConversionContext } from "./conversion_context.ts";
import type { ConversionReport } from "./conversion_report.ts";
import { selects } from "./selector.ts";

const USE = "istio.io/use-waypoint";
const USE_NAMESPACE = "istio.io/use-waypoint-namespace";
const FOR = "istio.io/waypoint-for";

/** On the instances of a waypoint that a Gateway describes. */
const GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name";
const MANAGED = "gateway.istio.io/managed";
const MANAGED_WAYPOINT = "istio.io-mesh-controller";
const NETWORK = "topology.istio.io/network";

type Described = ServiceEntryDocument | WorkloadEntryDocument;
type Waypoint = Described | GatewayDocument;

export class WaypointLabels {
  readonly #context: ConversionContext;
  readonly #report: ConversionReport;
  readonly #namespaces = new Map<string, NamespaceDocument>();
  readonly #gateways = new Map<string, GatewayDocument>();
  readonly #services = new Map<string, ServiceEntryDocument>();
  readonly #workloads = new Map<string, WorkloadEntryDocument>();
  /** Documents that some label names: they stand behind no waypoint themselves. */
  readonly #waypoints = new Set<MeshDocument>();

  constructor(documents: readonly MeshDocument[], context: ConversionContext, report: ConversionReport) {
    this.#context = context;
    this.#report = report;
    for (const document of documents) {
      const key = `${document.metadata.namespace}/${document.metadata.name}`;
      if (document.kind === "Namespace") this.#namespaces.set(document.metadata.name, document);
      if (document.kind === "Gateway") this.#gateways.set(key, document);
      if (document.kind === "ServiceEntry") this.#services.set(key, document);
      if (document.kind === "WorkloadEntry") this.#workloads.set(key, document);
    }
    for (const document of documents) {
      const used = this.#use(document);
      const waypoint = used === null ? null : this.#find(used.namespace, used.name.value);
      if (waypoint !== null) this.#waypoints.add(waypoint);
    }
  }

  namespace(name: string): NamespaceDocument | null {
    return this.#namespaces.get(name) ?? null;
  }

  /** Whether some label names the document, or its own say that it is an instance of a waypoint. No waypoint stands before another. */
  isWaypoint(document: MeshDocument): boolean {
    const gateway = labelOf(document, GATEWAY_NAME);
    return (
      this.#waypoints.has(document) ||
      labelOf(document, MANAGED) === MANAGED_WAYPOINT ||
      (gateway !== undefined && this.#gateways.has(`${document.metadata.namespace}/${gateway}`))
    );
  }

  forService(document: ServiceEntryDocument): GatewayAddress | null {
    return this.#resolve(document, "service");
  }

  forWorkload(document: Described): GatewayAddress | null {
    return this.#resolve(document, "workload");
  }

  #resolve(document: Described, traffic: "service" | "workload"): GatewayAddress | null {
    if (this.isWaypoint(document)) return null;
    const own = this.#use(document);
    const inherited = this.#namespaces.get(document.metadata.namespace);
    const used = own ?? (inherited === undefined ? null : this.#use(inherited));
    if (used === null || used.name.value === "none") return null;
    const waypoint = this.#find(used.namespace, used.name.value);
    if (waypoint === null) {
      // For what kind of traffic an absent waypoint would be is unknown: a label of its own counts, a namespace's is for services.
      if (traffic === "workload" && own === null) return null;
      const message = `there is no waypoint ${used.namespace}/${used.name.value}; calls are refused until there is`;
      this.#report.warn(document, "Unresolved", message, used.name.at);
      return nowhere(used);
    }
    if (takes(waypoint, traffic)) return this.#enter(waypoint, document, used);
    if (own !== null && traffic === (document.kind === "ServiceEntry" ? "service" : "workload")) {
      const message = `${used.namespace}/${used.name.value} takes no ${traffic} traffic (its label ${FOR})`;
      this.#report.warn(document, "Ignored", message, used.name.at);
    }
    return null;
  }

  /** istiod leaves out a waypoint that does not take the namespace's traffic, which then passes none; here it is refused. */
  #enter(waypoint: Waypoint, document: Described, used: Use): GatewayAddress {
    if (waypoint.kind !== "Gateway") return this.#addressOf(waypoint);
    const address = waypoint.addresses[0]?.value;
    const name = `${used.namespace}/${used.name.value}`;
    if (address === undefined || !this.#allows(waypoint, document.metadata.namespace)) {
      const why =
        address === undefined ? "has no address" : "takes no traffic of this namespace (allowedRoutes)";
      this.#report.warn(
        document,
        "Unresolved",
        `the waypoint ${name} ${why}; calls are refused`,
        used.name.at,
      );
      return nowhere(used);
    }
    const network = waypoint.metadata.labels.get(NETWORK)?.value ?? this.#context.network;
    return gatewayAddress(address, network, waypoint.metadata.namespace);
  }

  #allows({ metadata, allowedNamespaces }: GatewayDocument, namespace: string): boolean {
    switch (allowedNamespaces.from) {
      case "All":
        return true;
      case "Same":
        return metadata.namespace === namespace;
      case "None":
        return false;
      case "Selector":
        return selects(
          allowedNamespaces.selector,
          this.#namespaces.get(namespace)?.metadata.labels ?? new Map(),
        );
    }
  }

  #use(document: MeshDocument): Use | null {
    const { labels, name, namespace } = document.metadata;
    const use = labels.get(USE);
    if (use === undefined) return null;
    const own = document.kind === "Namespace" ? name : namespace;
    return { name: use, namespace: labels.get(USE_NAMESPACE)?.value ?? own };
  }

  #find(namespace: string, name: string): Waypoint | null {
    const key = `${namespace}/${name}`;
    return this.#gateways.get(key) ?? this.#services.get(key) ?? this.#workloads.get(key) ?? null;
  }

  #addressOf(waypoint: Described): GatewayAddress {
    const namespace = waypoint.metadata.namespace;
    if (waypoint.kind === "ServiceEntry") {
      const hostname = waypoint.hosts[0]?.value ?? waypoint.metadata.name;
      return { kind: "hostname", namespace, hostname, hboneMtlsPort: ports.hbone };
    }
    return gatewayAddress(
      waypoint.spec.address.value,
      waypoint.spec.network ?? this.#context.network,
      namespace,
    );
  }
}

/** A workload's labels are those of its spec over those of its metadata. */
function labelOf(document: MeshDocument, name: string): string | undefined {
  const own = document.kind === "WorkloadEntry" ? document.spec.labels.get(name) : undefined;
  return (own ?? document.metadata.labels.get(name))?.value;
}

/** What a label asks for. */
interface Use {
  readonly name: Located<string>;
  readonly namespace: string;
}

function gatewayAddress(address: EndpointAddress, network: string, namespace: string): GatewayAddress {
  const hboneMtlsPort = ports.hbone;
  if (address.kind === "ip") return { kind: "address", network, ip: address.ip, hboneMtlsPort };
  return { kind: "hostname", namespace, hostname: address.hostname, hboneMtlsPort };
}

/** A waypoint that nothing resolves to: whoever has to pass it is refused. */
function nowhere({ namespace, name }: Use): GatewayAddress {
  return { kind: "hostname", namespace, hostname: name.value, hboneMtlsPort: ports.hbone };
}

function takes(waypoint: Waypoint, traffic: "service" | "workload"): boolean {
  const value = waypoint.metadata.labels.get(FOR)?.value ?? "service";
  return value === "all" || value === traffic;
}
