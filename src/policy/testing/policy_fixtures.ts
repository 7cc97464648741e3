/** Short ways to write workloads, policies and connections, for tests and benchmarks. */
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { type IpPrefix, parseIpPrefix } from "../../base/prefix.ts";
import {
  type Authorization,
  emptyMatch,
  type Match,
  type Rule,
  type StringMatch,
} from "../../mesh/authorization.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { PolicyConnection } from "../decision.ts";

export function ip(text: string): IpAddress {
  const address = IpAddress.parse(text);
  assert(address !== null, `not an address: ${text}`);
  return address;
}

export function prefix(text: string): IpPrefix {
  const parsed = parseIpPrefix(text);
  assert(parsed !== null, `not a prefix: ${text}`);
  return parsed;
}

/** Istio's notation: `*` presence, `*x` suffix (tested first), `x*` prefix, else exact. */
export function string(text: string): StringMatch {
  if (text === "*") return { kind: "presence" };
  if (text.startsWith("*")) return { kind: "suffix", value: text.slice(1) };
  if (text.endsWith("*")) return { kind: "prefix", value: text.slice(0, -1) };
  return { kind: "exact", value: text };
}

export function match(fields: Partial<Match>): Match {
  return { ...emptyMatch, ...fields };
}

/** A rule of one clause per argument. */
export function rule(...clauses: readonly (readonly Match[])[]): Rule {
  return { clauses: clauses.map((matches) => ({ matches })), location: null };
}

/** A NAMESPACE ALLOW policy `shop/policy` unless said otherwise. */
export function policy(fields: Partial<Authorization>): Authorization {
  return {
    name: "policy",
    namespace: "shop",
    scope: "NAMESPACE",
    action: "ALLOW",
    dryRun: false,
    rules: [],
    location: null,
    ...fields,
  };
}

/** A workload of namespace `shop`. */
export function workload(fields: Partial<Workload> = {}): Workload {
  const namespace = fields.namespace ?? "shop";
  return {
    uid: "cluster/networking.istio.io/WorkloadEntry/shop/cart",
    name: "cart",
    namespace,
    addresses: [],
    hostname: "",
    network: "",
    tunnelProtocol: "HBONE",
    trustDomain: "cluster.local",
    serviceAccount: "cart",
    identity: new SpiffeId("cluster.local", namespace, "cart"),
    waypoint: null,
    networkGateway: null,
    node: "",
    canonicalName: "cart",
    canonicalRevision: "latest",
    workloadType: "pod",
    workloadName: "cart",
    nativeTunnel: false,
    applicationTunnel: null,
    services: new Map(),
    authorizationPolicies: [],
    status: "HEALTHY",
    clusterId: "cluster",
    locality: { region: "", zone: "", subzone: "" },
    labels: new Map(),
    networkMode: "STANDARD",
    capacity: 1,
    location: null,
    ...fields,
  };
}

/** From `td/ns/namespace/sa/account` at 127.0.0.1 to 127.0.0.2:8080, as in ztunnel's own tests (`rbac.rs`). */
export function connection(fields: Partial<PolicyConnection> = {}): PolicyConnection {
  return {
    sourceIp: ip("127.0.0.1"),
    sourceIdentity: new SpiffeId("td", "namespace", "account"),
    destinationIp: ip("127.0.0.2"),
    destinationPort: 8080,
    ...fields,
  };
}
