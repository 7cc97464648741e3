/**
 * `istio.io/use-waypoint` on a namespace, a ServiceEntry, an endpoint of one or a WorkloadEntry (istiod
 * `ambient/waypoints.go`, `GetUseWaypoint`; `computeWaypoint` of `ambient/workloads.go`). A waypoint is a Gateway of that name, or without one a ServiceEntry or a WorkloadEntry;
 * `istio.io/waypoint-for` is on it, and is `service` without it, as in Istio.
 */

import { ports } from "../../base/limits/ports.ts";
import { inSteps } from "../../base/turns/steps.ts";
import type {
  EndpointAddress,
  EndpointSpec,
  GatewayDocument,
  Labels,
  MeshDocument,
  NamespaceDocument,
  ServiceEntryDocument,
  WorkloadEntryDocument,
} from "../documents/document.ts";
import type { Located } from "../documents/reader.ts";
import type { Service } from "../service.ts";
import { sameValue } from "../store/change.ts";
import type { GatewayAddress } from "../workload.ts";
import type { ConversionContext } from "./conversion_context.ts";
import type { ConversionReport } from "./conversion_report.ts";
import { selects } from "./selector.ts";
import { labelOf, selectableLabels } from "./workload_labels.ts";

const useWaypointLabel = "istio.io/use-waypoint";
const useNamespace = "istio.io/use-waypoint-namespace";
const canaryLabel = "istio.io/use-waypoint-canary";
const canaryNamespace = "istio.io/use-waypoint-canary-namespace";
/** An annotation: percent of the connections. */
const canaryWeight = "istio.io/use-waypoint-canary-weight";
const waypointForLabel = "istio.io/waypoint-for";
/** The name that opts out. */
const none = "none";

/** On the instances of a waypoint that a Gateway describes. */
const gatewayName = "gateway.networking.k8s.io/gateway-name";
const managedLabel = "gateway.istio.io/managed";
const managedWaypoint = "istio.io-mesh-controller";
const networkLabel = "topology.istio.io/network";

/** What a label may name. */
const named: ReadonlySet<MeshDocument["kind"]> = new Set(["Gateway", "ServiceEntry", "WorkloadEntry"]);

type Described = ServiceEntryDocument | WorkloadEntryDocument;
type Waypoint = Described | GatewayDocument;

export class WaypointLabels {
  readonly #context: ConversionContext;
  readonly #report: ConversionReport;
  readonly #namespaces = new Map<string, NamespaceDocument>();
  readonly #gateways = new Map<string, GatewayDocument>();
  readonly #services = new Map<string, ServiceEntryDocument>();
  readonly #workloads = new Map<string, WorkloadEntryDocument>();
  /** Documents that some label names: no waypoint is before them. */
  readonly #waypoints = new Set<MeshDocument>();

  private constructor(context: ConversionContext, report: ConversionReport) {
    this.#context = context;
    this.#report = report;
  }

  static *of(
    documents: readonly MeshDocument[],
    context: ConversionContext,
    report: ConversionReport,
  ): Generator<void, WaypointLabels> {
    const made = new WaypointLabels(context, report);
    yield* inSteps(documents, (document) => made.#add(document));
    yield* inSteps(documents, (document) => {
      for (const used of usesOf(document)) made.#markWaypoint(document, used);
    });
    return made;
  }

  #add(document: MeshDocument): void {
    if (document.kind === "Namespace") this.#namespaces.set(document.metadata.name, document);
    if (!named.has(document.kind)) return;
    const key = `${document.metadata.namespace}/${document.metadata.name}`;
    if (document.kind === "Gateway") this.#gateways.set(key, document);
    if (document.kind === "ServiceEntry") this.#services.set(key, document);
    if (document.kind === "WorkloadEntry") this.#workloads.set(key, document);
  }

  namespace(name: string): NamespaceDocument | null {
    return this.#namespaces.get(name) ?? null;
  }

