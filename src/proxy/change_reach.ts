/** Which workloads a change of the mesh can touch by policy: theirs are the connections that are decided again. */
import { authorizationKey } from "../mesh/authorization.ts";
import type { MeshChange, MeshStore } from "../mesh/store/store.ts";

export class ChangeReach {
  readonly #store: MeshStore;
  /** Keys of the policies that hold for the whole mesh: one that is removed reaches as far as it did. */
  readonly #meshWide = new Set<string>();

  /** To be made before the changes it is asked about. */
  constructor(store: MeshStore) {
    this.#store = store;
    for (const policy of store.policies())
      if (policy.scope === "GLOBAL") this.#meshWide.add(authorizationKey(policy));
  }

  /** @param change applied, and the last one. @returns whether policy may decide otherwise about the workload of a uid. */
  of({ workloads, policies }: MeshChange): (workloadUid: string) => boolean {
    const uids = new Set(workloads?.remove);
    for (const { uid } of workloads?.upsert ?? []) uids.add(uid);
    const keys = new Set(policies?.remove);
    for (const policy of policies?.upsert ?? []) keys.add(authorizationKey(policy));
    const namespaces = new Set<string>();
    let isMeshWide = false;
    for (const key of keys) {
      namespaces.add(key.slice(0, key.indexOf("/")));
      if (this.#meshWide.delete(key)) isMeshWide = true;
    }
    for (const policy of policies?.upsert ?? []) {
      if (policy.scope !== "GLOBAL") continue;
      this.#meshWide.add(authorizationKey(policy));
      isMeshWide = true;
    }
    return (uid) => {
      if (isMeshWide || uids.has(uid)) return true;
      if (keys.size === 0) return false;
      const workload = this.#store.workload(uid);
      if (workload === null) return true;
      // A policy of the namespace that has no selector, or one that the workload names: its own namespace's or the root's.
      return (
        namespaces.has(workload.namespace) || workload.authorizationPolicies.some((key) => keys.has(key))
      );
    };
  }
}
