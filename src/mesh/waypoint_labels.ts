/**
 * `istio.io/use-waypoint` on a namespace, a ServiceEntry or a WorkloadEntry (wire facts 8.1). Without Gateway documents a waypoint
 * is a ServiceEntry or a WorkloadEntry of that name; `istio.io/waypoint-for` stands on it, and is `service` without it, as in Istio.
 */

import { ports } from "../base/limits.ts";
import type { ConversionContext, ConversionReport } from "./conversion.ts";
import type {
  MeshDocument,
  NamespaceDocument,
  ServiceEntryDocument,
  WorkloadEntryDocument,
} from "./document.ts";
import type { Located } from "./reader.ts";
import type { GatewayAddress } from "./workload.ts";

const USE = "istio.io/use-waypoint";
const USE_NAMESPACE = "istio.io/use-waypoint-namespace";
const FOR = "istio.io/waypoint-for";

type Candidate = ServiceEntryDocument | WorkloadEntryDocument;

export class WaypointLabels {
  readonly #context: ConversionContext;
  readonly #report: ConversionReport;
  readonly #namespaces = new Map<string, NamespaceDocument>();
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

  /** Whether some label names the document, or `selectedBy` it as a member of a waypoint's service. */
  isWaypoint(document: MeshDocument): boolean {
    return this.#waypoints.has(document);
  }

  forService(document: ServiceEntryDocument): GatewayAddress | null {
    return this.#resolve(document, "service");
  }

  forWorkload(document: Candidate): GatewayAddress | null {
    return this.#resolve(document, "workload");
  }

  #resolve(document: Candidate, traffic: "service" | "workload"): GatewayAddress | null {
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
      return {
        kind: "hostname",
        namespace: used.namespace,
        hostname: used.name.value,
        hboneMtlsPort: ports.hbone,
      };
    }
    if (takes(waypoint, traffic)) return this.#addressOf(waypoint);
    if (own !== null && traffic === (document.kind === "ServiceEntry" ? "service" : "workload")) {
      const message = `${used.namespace}/${used.name.value} takes no ${traffic} traffic (its label ${FOR})`;
      this.#report.warn(document, "Ignored", message, used.name.at);
    }
    return null;
  }

  #use(document: MeshDocument): { readonly name: Located<string>; readonly namespace: string } | null {
    const { labels, name, namespace } = document.metadata;
    const use = labels.get(USE);
    if (use === undefined) return null;
    const own = document.kind === "Namespace" ? name : namespace;
    return { name: use, namespace: labels.get(USE_NAMESPACE)?.value ?? own };
  }

  #find(namespace: string, name: string): Candidate | null {
    return this.#services.get(`${namespace}/${name}`) ?? this.#workloads.get(`${namespace}/${name}`) ?? null;
  }

  #addressOf(waypoint: Candidate): GatewayAddress {
    const namespace = waypoint.metadata.namespace;
    if (waypoint.kind === "ServiceEntry") {
      const hostname = waypoint.hosts[0]?.value ?? waypoint.metadata.name;
      return { kind: "hostname", namespace, hostname, hboneMtlsPort: ports.hbone };
    }
    const address = waypoint.spec.address.value;
    if (address.kind === "hostname")
      return { kind: "hostname", namespace, hostname: address.hostname, hboneMtlsPort: ports.hbone };
    return {
      kind: "address",
      network: waypoint.spec.network ?? this.#context.network,
      ip: address.ip,
      hboneMtlsPort: ports.hbone,
    };
  }
}

function takes(waypoint: Candidate, traffic: "service" | "workload"): boolean {
  const value = waypoint.metadata.labels.get(FOR)?.value ?? "service";
  return value === "all" || value === traffic;
}
