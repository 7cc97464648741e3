/** Where rules send traffic: services, ports and subsets that are there, or the answer for what is not. */
import type { MeshDocument, ReferenceGrantDocument } from "../documents/document.ts";
import type {
  BackendRef,
  VirtualDestination,
  VirtualWeight,
  WeightedBackend,
} from "../documents/traffic_specs.ts";
import type { Location } from "../location.ts";
import { type Service, serviceKey } from "../service.ts";
import type { DestinationPlan } from "./destination_policy.ts";
import type { Destination, WeightedDestination } from "./route_plan.ts";
import type { ServiceLookup } from "./service_lookup.ts";
import type { TrafficReport } from "./traffic_scope.ts";

export class Destinations {
  readonly #lookup: ServiceLookup;
  /** What DestinationRules say of a service. */
  readonly #planOf: (service: Service) => DestinationPlan;
  readonly #report: TrafficReport;
  readonly #told = new Set<string>();

  readonly #grants: readonly ReferenceGrantDocument[];

  constructor(
    lookup: ServiceLookup,
    planOf: (service: Service) => DestinationPlan,
    grants: readonly ReferenceGrantDocument[],
    report: TrafficReport,
  ) {
    this.#grants = grants;
    this.#lookup = lookup;
    this.#planOf = planOf;
    this.#report = report;
  }

  /** @param calledPort of the service that is called: where the document names no port. */
  ofVirtual(document: MeshDocument, wanted: VirtualDestination, calledPort: number): Destination {
    const { host, subset, at } = wanted;
    const service = this.#lookup.byHost(host, document.metadata.namespace);
    if (service === null)
      return this.#missing(document, at, 503, `no service is called ${host}`, {
        service: host,
        port: wanted.port ?? calledPort,
        subset,
      });
    const [only, second] = service.ports.keys();
    const port = wanted.port ?? (second === undefined && only !== undefined ? only : calledPort);
    const destination = { service: serviceKey(service), port, subset };
    if (!service.ports.has(port))
      return this.#missing(document, at, 503, `${host} has no port ${port}`, destination);
    if (subset !== null && !this.#planOf(service).subsets.has(subset))
      return this.#missing(
        document,
        at,
        503,
        `no DestinationRule of ${host} has a subset ${subset}`,
        destination,
      );
    return { ...destination, missing: null };
  }

  weighted(
    document: MeshDocument,
    weights: readonly VirtualWeight[],
    calledPort: number,
  ): readonly WeightedDestination[] {
    return weights.map(({ destination, weight, headers: { request, response, authority } }) => ({
      ...this.ofVirtual(document, destination, calledPort),
      weight,
      headers: { request, response },
      ...(authority === null ? {} : { authority }),
    }));
  }

  ofBackend(document: MeshDocument, backend: BackendRef): Destination {
    const own = document.metadata.namespace;
    const port = backend.port ?? 0;
    const name = `${backend.kind} ${backend.namespace ?? own}/${backend.name}`;
    const unknown = { service: `${backend.namespace ?? own}/${backend.name}`, port, subset: null };
    if (backend.namespace !== null && backend.namespace !== own && !this.#isGranted(document, backend))
      return this.#missing(
        document,
        backend.at,
        500,
        `${name} is of another namespace, and no ReferenceGrant there is for this route`,
        unknown,
      );
    const [service, second] = this.#lookup.byRef(backend, own);
    if (service === undefined)
      return this.#missing(document, backend.at, 500, `there is no ${name}`, unknown);
    const destination = { service: serviceKey(service), port, subset: null };
    if (second !== undefined)
      return this.#missing(
        document,
        backend.at,
        500,
        `${name} has several hosts; name one by kind Hostname`,
        destination,
      );
    if (!service.ports.has(port))
      return this.#missing(document, backend.at, 500, `${name} has no port ${port}`, destination);
    return { ...destination, missing: null };
  }

  weightedBackends(
    document: MeshDocument,
    backends: readonly WeightedBackend[],
    at: Location,
  ): readonly WeightedDestination[] {
    const all = backends.map(({ backend, weight, headers }) => ({
      ...this.ofBackend(document, backend),
      weight,
      headers,
    }));
    if (all.length > 0) return all;
    const nothing = { service: "", port: 0, subset: null };
    const missing = this.#missing(document, at, 500, "it names no backends", nothing);
    return [{ ...missing, weight: 1, headers: { request: none, response: none } }];
  }

  #isGranted(document: MeshDocument, { kind, namespace, name }: BackendRef): boolean {
    const { namespace: own } = document.metadata;
    return this.#grants.some(
      ({ metadata, spec }) =>
        metadata.namespace === namespace &&
        spec.from.some((from) => from.kind === document.kind && from.namespace === own) &&
        spec.to.some((to) => to.kind === kind && (to.name === null || to.name === name)),
    );
  }

  #missing(
    document: MeshDocument,
    at: Location,
    status: 500 | 503,
    detail: string,
    destination: Omit<Destination, "missing">,
  ): Destination {
    // One rule is planned for each port.
    const key = `${at.file}:${at.line}:${at.column} ${detail}`;
    if (!this.#told.has(key))
      this.#report.warn(document, "Unresolved", `${detail}: requests for it are answered with ${status}`, at);
    this.#told.add(key);
    return { ...destination, missing: { status, detail } };
  }
}

const none = { remove: [], set: [], add: [] };
