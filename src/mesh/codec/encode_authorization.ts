/**
 * Policies → `istio.security.Authorization` (ztunnel `proto/authorization.proto`), with the place where each was
 * written.
 */
import type { IpPrefix } from "../../base/prefix.ts";
import { Action, Scope } from "../../wire/messages/istio_authorization.gen.ts";
import { encodeAuthorizationMessage, type OriginFields } from "../../wire/messages/mesh_resources.ts";
import type { Authorization, Match, StringMatch } from "../authorization.ts";
import type { Location } from "../location.ts";

export function encodeAuthorization(policy: Authorization): Uint8Array {
  const fields = {
    name: policy.name,
    namespace: policy.namespace,
    scope: Scope[policy.scope],
    action: Action[policy.action],
    dryRun: policy.dryRun,
    groups: policy.rules.map(({ clauses }) => ({
      rules: clauses.map(({ matches }) => ({ matches: matches.map(encodeMatch) })),
    })),
  };
  return encodeAuthorizationMessage(fields, encodeOrigin(policy));
}

function encodeMatch(match: Match) {
  return {
    namespaces: match.namespaces.map(encodeString),
    notNamespaces: match.notNamespaces.map(encodeString),
    serviceAccounts: [...match.serviceAccounts],
    notServiceAccounts: [...match.notServiceAccounts],
    principals: match.principals.map(encodeString),
    notPrincipals: match.notPrincipals.map(encodeString),
    sourceIps: match.sourceIps.map(encodePrefix),
    notSourceIps: match.notSourceIps.map(encodePrefix),
    destinationIps: match.destinationIps.map(encodePrefix),
    notDestinationIps: match.notDestinationIps.map(encodePrefix),
    destinationPorts: [...match.destinationPorts],
    notDestinationPorts: [...match.notDestinationPorts],
  };
}

function encodeString(match: StringMatch) {
  if (match.kind === "presence") return { matchType: { case: "presence" as const, value: {} } };
  return { matchType: { case: match.kind, value: match.value } };
}

function encodePrefix({ ip, length }: IpPrefix) {
  return { address: ip.bytes, length };
}

function encodeOrigin({ location, rules }: Authorization): OriginFields | null {
  const anyRule = rules.some((rule) => rule.location !== null);
  if (location === null && !anyRule) return null;
  return {
    ...(location === null ? {} : { policy: encodePlace(location) }),
    rules: anyRule ? rules.map((rule) => encodePlace(rule.location)) : [],
  };
}

function encodePlace(location: Location | null) {
  return location === null ? {} : { file: location.file, line: location.line, column: location.column };
}
