/**
 * An authorization policy as ztunnel takes it, `istio.security.Authorization` (ztunnel `proto/authorization.proto`).
 */
import type { IpPrefix } from "../base/prefix.ts";
import type { Location } from "./location.ts";

export type StringMatch =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "suffix"; readonly value: string }
  /** Not empty. */
  | { readonly kind: "presence" };

export interface ServiceAccountMatch {
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Fields AND together; an empty field is ignored; a match whose every field is empty never matches. */
export interface Match {
  readonly namespaces: readonly StringMatch[];
  readonly notNamespaces: readonly StringMatch[];
  readonly principals: readonly StringMatch[];
  readonly notPrincipals: readonly StringMatch[];
  readonly sourceIps: readonly IpPrefix[];
  readonly notSourceIps: readonly IpPrefix[];
  readonly destinationIps: readonly IpPrefix[];
  readonly notDestinationIps: readonly IpPrefix[];
  readonly destinationPorts: readonly number[];
  readonly notDestinationPorts: readonly number[];
  readonly serviceAccounts: readonly ServiceAccountMatch[];
  readonly notServiceAccounts: readonly ServiceAccountMatch[];
}

/** Matches OR together; no matches at all is a clause that matches. */
export interface Clause {
  readonly matches: readonly Match[];
}

/** Clauses AND together; no clauses at all is a rule that matches everything. */
export interface Rule {
  readonly clauses: readonly Clause[];
  /** Where the rule was written, when it came from a file. */
  readonly location: Location | null;
}

export interface Authorization {
  readonly name: string;
  readonly namespace: string;
  readonly scope: "GLOBAL" | "NAMESPACE" | "WORKLOAD_SELECTOR";
  readonly action: "ALLOW" | "DENY";
  readonly dryRun: boolean;
  /** Rules OR together; a policy without rules never matches. */
  readonly rules: readonly Rule[];
  readonly location: Location | null;
}

/** The key of a policy: `namespace/name`. */
export function authorizationKey(policy: { readonly namespace: string; readonly name: string }): string {
  return `${policy.namespace}/${policy.name}`;
}

/** A match with every field empty, to spread over. */
export const emptyMatch: Match = {
  namespaces: [],
  notNamespaces: [],
  principals: [],
  notPrincipals: [],
  sourceIps: [],
  notSourceIps: [],
  destinationIps: [],
  notDestinationIps: [],
  destinationPorts: [],
  notDestinationPorts: [],
  serviceAccounts: [],
  notServiceAccounts: [],
};
