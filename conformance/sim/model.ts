/** What the documents say at each time, decided by the reference engine: the oracle of the simulation. */
import type { IpAddress } from "../../src/base/ip.ts";
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import type { SpiffeId } from "../../src/mesh/identity.ts";
import { MeshStore } from "../../src/mesh/store/store.ts";
import type { PolicyEngine } from "../../src/policy/policy_engine.ts";
import { createReferenceEngine } from "../../src/policy/reference.ts";
import { conversionContext, type DocumentFile, type MeshState } from "./documents.ts";

export interface Question {
  readonly sourceIp: IpAddress;
  readonly sourceIdentity: SpiffeId | null;
  readonly destinationIp: IpAddress;
  readonly destinationPort: number;
}

interface Version {
  readonly atMs: number;
  readonly state: MeshState;
  readonly store: MeshStore;
  readonly engine: PolicyEngine;
}

export class MeshModel {
  readonly #versions: Version[] = [];

  /** The documents from `atMs` on. */
  change(atMs: number, state: MeshState, files: readonly DocumentFile[]): void {
    const { workloads, services, policies } = convertDocuments(
      parseDocuments(files).documents,
      conversionContext,
    );
    const store = new MeshStore();
    store.apply({
      workloads: { upsert: workloads },
      services: { upsert: services },
      policies: { upsert: policies },
    });
    const engine = createReferenceEngine({ missingPolicy: "deny" });
    engine.update(store.policies());
    this.#versions.push({ atMs, state, store, engine });
  }

  get isEmpty(): boolean {
    return this.#versions.length === 0;
  }

  /** Whether any documents that were in force between the two times allow it. */
  everAllowed(question: Question, fromMs: number, untilMs: number): boolean {
    return this.#between(fromMs, untilMs).some((version) => isAllowed(version, question));
  }

  alwaysAllowed(question: Question, fromMs: number, untilMs: number): boolean {
    return this.#between(fromMs, untilMs).every((version) => isAllowed(version, question));
  }

  /** Whether the workload was ever missing from the documents between the two times. */
  everRemoved(name: string, fromMs: number, untilMs: number): boolean {
    return this.#between(fromMs, untilMs).some(({ state }) => state.removed.has(name));
  }

  /** Whose address it was between the two times, by the documents. */
  identitiesOf(ip: IpAddress, fromMs: number, untilMs: number): readonly SpiffeId[] {
    return this.#between(fromMs, untilMs).flatMap(
      ({ store }) => store.workloadByAddress("", ip)?.identity ?? [],
    );
  }

  #between(fromMs: number, untilMs: number): readonly Version[] {
    return this.#versions.filter((version, index) => {
      const next = this.#versions[index + 1];
      return version.atMs <= untilMs && (next === undefined || next.atMs > fromMs);
    });
  }
}

function isAllowed({ store, engine }: Version, question: Question): boolean {
  const workload = store.workloadByAddress("", question.destinationIp);
  return workload !== null && engine.decide(workload, question).allowed;
}
