/** The mesh's documents as the rule of entitlement asks them, indexed once for each version of the store. */
import type { SpiffeId } from "../../mesh/identity.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { MeshFacts, PlacedWorkload } from "./entitlement.ts";

/** The part of `MeshStore` that is read here. */
export interface WorkloadSource {
  readonly version: number;
  workloads(): Iterable<Workload>;
}

interface Index {
  readonly version: number;
  readonly byNode: ReadonlyMap<string, readonly PlacedWorkload[]>;
  /** Null where two documents of one name say different things: then it is not known who it is. */
  readonly byKey: ReadonlyMap<string, PlacedWorkload | null>;
}

export class StoreMeshFacts implements MeshFacts {
  readonly #store: WorkloadSource;
  readonly #groupIdentity: (key: string) => SpiffeId | null;
  #index: Index | null = null;

  constructor(store: WorkloadSource, groupIdentity: (key: string) => SpiffeId | null) {
    this.#store = store;
    this.#groupIdentity = groupIdentity;
  }

  workload(key: string): PlacedWorkload | null {
    return this.#current().byKey.get(key) ?? null;
  }

  workloadsOn(node: string): readonly PlacedWorkload[] {
    return node === "" ? [] : (this.#current().byNode.get(node) ?? []);
  }

  groupIdentity(key: string): SpiffeId | null {
    return this.#groupIdentity(key);
  }

  #current(): Index {
    if (this.#index?.version !== this.#store.version) this.#index = indexOf(this.#store);
    return this.#index;
  }
}

function indexOf(store: WorkloadSource): Index {
  const byNode = new Map<string, PlacedWorkload[]>();
  const byKey = new Map<string, PlacedWorkload | null>();
  for (const { namespace, name, identity, node } of store.workloads()) {
    const placed = { identity, node };
    const key = `${namespace}/${name}`;
    const other = byKey.get(key);
    const agrees =
      other === undefined || (other !== null && other.node === node && other.identity.equals(identity));
    byKey.set(key, agrees ? placed : null);
    const onNode = byNode.get(node);
    if (onNode === undefined) byNode.set(node, [placed]);
    else onNode.push(placed);
  }
  return { version: store.version, byNode, byKey };
}
