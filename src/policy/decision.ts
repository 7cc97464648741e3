/**
 * What a policy decision is: a `Permit`, which only this folder can make and which dialling a local workload requires,
 * or a `Denial`, which says what refused and where that is written.
 */
import type { IpAddress } from "../base/ip.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import { formatLocation, type Location } from "../mesh/location.ts";

/** What is decided about: one connection, as it reaches the workload. */
export interface PolicyConnection {
  /** The caller's address: of the TCP connection that carries it. */
  readonly sourceIp: IpAddress;
  /** The caller's verified identity; null for plaintext. */
  readonly sourceIdentity: SpiffeId | null;
  readonly destinationIp: IpAddress;
  /** The workload's own (target) port, not the service port and not 15008. */
  readonly destinationPort: number;
}

const mintKey = Symbol("permit");

/** Proof that policy allowed one connection. It cannot be constructed outside `policy/`. */
export class Permit {
  readonly allowed = true;
  readonly connection: PolicyConnection;
  /** The policy set's version it was decided on. */
  readonly version: number;
  /** `namespace/name` of the ALLOW policy that matched; null when there was none to match. */
  readonly policy: string | null;
  readonly #proof: typeof mintKey;

  constructor(key: typeof mintKey, connection: PolicyConnection, version: number, policy: string | null) {
    if (key !== mintKey) throw new TypeError("a Permit is made by policy/ alone");
    this.#proof = key;
    this.connection = connection;
    this.version = version;
    this.policy = policy;
  }

  /** Whether this really is a Permit, not an object that looks like one. */
  static isGenuine(value: unknown): value is Permit {
    return typeof value === "object" && value !== null && #proof in value;
  }
}

export type DenialReason =
  /** A DENY rule matched. */
  | "denied_by_rule"
  /** There are ALLOW policies and none matched. */
  | "no_allow_matched"
  /** The workload names a policy that is not here. */
  | "policy_missing"
  /** The engine could not decide (image too large, not compiled): never an allow. */
  | "engine_unavailable";

export interface Denial {
  readonly allowed: false;
  readonly reason: DenialReason;
  /** `namespace/name` of the policy that refused, or of the ALLOW policies that did not match, comma-joined and cut; null for none. */
  readonly policy: string | null;
  /** Index of the rule in the policy; null when no single rule decided. */
  readonly rule: number | null;
  readonly location: Location | null;
  readonly version: number;
}

export type Decision = Permit | Denial;

/** For `policy/` alone; `tidy.test.ts` keeps it so. */
export function mintPermit(connection: PolicyConnection, version: number, policy: string | null): Permit {
  return new Permit(mintKey, connection, version, policy);
}

/** One line for an operator: `denied by shop/deny-all rule 0 (mesh.yaml:12:5)`. */
export function describeDenial(denial: Denial): string {
  const where = denial.location === null ? "" : ` (${formatLocation(denial.location)})`;
  const policy = denial.policy ?? "unknown";
  switch (denial.reason) {
    case "denied_by_rule":
      return `denied by ${policy} rule ${denial.rule ?? 0}${where}`;
    case "no_allow_matched":
      return `not allowed by any rule of ${policy}${where}`;
    case "policy_missing":
      return `policy ${policy}, which the workload names, does not exist here${where}`;
    case "engine_unavailable":
      return "the policy engine could not decide";
  }
}
