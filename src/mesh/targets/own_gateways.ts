/** Which Gateways a waypoint is an instance of: those whose address is its own, or one of a service that it belongs to. */
import type { GatewayDocument } from "../documents/document.ts";
import type { Service } from "../service.ts";
import type { Workload } from "../workload.ts";
import type { WaypointIdentity } from "./targets.ts";

/** The only class of Gateways that is read. */
export const waypointClass = "istio-waypoint";

/** @param serviceByKey `namespace/hostname` */
export function ownGateways(
  waypoint: Workload,
  gateways: readonly GatewayDocument[],
  serviceByKey: (key: string) => Service | null,
): readonly GatewayDocument[] {
  const services = [...waypoint.services.keys()].flatMap((key) => serviceByKey(key) ?? []);
  const own = new Set([
    ...waypoint.addresses.map(({ text }) => text),
    waypoint.hostname,
    ...services.flatMap(({ hostname, addresses }) => [hostname, ...addresses.map(({ ip }) => ip.text)]),
  ]);
  return gateways.filter(({ addresses }) =>
    addresses.some(({ value }) => own.has(value.kind === "ip" ? value.ip.text : value.hostname)),
  );
}

/** By its own name where no Gateway describes it, or by its deployment's, which is how Istio's controller names a waypoint after its Gateway. */
export function identitiesOf(
  waypoint: Workload,
  own: readonly GatewayDocument[],
): readonly WaypointIdentity[] {
  const className = waypointClass;
  if (own.length === 0) {
    const names = new Set([waypoint.name, waypoint.workloadName]);
    return [...names].map((name) => ({ namespace: waypoint.namespace, name, className }));
  }
  return own.map(({ metadata: { namespace, name } }) => ({ namespace, name, className }));
}