  /** Whether some label names the service as a waypoint, or its own say that it is one. No waypoint is before another. */
  isWaypoint(document: ServiceEntryDocument): boolean {
    return this.#isWaypoint(
      document,
      document.metadata.labels.get(gatewayName),
      document.metadata.labels.get(managedLabel),
    );
  }

  forService(document: ServiceEntryDocument): GatewayAddress | null {
    if (this.isWaypoint(document)) return null;
    return this.#resolve(document, useIn(document.metadata.labels, document.metadata.namespace), "service");
  }

  /**
   * A second waypoint that takes a share of the service's connections (istiod `buildWeightedWaypoints`). It is said where the first one
   * is: the namespace's word counts for a service that names no waypoint of its own. What is wrong with it leaves all to the first.
   */
  weightedForService(
    document: ServiceEntryDocument,
    primary: GatewayAddress | null,
  ): Service["weightedWaypoints"] {
    const { labels, namespace: name } = document.metadata;
    const namespace = this.#namespaces.get(name);
    const isOwn = useIn(labels, name) !== null || namespace === undefined;
    const by = isOwn || labels.has(canaryLabel) ? document : namespace;
    const used = canaryIn(by.metadata.labels, name);
    if (primary === null || used === null || used.name.value === none) return [];
    const warn = (message: string) => {
      this.#report.warn(
        document,
        "Ignored",
        `${message}; all connections pass the first waypoint`,
        used.name.at,
      );
      return [];
    };
    const canary = this.#find(used.namespace, used.name.value);
    const called = `the canary ${used.namespace}/${used.name.value}`;
    if (canary === null) return warn(`${called} is not there`);
    if (!takes(canary, "service"))
      return warn(`${called} does not take service traffic (its label ${waypointForLabel})`);
    const share =
      document.metadata.annotations.get(canaryWeight) ??
      (isOwn ? undefined : namespace?.metadata.annotations.get(canaryWeight));
    const weight = share === undefined ? 0 : Number(/^[0-9]{1,3}$/.exec(share.value)?.[0] ?? "-1");
    if (weight < 0 || weight > 100) return warn(`${called} has a weight that is no share in percent`);
    const destination = this.#enter(canary, document, used);
    if (sameValue(destination, nowhere(used))) return [];
    if (sameValue(destination, primary)) return warn(`${called} is the first waypoint itself`);
    return [
      { destination: primary, weight: 100 - weight },
      { destination, weight },
    ];
  }

  /** @param spec the document's own, or that of one endpoint of it */
  forWorkload(document: Described, spec: EndpointSpec): GatewayAddress | null {
    const label = (name: string) => labelOf(document, spec, name);
    if (this.#isWaypoint(document, label(gatewayName), label(managedLabel))) return null;
    return this.#resolve(document, useOfWorkload(document, spec), "workload");
  }

  #isWaypoint(
    document: Described,
    gateway: Located<string> | undefined,
    managed: Located<string> | undefined,
  ): boolean {
    return (
      this.#waypoints.has(document) ||
      managed?.value === managedWaypoint ||
      (gateway !== undefined && this.#gateways.has(`${document.metadata.namespace}/${gateway.value}`))
    );
  }

  /**
   * What is a waypoint has none before it, so only its own namespace makes something one: by a label that names it from
   * there, or by `istio.io/waypoint-for` on it. Else a label elsewhere would take a workload's waypoint away.
   */
  #markWaypoint(document: MeshDocument, used: Use): void {
    const waypoint = this.#find(used.namespace, used.name.value);
    if (waypoint === null) return;
    const user = document.kind === "Namespace" ? document.metadata.name : document.metadata.namespace;
    if (waypoint.metadata.namespace === user || trafficOf(waypoint) !== undefined)
      this.#waypoints.add(waypoint);
  }

  #resolve(document: Described, own: Use | null, traffic: "service" | "workload"): GatewayAddress | null {
    const namespace = this.#namespaces.get(document.metadata.namespace);
    const inherited =
      namespace === undefined ? null : useIn(namespace.metadata.labels, namespace.metadata.name);
    const used = own ?? inherited;
    if (used === null || used.name.value === none) return null;
    const waypoint = this.#find(used.namespace, used.name.value);
    if (waypoint === null) {
      // For what kind of traffic an absent waypoint would be is unknown: a label of its own counts, a namespace's is for services.
      if (traffic === "workload" && own === null) return null;
      const message = `there is no waypoint ${used.namespace}/${used.name.value}; calls are refused until there is`;
      this.#report.warn(document, "Unresolved", message, used.name.at);
      return nowhere(used);
    }
    if (takes(waypoint, traffic)) return this.#enter(waypoint, document, used);
    if (own?.isDirect === true) {
      const message = `${used.namespace}/${used.name.value} does not take ${traffic} traffic (its label ${waypointForLabel})`;
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
        address === undefined ? "has no address" : "does not take traffic of this namespace (allowedRoutes)";
      this.#report.warn(
        document,
        "Unresolved",
        `the waypoint ${name} ${why}; calls are refused`,
        used.name.at,
      );
      return nowhere(used);
    }
    const network = waypoint.metadata.labels.get(networkLabel)?.value ?? this.#context.network;
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

