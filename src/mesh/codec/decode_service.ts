/** `istio.workload.Service` → a service, as ztunnel takes it. */
import {
  AppProtocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  type NetworkAddress as NetworkAddressMessage,
  Service_Visibility,
  type Service as ServiceMessage,
} from "../../wire/messages/istio_workload.gen.ts";
import type { AppProtocol as AppProtocolWord, LoadBalancing, RoutingScope, Service } from "../service.ts";
import { decodeIp, decodePort, decodePrefix, decodeWord, refuseField } from "./decode_field.ts";
import { decodeGateway } from "./decode_gateway.ts";

/** @throws what `decoding` takes for a refusal. */
export function decodeService(message: ServiceMessage): Service {
  const { name, namespace, hostname, waypoint } = message;
  if (hostname === "") refuseField("hostname", "is empty");
  const [prefixes, addresses] = partition(message.addresses, isPrefix);
  return {
    name,
    namespace,
    hostname,
    addresses: addresses.map(({ network, address }) => ({ network, ip: decodeIp("addresses", address) })),
    cidrAddresses: prefixes.map(({ network, address, length }) => ({
      network,
      prefix: decodePrefix("addresses", address, length ?? 0),
    })),
    ports: decodePorts(message),
    subjectAltNames: message.subjectAltNames,
    waypoint: waypoint === undefined ? null : decodeGateway("waypoint", waypoint),
    weightedWaypoints: message.weightedWaypoints.map(({ destination, weight }) => ({
      destination: decodeGateway(
        "weighted_waypoints",
        destination ?? refuseField("weighted_waypoints", "has no destination"),
      ),
      weight,
    })),
    loadBalancing: decodeLoadBalancing(message),
    ipFamilies: decodeWord("ip_families", IPFamilies, message.ipFamilies),
    canonical: message.canonical,
    // ztunnel takes an unknown visibility for PUBLIC, and so do we: it says who finds the service by name or VIP, never who may call
    // it, and a client that does not find it sends its traffic past the tunnel.
    visibility: message.visibility === Service_Visibility.NAMESPACE ? "NAMESPACE" : "PUBLIC",
    location: null,
  };
}

/** A length of all bits is an address like one without a length. */
function isPrefix({ address, length }: NetworkAddressMessage): boolean {
  return length !== undefined && length !== address.length * 8;
}

function partition<T>(items: readonly T[], test: (item: T) => boolean): readonly [T[], T[]] {
  return [items.filter(test), items.filter((item) => !test(item))];
}

function decodePorts({ ports }: ServiceMessage): Service["ports"] {
  return new Map(
    ports.map(({ servicePort, targetPort, appProtocol }) => {
      const port = {
        servicePort: decodePort("ports.service_port", servicePort),
        targetPort: decodePort("ports.target_port", targetPort),
        protocol: decodeAppProtocol(appProtocol),
      };
      return [port.servicePort, port];
    }),
  );
}

/** A tunnel does not look at it; an unknown one is UNKNOWN. */
function decodeAppProtocol(value: number): AppProtocolWord {
  for (const word of appProtocols) if (AppProtocol[word] === value) return word;
  return "UNKNOWN";
}

const appProtocols: readonly AppProtocolWord[] = ["HTTP11", "HTTP2", "GRPC", "TCP", "TLS"];

function decodeLoadBalancing({ loadBalancing }: ServiceMessage): LoadBalancing {
  if (loadBalancing === undefined)
    return { routingPreferences: [], mode: "STANDARD", healthPolicy: "ONLY_HEALTHY" };
  const mode = decodeWord("load_balancing.mode", LoadBalancing_Mode, loadBalancing.mode);
  return {
    routingPreferences: loadBalancing.routingPreference.map(decodeScope),
    mode: mode === "UNSPECIFIED_MODE" ? "STANDARD" : mode,
    healthPolicy: decodeWord(
      "load_balancing.health_policy",
      LoadBalancing_HealthPolicy,
      loadBalancing.healthPolicy,
    ),
  };
}

function decodeScope(value: number): RoutingScope {
  const field = "load_balancing.routing_preference";
  const word = decodeWord(field, LoadBalancing_Scope, value);
  return word === "UNSPECIFIED_SCOPE" ? refuseField(field, `is ${word}`) : word;
}
