/** Whether a document is for what an exchange called, by its targets: the same rules as for policies. */
import type { GatewayDocument, MiddlewareDocument } from "../mesh/documents/document.ts";
import type { Service } from "../mesh/service.ts";
import { identitiesOf, ownGateways } from "../mesh/targets/own_gateways.ts";
import { serviceTargets, targetKey, waypointTargets } from "../mesh/targets/targets.ts";
import type { Workload } from "../mesh/workload.ts";
import { enforcedServices } from "./auth/enforced_services.ts";
import type { Downstream } from "./exchange.ts";

export class Attachment {
  readonly #rootNamespace: string;
  readonly #serviceByKey: (key: string) => Service | null;
  #gateways: readonly GatewayDocument[] = [];
  #keys = new WeakMap<Workload, WeakMap<Service | Workload, ReadonlySet<string>>>();
  /** Of connections into and out of workloads that have the application in their tunnel. */
  readonly #inside = new WeakMap<Downstream, ReadonlySet<string>>();

  constructor(rootNamespace: string, serviceByKey: (key: string) => Service | null) {
    this.#rootNamespace = rootNamespace;
    this.#serviceByKey = serviceByKey;
  }

  update(gateways: readonly GatewayDocument[]): void {
    this.#gateways = gateways;
    this.#keys = new WeakMap();
  }

  isFor(
    { metadata, targetRefs }: Pick<MiddlewareDocument, "metadata" | "targetRefs">,
    downstream: Downstream,
  ): boolean {
    const keys = this.#keysOf(downstream);
    return targetRefs.some(({ value }) => keys.has(targetKey(metadata.namespace, value)));
  }

  /** The targets that documents may name to be for it: one object as long as the answers of `isFor` stay what they are. */
  scopeOf(downstream: Downstream): ReadonlySet<string> {
    return this.#keysOf(downstream);
  }

  #keysOf(downstream: Downstream): ReadonlySet<string> {
    const { waypoint, service, workload, place } = downstream;
    if (place.side !== "waypoint") {
      const keys =
        this.#inside.get(downstream) ?? new Set(enforcedServices(downstream).flatMap(serviceTargets));
      this.#inside.set(downstream, keys);
      return keys;
    }
    const called = service ?? workload ?? waypoint;
    let byCalled = this.#keys.get(waypoint);
    if (byCalled === undefined) {
      byCalled = new WeakMap();
      this.#keys.set(waypoint, byCalled);
    }
    const known = byCalled.get(called);
    if (known !== undefined) return known;
    const own = ownGateways(waypoint, this.#gateways, this.#serviceByKey);
    const keys = new Set([
      ...identitiesOf(waypoint, own).flatMap((identity) => waypointTargets(identity, this.#rootNamespace)),
      ...(service === null ? [] : serviceTargets(service)),
    ]);
    byCalled.set(called, keys);
    return keys;
  }
}
