/**
 * What the documents mean at each time: the oracle of the simulation. It goes by what the operator wanted (`MeshState`) and nothing of
 * the program: neither its reader of documents, nor its conversion, nor its engines, whose mistakes it would share.
 */
import type { IpAddress } from "../../src/base/ip.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import type { MeshState, PolicyState } from "./documents.ts";
import { serverPort, trustDomain, type WorkloadPlan } from "./workloads.ts";

export interface Question {
  readonly sourceIp: IpAddress;
  readonly sourceIdentity: SpiffeId | null;
  readonly destinationIp: IpAddress;
  readonly destinationPort: number;
}

interface Version {
  readonly atMs: number;
  readonly state: MeshState;
}

/** Whose address it is by the documents. */
interface Holder {
  /** Of a workload's documents; null for the thief of a bad document, which no policy of a workload selects. */
  readonly name: string | null;
  readonly identity: SpiffeId;
}

/** A bad document may claim the first workload's address, and has it while that one's own document is gone. */
const thief = { mark: "name: thief", address: "10.0.0.1", id: new SpiffeId(trustDomain, "shop", "thief") };

export class MeshModel {
  readonly #workloads: readonly WorkloadPlan[];
  readonly #versions: Version[] = [];

  constructor(workloads: readonly WorkloadPlan[]) {
    this.#workloads = workloads;
  }

  /** The documents from `atMs` on. */
  change(atMs: number, state: MeshState): void {
    this.#versions.push({ atMs, state });
  }

  /** The documents in force now. */
  get newest(): MeshState | null {
    return this.#versions.at(-1)?.state ?? null;
  }

  get isEmpty(): boolean {
    return this.#versions.length === 0;
  }

  /** Whether any documents that were in force between the two times allow it. */
  everAllowed(question: Question, fromMs: number, untilMs: number): boolean {
    return this.#between(fromMs, untilMs).some(({ state }) => this.#isAllowed(state, question));
  }

  alwaysAllowed(question: Question, fromMs: number, untilMs: number): boolean {
    return this.#between(fromMs, untilMs).every(({ state }) => this.#isAllowed(state, question));
  }

  /** Whether the workload was ever missing from the documents between the two times. */
  everRemoved(name: string, fromMs: number, untilMs: number): boolean {
    return this.#between(fromMs, untilMs).some(({ state }) => state.removed.has(name));
  }

  /** Whether the documents never had the workload between the two times. */
  alwaysRemoved(name: string, fromMs: number, untilMs: number): boolean {
    return this.#between(fromMs, untilMs).every(({ state }) => state.removed.has(name));
  }

  /** Whose address it was between the two times, by the documents. */
  identitiesOf(ip: IpAddress, fromMs: number, untilMs: number): readonly SpiffeId[] {
    return this.#between(fromMs, untilMs).flatMap(({ state }) => this.#holder(state, ip)?.identity ?? []);
  }

  #between(fromMs: number, untilMs: number): readonly Version[] {
    return this.#versions.filter((version, index) => {
      const next = this.#versions[index + 1];
      return version.atMs <= untilMs && (next === undefined || next.atMs > fromMs);
    });
  }

  #holder(state: MeshState, ip: IpAddress): Holder | null {
    const own = this.#workloads.find(({ name, address }) => address === ip.text && !state.removed.has(name));
    if (own !== undefined)
      return { name: own.name, identity: new SpiffeId(trustDomain, own.namespace, own.name) };
    return ip.text === thief.address && state.bad.includes(thief.mark)
      ? { name: null, identity: thief.id }
      : null;
  }

  /** Istio's order: what is denied is denied; where something is allowed, nothing else is. STRICT denies what has no identity. */
  #isAllowed(state: MeshState, question: Question): boolean {
    const holder = this.#holder(state, question.destinationIp);
    if (holder === null) return false;
    const isStrict = state.strict.has("mesh") || (holder.name !== null && state.strict.has(holder.name));
    if (isStrict && question.sourceIdentity === null) return false;
    const policy = holder.name === null ? undefined : state.policies.get(holder.name);
    return policy === undefined || admits(policy, question);
  }
}

function admits(policy: PolicyState, { sourceIp, sourceIdentity, destinationPort }: Question): boolean {
  const principal = sourceIdentity?.uri.slice("spiffe://".length) ?? null;
  switch (policy.kind) {
    case "none":
      return true;
    case "allow_nothing":
      return false;
    case "deny_port":
      return destinationPort !== serverPort;
    case "allow":
      return principal !== null && policy.principals.includes(principal);
    case "deny":
      return principal === null || !policy.principals.includes(principal);
    case "allow_namespaces":
      return sourceIdentity !== null && policy.namespaces.includes(sourceIdentity.namespace);
    case "allow_addresses":
      return policy.addresses.some((range) => isWithin(sourceIp.text, range));
  }
}

/** @param range an address, or a prefix of whole bytes: `10.9.0.0/16`. */
function isWithin(ip: string, range: string): boolean {
  const [base = "", bits = "32"] = range.split("/");
  const bytes = Number(bits) / 8;
  return ip.split(".").slice(0, bytes).join(".") === base.split(".").slice(0, bytes).join(".");
}
