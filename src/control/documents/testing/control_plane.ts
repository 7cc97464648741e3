/** A control plane's documents on a simulated machine, for tests. */
import { silentLogger } from "../../../base/log.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import { MeshStore } from "../../../mesh/store/store.ts";
import { context } from "../../../mesh/testing/convert_text.ts";
import { ip } from "../../../mesh/testing/fixture.ts";
import { describeDenial } from "../../../policy/decision.ts";
import { createReferenceEngine } from "../../../policy/reference.ts";
import type { ControlState } from "../../state/control_state.ts";
import { StateWorld } from "../../state/testing/simulated_state.ts";
import type { ChangeResult } from "../change_request.ts";
import type { ControlPlaneFacts } from "../lock_out.ts";
import { MeshDocuments, type MeshDocumentsOptions } from "../mesh_documents.ts";

export const facts: ControlPlaneFacts = {
  addresses: [ip("10.9.9.9")],
  port: 15012,
  names: ["control.example"],
  identity: new SpiffeId("cluster.local", "istio-system", "fairlead-control"),
  clients: [ip("10.0.0.1")],
  neededIdentities: [],
  policyOf: (state) => {
    const engine = createReferenceEngine({ missingPolicy: "deny" });
    engine.update(state.policies);
    return (workload, { source, destination, port }) => {
      const connection = { sourceIp: source, sourceIdentity: null, destinationIp: destination };
      const decision = engine.decide(workload, { ...connection, destinationPort: port });
      return decision.allowed ? null : describeDenial(decision);
    };
  },
};

export class DocumentWorld extends StateWorld {
  store = new MeshStore();
  /** Changes of the store since the last start. */
  changes = 0;

  async documents(
    fields: Partial<MeshDocumentsOptions> = {},
  ): Promise<{ documents: MeshDocuments; state: ControlState }> {
    const state = await this.open();
    this.store = new MeshStore();
    this.changes = 0;
    this.store.subscribe(() => void this.changes++);
    const options = { clock: this.host.clock, logger: silentLogger, state, store: this.store, context };
    const documents = await this.settle(MeshDocuments.open({ ...options, facts: () => facts, ...fields }));
    return { documents, state };
  }

  settle<T>(promise: Promise<T>): Promise<T> {
    return this.world.settle(promise);
  }

  policies(): readonly string[] {
    return [...this.store.policies()].map(({ namespace, name }) => `${namespace}/${name}`).sort();
  }
}

export const admin = { actor: "admin", mayChange: () => true };

/** What came of it, in a word and its version. */
export function told(result: ChangeResult): string {
  return result.outcome === "refused" ? `refused: ${result.because}` : `${result.outcome} ${result.version}`;
}
