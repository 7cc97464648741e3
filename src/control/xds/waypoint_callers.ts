/** Who may have the mesh's documents: whoever may act as a waypoint, which is a workload that services or workloads are bound to. */
import type { SpiffeId } from "../../mesh/identity.ts";
import { gatewayHas } from "../../mesh/route/gateway.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import type { GatewayAddress } from "../../mesh/workload.ts";

export class WaypointIdentities {
  readonly #store: MeshStore;
  #version = -1;
  #identities: readonly SpiffeId[] = [];

  constructor(store: MeshStore) {
    this.#store = store;
  }

  /** Of all waypoints that something is bound to, as the mesh is now. */
  get all(): readonly SpiffeId[] {
    if (this.#version !== this.#store.version) {
      this.#version = this.#store.version;
      this.#identities = identitiesOf(this.#store);
    }
    return this.#identities;
  }
}

function identitiesOf(store: MeshStore): readonly SpiffeId[] {
  const gateways = new Map<string, GatewayAddress>();
  const note = (gateway: GatewayAddress | null) => {
    if (gateway !== null) gateways.set(keyOf(gateway), gateway);
  };
  for (const { waypoint, weightedWaypoints } of store.services()) {
    note(waypoint);
    for (const { destination } of weightedWaypoints) note(destination);
  }
  for (const { waypoint } of store.workloads()) note(waypoint);
  const identities = new Map<string, SpiffeId>();
  for (const gateway of gateways.values())
    gatewayHas(store, gateway, ({ identity }) => {
      identities.set(identity.uri, identity);
      return false;
    });
  return [...identities.values()];
}

function keyOf(gateway: GatewayAddress): string {
  return gateway.kind === "address"
    ? `${gateway.network} ${gateway.ip.text}`
    : `${gateway.namespace}/${gateway.hostname}`;
}
