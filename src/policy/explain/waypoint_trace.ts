/**
 * What the documents for a waypoint say of a caller, as far as it can be known without a request: each policy matches, does not, or
 * depends on what is asked. The waypoint itself decides in `waypoint/auth`.
 */
import type { IpAddress } from "../../base/ip.ts";
import type { IpPrefix } from "../../base/prefix.ts";
import { prefixContains } from "../../base/prefix.ts";
import { stringMatch } from "../../mesh/convert/authorization_policy.ts";
import type {
  AuthorizationPolicyDocument,
  Condition,
  MeshDocument,
  OperationMatch,
  PolicyRule,
  SourceMatch,
  Values,
} from "../../mesh/documents/document.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { Location } from "../../mesh/location.ts";
import type { Service } from "../../mesh/service.ts";
import { identitiesOf, ownGateways } from "../../mesh/targets/own_gateways.ts";
import { serviceTargets, targetKey, waypointTargets } from "../../mesh/targets/targets.ts";
import type { Workload } from "../../mesh/workload.ts";

export type Outcome = "matches" | "does not match" | "depends on the request";

export interface WaypointPolicy {
  /** `AuthorizationPolicy shop/only-get` */
  readonly document: string;
  readonly action: string;
  readonly outcome: Outcome;
  /** Of the first rule that has this outcome, else of the document. */
  readonly location: Location;
  readonly dryRun: boolean;
}

export interface WaypointTrace {
  readonly verdict: "allowed" | "denied" | "depends";
  /** One line. */
  readonly because: string;
  readonly policies: readonly WaypointPolicy[];
}

/** What is known of requests before there is one. */
export interface RequestFacts {
  /** Null for plain text, which has no identity. */
  readonly caller: SpiffeId | null;
  readonly callerIp: IpAddress;
  readonly port: number;
}

export interface WaypointCall extends RequestFacts {
  readonly waypoint: Workload;
  readonly service: Service | null;
  readonly caller: SpiffeId;
}

export function traceWaypoint(
  documents: readonly MeshDocument[],
  serviceByKey: (key: string) => Service | null,
  rootNamespace: string,
  call: WaypointCall,
): WaypointTrace {
  const none = "no policy is for this waypoint or its service";
  return traceRequests(targeted(documents, serviceByKey, rootNamespace, call), call, none);
}

/** @param applying those that are for what is called; others of them than policies make it depend on the request. @param none why it is allowed without any. */
export function traceRequests(
  applying: readonly MeshDocument[],
  call: RequestFacts,
  none: string,
): WaypointTrace {
  const policies: WaypointPolicy[] = [];
  for (const document of applying) {
    if (document.kind !== "AuthorizationPolicy") continue;
    const { outcome, location } = outcomeOf(document, call);
    const { metadata, action, dryRun } = document;
    policies.push({ document: metadata.key, action: action.value, outcome, location, dryRun });
  }
  const others = applying.filter(({ kind }) => kind !== "AuthorizationPolicy");
  return { ...verdictOf(policies, others, none), policies };
}

function targeted(
  documents: readonly MeshDocument[],
  serviceByKey: (key: string) => Service | null,
  rootNamespace: string,
  { waypoint, service }: WaypointCall,
): readonly MeshDocument[] {
  const gateways = documents.filter((document) => document.kind === "Gateway");
  const identities = identitiesOf(waypoint, ownGateways(waypoint, gateways, serviceByKey));
  const keys = new Set([
    ...identities.flatMap((identity) => waypointTargets(identity, rootNamespace)),
    ...(service === null ? [] : serviceTargets(service)),
  ]);
  return documents.filter(
    (document) =>
      (document.kind === "AuthorizationPolicy" ||
        document.kind === "RequestAuthentication" ||
        document.kind === "AccessCondition") &&
      document.targetRefs.some(({ value }) => keys.has(targetKey(document.metadata.namespace, value))),
  );
}

/** CUSTOM, then DENY, then ALLOW, as Istio has it; what looks at tokens or conditions always depends on the request. */
function verdictOf(
  policies: readonly WaypointPolicy[],
  others: readonly MeshDocument[],
  none: string,
): Pick<WaypointTrace, "verdict" | "because"> {
  const enforced = policies.filter(({ dryRun }) => !dryRun);
  const find = (action: string, outcome: Outcome) =>
    enforced.find((policy) => policy.action === action && policy.outcome === outcome);
  const denied = find("DENY", "matches");
  if (denied !== undefined) return { verdict: "denied", because: `denied by ${denied.document}` };
  const allowing = enforced.filter(({ action }) => action === "ALLOW");
  const [first] = allowing;
  if (first !== undefined && allowing.every(({ outcome }) => outcome === "does not match"))
    return { verdict: "denied", because: `no rule of ${first.document} matches, whatever is requested` };
  const undecided = [
    ...enforced.filter(({ action, outcome }) => action === "CUSTOM" && outcome !== "does not match"),
    ...enforced.filter(({ action, outcome }) => action === "DENY" && outcome === "depends on the request"),
    ...(find("ALLOW", "matches") === undefined ? allowing : []),
  ].map(({ document }) => document);
  const asking = [...undecided, ...others.map(({ metadata }) => metadata.key)];
  if (asking.length > 0)
    return { verdict: "depends", because: `each request is decided by ${asking.join(", ")}` };
  return first === undefined
    ? { verdict: "allowed", because: none }
    : { verdict: "allowed", because: `allowed by ${find("ALLOW", "matches")?.document ?? first.document}` };
}

