/** `GatewayAddress` and `NetworkAddress` of ambient xDS. */
import type { GatewayAddress as GatewayMessage } from "../../wire/messages/istio_workload.gen.ts";
import type { GatewayAddress } from "../workload.ts";
import { decodeIp, decodePort, refuseField } from "./decode_field.ts";

/** Without a destination the resource is refused, as in ztunnel: traffic would go around a gateway it is meant to pass. */
export function decodeGateway(field: string, message: GatewayMessage): GatewayAddress {
  const hboneMtlsPort = decodePort(`${field}.hbone_mtls_port`, message.hboneMtlsPort);
  const { destination } = message;
  switch (destination.case) {
    case "address": {
      const { network, address, length } = destination.value;
      const ip = decodeIp(`${field}.address`, address);
      if (length !== undefined && length !== address.length * 8)
        refuseField(`${field}.address`, "is a prefix, which a gateway cannot have");
      return { kind: "address", network, ip, hboneMtlsPort };
    }
    case "hostname": {
      const { namespace, hostname } = destination.value;
      return { kind: "hostname", namespace, hostname, hboneMtlsPort };
    }
    default:
      return refuseField(field, "has no destination");
  }
}
