/** The services that a ServiceEntry is, one for each host. */
import { isSingleAddress } from "../../base/prefix.ts";
import type { ServiceEntryDocument } from "../documents/document.ts";
import type { LoadBalancing, Service } from "../service.ts";
import type { ConversionContext } from "./conversion_context.ts";

/** What a service gets from other documents. */
export interface ServiceSurroundings {
  readonly waypoint: Service["waypoint"];
  readonly weightedWaypoints: Service["weightedWaypoints"];
  readonly loadBalancing: LoadBalancing;
}

export function servicesOf(
  document: ServiceEntryDocument,
  { waypoint, weightedWaypoints, loadBalancing }: ServiceSurroundings,
  { network }: ConversionContext,
): readonly Service[] {
  const { metadata } = document;
  const whole = document.addresses.filter(({ value }) => isSingleAddress(value));
  const blocks = document.addresses.filter((address) => !whole.includes(address));
  return document.hosts.map(({ value: hostname }) => ({
    name: metadata.name,
    namespace: metadata.namespace,
    hostname,
    addresses: whole.map(({ value }) => ({ network, ip: value.ip })),
    cidrAddresses: blocks.map(({ value }) => ({ network, prefix: value })),
    ports: new Map(
      document.ports.map(({ number, protocol, targetPort }) => [
        number,
        { servicePort: number, targetPort: targetPort ?? number, protocol },
      ]),
    ),
    subjectAltNames: document.subjectAltNames.map(({ value }) => value),
    waypoint,
    weightedWaypoints,
    loadBalancing,
    ipFamilies: "AUTOMATIC",
    canonical: false,
    visibility: document.visibility,
    location: document.location,
  }));
}