/** Yes, no, or `null` for what only a request can tell. */
type Known = boolean | null;

function outcomeOf(
  { rules, location, metadata }: AuthorizationPolicyDocument,
  call: RequestFacts,
): { readonly outcome: Outcome; readonly location: Location } {
  let depending: PolicyRule | null = null;
  for (const rule of rules) {
    const matches = ruleMatches(rule, call, metadata.namespace);
    if (matches === true) return { outcome: "matches", location: rule.at };
    if (matches === null) depending ??= rule;
  }
  if (depending !== null) return { outcome: "depends on the request", location: depending.at };
  return { outcome: "does not match", location };
}

function ruleMatches({ from, to, when }: PolicyRule, call: RequestFacts, namespace: string): Known {
  return every([
    from.length === 0 ? true : some(from.map((source) => sourceMatches(source, call, namespace))),
    to.length === 0 ? true : some(to.map((operation) => operationMatches(operation, call))),
    ...when.map((condition) => conditionMatches(condition, call)),
  ]);
}

/** Plain text: no name matches it but what is for all, and each that is left out is. */
const nobody = { principal: "", namespace: "", serviceAccount: "", trustDomain: "" } as const;

/** @param namespace of the policy: a service account without one is of it (Istio `serviceAccounts`). */
function sourceMatches(source: SourceMatch, call: RequestFacts, namespace: string): Known {
  const { callerIp } = call;
  const caller = call.caller ?? nobody;
  const account = `${caller.namespace}/${caller.serviceAccount}`;
  const isAccount = (value: string): boolean =>
    account === (value.includes("/") ? value : `${namespace}/${value}`);
  return every([
    listed(source.principals, (value) => textMatches(value, caller.principal)),
    listed(source.namespaces, (value) => textMatches(value, caller.namespace)),
    listed(source.serviceAccounts, isAccount),
    listed(source.ipBlocks, (prefix) => prefixContains(prefix, callerIp)),
    listed(source.trustDomains, (value) => textMatches(value, caller.trustDomain)),
    source.requestPrincipals.values.length + source.requestPrincipals.notValues.length > 0 ? null : true,
    source.remoteIpBlocks.values.length + source.remoteIpBlocks.notValues.length > 0 ? null : true,
  ]);
}

function operationMatches({ ports, hosts, methods, paths }: OperationMatch, { port }: RequestFacts): Known {
  const isOfRequest = [hosts, methods, paths].some(
    ({ values, notValues }) => values.length + notValues.length > 0,
  );
  return every([listed(ports, (value) => value === port), isOfRequest ? null : true]);
}

function conditionMatches(condition: Condition, { caller: known, callerIp, port }: RequestFacts): Known {
  const caller = known ?? nobody;
  switch (condition.key) {
    case "source.ip":
      return listed(condition.match, (prefix: IpPrefix) => prefixContains(prefix, callerIp));
    case "source.namespace":
      return listed(condition.match, (value) => textMatches(value, caller.namespace));
    case "source.principal":
      return listed(condition.match, (value) => textMatches(value, caller.principal));
    case "destination.port":
      return listed(condition.match, (value) => value === port);
    case "destination.ip":
    case "layer7":
      return null;
  }
}

function listed<T>({ values, notValues }: Values<T>, test: (value: T) => boolean): boolean {
  const isListed = values.length === 0 || values.some(({ value }) => test(value));
  return isListed && !notValues.some(({ value }) => test(value));
}

function textMatches(pattern: string, text: string): boolean {
  const match = stringMatch(pattern);
  switch (match.kind) {
    case "exact":
      return text === match.value;
    case "prefix":
      return text.startsWith(match.value);
    case "suffix":
      return text.endsWith(match.value);
    case "presence":
      return text !== "";
  }
}

function every(all: readonly Known[]): Known {
  if (all.includes(false)) return false;
  return all.includes(null) ? null : true;
}

function some(all: readonly Known[]): Known {
  if (all.includes(true)) return true;
  return all.includes(null) ? null : false;
}