/** What a label asks for. */
interface Use {
  readonly name: Located<string>;
  readonly namespace: string;
  /** False when it was taken over from something around it. */
  readonly isDirect: boolean;
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
  const value = trafficOf(waypoint) ?? "service";
  return value === "all" || value === traffic;
}

/** What its label says; undefined without one. */
function trafficOf(waypoint: Waypoint): string | undefined {
  const label =
    waypoint.kind === "WorkloadEntry"
      ? labelOf(waypoint, waypoint.spec, waypointForLabel)
      : waypoint.metadata.labels.get(waypointForLabel);
  return label?.value;
}

function useIn(labels: Labels, namespace: string): Use | null {
  const name = labels.get(useWaypointLabel);
  return name === undefined
    ? null
    : { name, namespace: labels.get(useNamespace)?.value ?? namespace, isDirect: true };
}

function canaryIn(labels: Labels, namespace: string): Use | null {
  const name = labels.get(canaryLabel);
  return name === undefined
    ? null
    : { name, namespace: labels.get(canaryNamespace)?.value ?? namespace, isDirect: true };
}

/**
 * An endpoint's own label counts, `none` too. Without one it has the waypoint of its ServiceEntry, so that a call to its
 * address does not go around it; a `none` there is about the service alone, and the namespace's label still binds.
 */
function useOfWorkload(document: Described, spec: EndpointSpec): Use | null {
  const { namespace, labels } = document.metadata;
  if (document.kind === "WorkloadEntry") return useIn(selectableLabels(document, spec), namespace);
  const own = useIn(spec.labels, namespace);
  const inherited = useIn(labels, namespace);
  return (
    own ?? (inherited === null || inherited.name.value === none ? null : { ...inherited, isDirect: false })
  );
}

const noUses: readonly Use[] = [];

function hasOwnLabels(document: MeshDocument): boolean {
  if (document.kind === "WorkloadEntry") return document.spec.labels.size > 0;
  return document.kind === "ServiceEntry" && document.endpoints.some(({ labels }) => labels.size > 0);
}

/** All that the labels of one document ask for, those of its endpoints too. */
function usesOf(document: MeshDocument): readonly Use[] {
  const { labels, name, namespace } = document.metadata;
  if (labels.size === 0 && !hasOwnLabels(document)) return noUses;
  const uses: (Use | null)[] =
    document.kind === "WorkloadEntry"
      ? [useOfWorkload(document, document.spec)]
      : [
          useIn(labels, document.kind === "Namespace" ? name : namespace),
          canaryIn(labels, document.kind === "Namespace" ? name : namespace),
        ];
  if (document.kind === "ServiceEntry")
    for (const spec of document.endpoints) uses.push(useIn(spec.labels, namespace));
  return uses.filter((use) => use !== null).filter((use) => use.name.value !== none);
}
