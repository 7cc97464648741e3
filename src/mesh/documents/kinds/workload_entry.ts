/** WorkloadEntry, and the endpoints of a ServiceEntry, which are the same thing in another place. */

import { meshLimits } from "../../../base/limits/mesh.ts";
import type { Location } from "../../location.ts";
import type { Locality } from "../../workload.ts";
import type { EndpointSpec, EndpointTemplate, Labels, Metadata, WorkloadEntryDocument } from "../document.ts";
import { type Located, type ObjectReader, type Problems, quote, readInteger } from "../reader.ts";
import { isDnsLabel, readEndpointAddress } from "./address.ts";
import { checkCount, checkLength } from "./bounds.ts";
import { readLabels } from "./labels.ts";

export const endpointFields = {
  known: ["address", "ports", "labels", "network", "locality", "weight", "serviceAccount"],
};

export function readWorkloadEntry(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): WorkloadEntryDocument | null {
  const spec = root.object("spec", endpointFields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const endpoint = readEndpoint(spec, problems);
  return endpoint === null
    ? null
    : { kind: "WorkloadEntry", metadata, location, warnings: [], spec: endpoint };
}

export function readEndpoint(reader: ObjectReader, problems: Problems): EndpointSpec | null {
  // Istio takes an endpoint that is only known to be on some network; there is no gateway by which to reach it here.
  if (!reader.has("address") && reader.has("network")) {
    const message = `${reader.path("address")} is missing; an endpoint with only a network is not supported`;
    problems.add(reader.where("network"), message, "network");
    return null;
  }
  const text = reader.requiredString("address");
  checkLength(text, reader.path("address"), meshLimits.maxAddressLength, problems);
  const address = text === null ? null : readEndpointAddress(text, reader.path("address"), problems);
  const template = readEndpointTemplate(reader, problems);
  return address === null ? null : { ...template, address };
}

/** All but the address. */
export function readEndpointTemplate(reader: ObjectReader, problems: Problems): EndpointTemplate {
  const ports = readPorts(reader, problems);
  const labels: Labels = readLabels(reader, "labels", problems);
  const network = reader.string("network");
  const locality = readLocality(reader.string("locality"), reader.path("locality"), problems);
  checkLength(network, reader.path("network"), meshLimits.maxPlaceLength, problems);
  checkLength(reader.string("locality"), reader.path("locality"), meshLimits.maxPlaceLength, problems);
  const weight = reader.integer("weight", 0, 0xffff_ffff);
  const serviceAccount = reader.string("serviceAccount");
  if (
    serviceAccount !== null &&
    serviceAccount.value !== "" &&
    !serviceAccountPattern.test(serviceAccount.value)
  ) {
    problems.add(
      serviceAccount.at,
      `${quote(serviceAccount.value)} is not a service account name`,
      serviceAccount.value,
    );
  }
  return {
    at: reader.at,
    ports,
    labels,
    network: network?.value ?? null,
    locality,
    weight: weight?.value ?? null,
    serviceAccount: serviceAccount === null || serviceAccount.value === "" ? "default" : serviceAccount.value,
  };
}

/** The characters a SPIFFE ID of Istio's form can carry. */
const serviceAccountPattern = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

function readPorts(reader: ObjectReader, problems: Problems): ReadonlyMap<string, Located<number>> {
  const ports = new Map<string, Located<number>>();
  for (const entry of reader.map("ports")) {
    if (!isDnsLabel(entry.key))
      problems.add(
        entry.keyAt,
        `${reader.path("ports")}: ${quote(entry.key)} is not the name of a port: at most 63 letters, digits and -`,
        entry.key,
      );
    const port = readInteger(entry.value, `${reader.path("ports")}.${entry.key}`, 1, 65535, problems);
    // What may be wrong with it later is its name.
    if (port !== null) ports.set(entry.key, { value: port.value, at: entry.keyAt });
  }
  checkCount(reader, "ports", reader.map("ports").length, meshLimits.maxEndpointPorts, problems);
  return ports;
}

function readLocality(read: Located<string> | null, path: string, problems: Problems): Locality {
  const parts = (read?.value ?? "").split("/");
  if (read !== null && parts.length > 3) {
    problems.add(read.at, `${path} must be region/zone/subzone, not ${quote(read.value)}`, read.value);
  }
  const [region = "", zone = "", subzone = ""] = parts;
  return { region, zone, subzone };
}
