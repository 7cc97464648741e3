/** For what a waypoint's policies are (Istio `pilot/pkg/model/policyattachment.go`): by their targets alone, never by selectors. */
import type { Service } from "../service.ts";

export interface WaypointIdentity {
  readonly namespace: string;
  /** Of its Gateway. */
  readonly name: string;
  /** Of its GatewayClass: `istio-waypoint`. */
  readonly className: string;
}

/** One target of a document, with the namespace that the document is in. */
export type TargetKey = string;

/** @param reference `Kind name`. */
export function targetKey(namespace: string, reference: string): TargetKey {
  return `${namespace}/${reference}`;
}

/** What is for all that goes through the waypoint, the class's first. */
export function waypointTargets(
  { namespace, name, className }: WaypointIdentity,
  rootNamespace: string,
): readonly TargetKey[] {
  return [targetKey(rootNamespace, `GatewayClass ${className}`), targetKey(namespace, `Gateway ${name}`)];
}

/** What is for one service beside that. A service of Kubernetes is known by its host name, one of a ServiceEntry by the entry's name. */
export function serviceTargets({ namespace, name, hostname }: Service): readonly TargetKey[] {
  const keys = [targetKey(namespace, `ServiceEntry ${name}`)];
  const [first, second, third] = hostname.split(".");
  if (first !== undefined && second === namespace && third === "svc")
    keys.push(targetKey(namespace, `Service ${first}`));
  return keys;
}
