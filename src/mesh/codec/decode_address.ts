/** `istio.workload.Address` → a workload or a service (ztunnel `src/state/workload.rs`, `src/state/service.rs`). */

import type { Address } from "../../wire/messages/istio_workload.gen.ts";
import { decodeAddressMessage } from "../../wire/messages/mesh_resources.ts";
import { type Service, serviceKey } from "../service.ts";
import type { Workload } from "../workload.ts";
import { type Decoded, decoding, refuseField } from "./decode_field.ts";
import { decodeService } from "./decode_service.ts";
import { decodeWorkload } from "./decode_workload.ts";

export type MeshAddress =
  | { readonly kind: "workload"; readonly workload: Workload }
  | { readonly kind: "service"; readonly service: Service };

/** ztunnel's (`try_from` of `src/state/workload.rs`): what istiod calls a cluster that was given no name. */
export const unnamedCluster = "Kubernetes";

/**
 * @param name of the resource. ztunnel does not compare it with what is inside; but removals come by name, and one that names
 * something else would leave a workload standing that is gone.
 * @param ownCluster of workloads that name none; "" in a mesh without clusters.
 */
export function decodeAddress(
  name: string,
  bytes: Uint8Array,
  ownCluster: string = unnamedCluster,
): Decoded<MeshAddress> {
  return decoding(
    () => decodeAddressMessage(bytes),
    (message) => named(name, decodeEither(message, ownCluster)),
  );
}

function decodeEither({ type }: Address, ownCluster: string): MeshAddress {
  switch (type.case) {
    case "workload":
      return { kind: "workload", workload: decodeWorkload(type.value, ownCluster) };
    case "service":
      return { kind: "service", service: decodeService(type.value) };
    default:
      return refuseField("type", "is neither a workload nor a service");
  }
}

function named(name: string, address: MeshAddress): MeshAddress {
  const own = address.kind === "workload" ? address.workload.uid : serviceKey(address.service);
  return own === name ? address : refuseField("name", `is not that of the ${address.kind}, ${own}`);
}
