/** Gateway of the Gateway API, of class `istio-waypoint` (istiod `ambient/waypoints.go`). */

import { ports } from "../../../base/limits/ports.ts";
import type { Location } from "../../location.ts";
import type { AllowedNamespaces, EndpointAddress, GatewayDocument, Metadata } from "../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../reader.ts";
import { readEndpointAddress } from "./address.ts";

const fields = {
  known: ["gatewayClassName", "listeners", "addresses"],
  unsupported: { infrastructure: "Fairlead does not deploy gateways" },
};
/** What the controller wrote, from `kubectl get -o yaml`. */
const statusFields = { known: ["addresses", "conditions", "listeners", "attachedListenerSets"] };
const addressFields = { known: ["type", "value"] };
const listenerFields = { known: ["name", "port", "protocol", "allowedRoutes", "hostname"] };
const waypointClass = "istio-waypoint";

export function readGateway(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): GatewayDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const className = spec.requiredString("gatewayClassName");
  if (className === null) return null;
  if (className.value !== waypointClass) {
    problems.add(
      className.at,
      `a Gateway of class ${quote(className.value)} is not supported, only ${waypointClass}`,
      className.value,
      [waypointClass],
    );
    return null;
  }
  const status = root.has("status") ? root.object("status", statusFields) : null;
  const assigned = status === null ? [] : readAddresses(status, problems);
  const wanted = readAddresses(spec, problems);
  const addresses = assigned.length > 0 ? assigned : wanted;
  return {
    kind: "Gateway",
    metadata,
    location,
    warnings:
      addresses.length > 0
        ? []
        : [
            {
              location: spec.where("addresses"),
              reason: "NoAddress",
              message: "it has an address neither in status nor in spec.addresses: traffic for it is refused",
            },
          ],
    addresses,
    allowedNamespaces: readAllowedNamespaces(spec),
  };
}

function readAddresses(reader: ObjectReader, problems: Problems): readonly Located<EndpointAddress>[] {
  return reader.objects("addresses", addressFields).flatMap((address) => {
    const value = address.requiredString("value");
    const type = address.choice("type", ["IPAddress", "Hostname"], {
      NamedAddress: "such names are not known here",
    });
    const read = value === null ? null : readEndpointAddress(value, address.path("value"), problems);
    if (read === null) return [];
    const isIp = read.value.kind === "ip";
    if (type === null ? address.has("type") : (type.value === "IPAddress") !== isIp) {
      problems.add(
        read.at,
        `${address.path("value")} is not of type ${type?.value ?? "IPAddress"}`,
        value?.value,
      );
      return [];
    }
    return [read];
  });
}

/** Those of the HBONE listener; without one, its own namespace alone. */
function readAllowedNamespaces(spec: ObjectReader): AllowedNamespaces {
  let allowed: AllowedNamespaces = { from: "Same" };
  for (const listener of spec.objects("listeners", listenerFields)) {
    listener.requiredString("name");
    const protocol = listener.string("protocol");
    const port = listener.integer("port", 1, 65535);
    const routes = listener.object("allowedRoutes", { known: ["namespaces", "kinds"] });
    const namespaces = routes?.object("namespaces", { known: ["from", "selector"] }) ?? null;
    if (protocol?.value !== "HBONE" || port?.value !== ports.hbone || namespaces === null) continue;
    const from = namespaces.choice("from", ["Same", "All", "None", "Selector"])?.value ?? "Same";
    const selector = namespaces.object("selector", { known: ["matchLabels"] });
    // No selector selects nothing; an empty one everything (`LabelSelectorAsSelector`).
    if (from !== "Selector") allowed = { from };
    else if (selector === null) allowed = { from: "None" };
    else allowed = { from, selector: selector.stringMap("matchLabels") };
  }
  return allowed;
}
