/** `istio.workload.Workload` → a workload, with ztunnel's defaults. Stricter where ztunnel would make something else of a value. */
import {
  ApplicationTunnel_Protocol,
  NetworkMode,
  TunnelProtocol,
  type Workload as WorkloadMessage,
  WorkloadStatus,
  WorkloadType,
} from "../../wire/messages/istio_workload.gen.ts";
import { labelsOf } from "../../wire/messages/mesh_resources.ts";
import { SpiffeId } from "../identity.ts";
import type { Workload } from "../workload.ts";
import { decodeIp, decodePort, decodeWord, refuseField } from "./decode_field.ts";
import { decodeGateway } from "./decode_gateway.ts";

/** @param ownCluster of a workload that names none. @throws what `decoding` takes for a refusal. */
export function decodeWorkload(message: WorkloadMessage, ownCluster: string): Workload {
  const { uid, namespace, locality, waypoint, networkGateway } = message;
  if (uid === "") refuseField("uid", "is empty");
  const trustDomain = message.trustDomain === "" ? "cluster.local" : message.trustDomain;
  const serviceAccount = message.serviceAccount === "" ? "default" : message.serviceAccount;
  return {
    uid,
    name: message.name,
    namespace,
    addresses: message.addresses.map((bytes) => decodeIp("addresses", bytes)),
    hostname: message.hostname,
    network: message.network,
    tunnelProtocol: decodeTunnelProtocol(message.tunnelProtocol),
    trustDomain,
    serviceAccount,
    identity: decodeIdentity(trustDomain, namespace, serviceAccount),
    waypoint: waypoint === undefined ? null : decodeGateway("waypoint", waypoint),
    networkGateway: networkGateway === undefined ? null : decodeGateway("network_gateway", networkGateway),
    node: message.node,
    canonicalName: message.canonicalName,
    canonicalRevision: message.canonicalRevision,
    workloadType: decodeWorkloadType(message.workloadType),
    workloadName: message.workloadName,
    nativeTunnel: message.nativeTunnel,
    applicationTunnel: decodeApplicationTunnel(message),
    services: decodeServices(message),
    authorizationPolicies: message.authorizationPolicies,
    status: decodeWord("status", WorkloadStatus, message.status),
    clusterId: message.clusterId === "" ? ownCluster : message.clusterId,
    locality: {
      region: locality?.region ?? "",
      zone: locality?.zone ?? "",
      subzone: locality?.subzone ?? "",
    },
    labels: decodeLabels(message),
    networkMode: decodeWord("network_mode", NetworkMode, message.networkMode),
    capacity: message.capacity ?? 1,
    location: null,
  };
}

function decodeLabels({ extensions }: WorkloadMessage): Workload["labels"] {
  try {
    return labelsOf(extensions);
  } catch {
    return refuseField("extensions", "has labels that cannot be read");
  }
}

/** ztunnel refuses the third protocol, Istio's own mutual TLS without HBONE, too: it is not spoken here. */
function decodeTunnelProtocol(value: number): Workload["tunnelProtocol"] {
  const word = decodeWord("tunnel_protocol", TunnelProtocol, value);
  return word === "LEGACY_ISTIO_MTLS" ? refuseField("tunnel_protocol", `is ${word}`) : word;
}

/** ztunnel puts any three strings together. One with a slash in it could be read as somebody else's identity. */
function decodeIdentity(trustDomain: string, namespace: string, serviceAccount: string): SpiffeId {
  const { uri } = new SpiffeId(trustDomain, namespace, serviceAccount);
  return (
    SpiffeId.parse(uri) ??
    refuseField(
      "trust_domain, namespace or service_account",
      `do not make a SPIFFE ID: ${JSON.stringify(uri)}`,
    )
  );
}

/** For labels alone, so an unknown one is the first, as in ztunnel, and nothing is refused for it. */
function decodeWorkloadType(value: number): Workload["workloadType"] {
  switch (value) {
    case WorkloadType.CRONJOB:
      return "cronjob";
    case WorkloadType.POD:
      return "pod";
    case WorkloadType.JOB:
      return "job";
    default:
      return "deployment";
  }
}

function decodeApplicationTunnel({ applicationTunnel }: WorkloadMessage): Workload["applicationTunnel"] {
  if (applicationTunnel === undefined) return null;
  const { protocol, port } = applicationTunnel;
  return {
    protocol: decodeWord("application_tunnel.protocol", ApplicationTunnel_Protocol, protocol),
    port: decodePort("application_tunnel.port", port),
  };
}

function decodeServices({ services }: WorkloadMessage): Workload["services"] {
  return new Map(
    Object.entries(services).map(([key, { ports }]) => {
      if (!key.includes("/"))
        refuseField("services", `has the key ${JSON.stringify(key)}, not namespace/hostname`);
      const field = `services[${key}]`;
      const targets = ports.map(
        ({ servicePort, targetPort }) =>
          [
            decodePort(`${field}.service_port`, servicePort),
            decodePort(`${field}.target_port`, targetPort),
          ] as const,
      );
      return [key, new Map(targets)];
    }),
  );
}
