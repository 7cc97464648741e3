/**
 * `istio.security.Authorization` → a policy (ztunnel `src/rbac.rs`).
 *
 * ztunnel drops a value it cannot read from its match and goes on. A field that is empty after that is ignored, so a policy would
 * allow more than was asked: here the whole policy is refused, and the refusal names the field.
 */
import type { IpPrefix } from "../../base/prefix.ts";
import type { Place } from "../../wire/messages/fairlead.gen.ts";
import {
  Action,
  type Address as AddressMessage,
  type Authorization as AuthorizationMessage,
  type Match as MatchMessage,
  Scope,
  type ServiceAccountMatch as ServiceAccountMessage,
  type StringMatch as StringMessage,
} from "../../wire/messages/istio_authorization.gen.ts";
import { decodeAuthorizationMessage, originOf } from "../../wire/messages/mesh_resources.ts";
import {
  type Authorization,
  authorizationKey,
  type Match,
  type ServiceAccountMatch,
  type StringMatch,
} from "../authorization.ts";
import type { Location } from "../location.ts";
import { type Decoded, decodePort, decodePrefix, decodeWord, decoding, refuseField } from "./decode_field.ts";

/** @param name of the resource, `namespace/name`. ztunnel does not compare it; removals come by it. */
export function decodeAuthorization(name: string, bytes: Uint8Array): Decoded<Authorization> {
  return decoding(
    () => decodeAuthorizationMessage(bytes),
    (message) => {
      const policy = decodePolicy(message);
      const own = authorizationKey(policy);
      return own === name ? policy : refuseField("name", `is not that of the policy, ${own}`);
    },
  );
}

/**
 * What a node puts in place of a policy that it refused and of which it holds no good version: whatever the policy may have been
 * about is denied. A selector's policy needs none of it, because workloads that name a policy which is not there are closed anyway.
 *
 * @returns null when the resource is about named workloads alone, or its name says no namespace.
 */
export function standInFor(name: string, bytes: Uint8Array): Authorization | null {
  const scope = readableScope(bytes);
  const slash = name.indexOf("/");
  if (scope === "WORKLOAD_SELECTOR" || slash === -1) return null;
  return {
    name: name.slice(slash + 1),
    namespace: name.slice(0, slash),
    // One whose scope cannot be read is in a namespace, at least.
    scope: scope ?? "NAMESPACE",
    action: "DENY",
    dryRun: false,
    rules: [{ clauses: [], location: null }],
    location: null,
  };
}

function readableScope(bytes: Uint8Array): Authorization["scope"] | null {
  const scope = decoding(
    () => decodeAuthorizationMessage(bytes),
    (message) => decodeWord("scope", Scope, message.scope),
  );
  return scope.ok ? scope.value : null;
}

function decodePolicy(message: AuthorizationMessage): Authorization {
  const origin = originOf(message.extensions);
  return {
    name: message.name,
    namespace: message.namespace,
    scope: decodeWord("scope", Scope, message.scope),
    action: decodeWord("action", Action, message.action),
    dryRun: message.dryRun,
    rules: message.groups.map((group, index) => {
      refuseUnknown(`groups[${index}]`, group);
      return {
        clauses: group.rules.map((clause) => {
          refuseUnknown(`groups[${index}].rules`, clause);
          return { matches: clause.matches.map((match) => decodeMatch(`groups[${index}]`, match)) };
        }),
        location: decodePlace(origin?.rules[index]),
      };
    }),
    location: decodePlace(origin?.policy),
  };
}

function decodeMatch(field: string, message: MatchMessage): Match {
  refuseUnknown(field, message);
  const strings = (name: string, list: readonly StringMessage[]) =>
    list.map((value) => decodeString(`${field}.${name}`, value));
  const prefixes = (name: string, list: readonly AddressMessage[]) =>
    list.map((value) => decodeSource(`${field}.${name}`, value));
  const ports = (name: string, list: readonly number[]) =>
    list.map((value) => decodePort(`${field}.${name}`, value));
  return {
    namespaces: strings("namespaces", message.namespaces),
    notNamespaces: strings("not_namespaces", message.notNamespaces),
    principals: strings("principals", message.principals),
    notPrincipals: strings("not_principals", message.notPrincipals),
    sourceIps: prefixes("source_ips", message.sourceIps),
    notSourceIps: prefixes("not_source_ips", message.notSourceIps),
    destinationIps: prefixes("destination_ips", message.destinationIps),
    notDestinationIps: prefixes("not_destination_ips", message.notDestinationIps),
    destinationPorts: ports("destination_ports", message.destinationPorts),
    notDestinationPorts: ports("not_destination_ports", message.notDestinationPorts),
    serviceAccounts: message.serviceAccounts.map(decodeServiceAccount),
    notServiceAccounts: message.notServiceAccounts.map(decodeServiceAccount),
  };
}

/** ztunnel drops one without a kind, which is also what a kind newer than this program looks like. */
function decodeString(field: string, { matchType }: StringMessage): StringMatch {
  switch (matchType.case) {
    case "presence":
      return { kind: "presence" };
    case "exact":
    case "prefix":
    case "suffix":
      return { kind: matchType.case, value: matchType.value };
    default:
      return refuseField(field, "has a match of an unknown kind");
  }
}

function decodeSource(field: string, { address, length }: AddressMessage): IpPrefix {
  return decodePrefix(field, address, length);
}

function decodeServiceAccount({ namespace, serviceAccount }: ServiceAccountMessage): ServiceAccountMatch {
  return { namespace, serviceAccount };
}

/** A condition this program does not know would be left out of an AND. A field of the policy itself may be new without harm. */
function refuseUnknown(
  field: string,
  message: { readonly $unknown?: readonly { no: number }[] | undefined },
): void {
  const [first] = message.$unknown ?? [];
  if (first !== undefined) refuseField(field, `has a condition that is not known here, field ${first.no}`);
}

function decodePlace(place: Place | undefined): Location | null {
  if (place === undefined || place.line === 0) return null;
  return { file: place.file, line: place.line, column: place.column };
}
