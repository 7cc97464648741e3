/** BackendTLSPolicy (Gateway API v1): TLS to a service outside the mesh. */

import { meshLimits } from "../../../../base/limits/mesh.ts";
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { Location } from "../../../location.ts";
import type { BackendTlsPolicyDocument, Metadata } from "../../document.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { BackendTarget } from "../../traffic_specs.ts";
import { isHostname } from "../address.ts";
import { checkCount } from "../bounds.ts";

const fields = {
  known: ["targetRefs", "validation"],
  unsupported: { options: "options are not supported" },
};
const targetKinds = { Service: "", ServiceEntry: "networking.istio.io" } as const;
const kinds = ["Service", "ServiceEntry"] as const;

export function readBackendTlsPolicy(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): BackendTlsPolicyDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const readers = spec.objects("targetRefs", { known: ["group", "kind", "name", "sectionName"] });
  checkCount(spec, "targetRefs", readers.length, meshLimits.maxTargetRefs, problems);
  const targets = readers.flatMap((reader) => readTarget(reader, problems));
  if (readers.length === 0)
    problems.add(spec.where("targetRefs"), "spec.targetRefs must name at least one service");
  const validation = spec.object("validation", {
    known: ["hostname", "wellKnownCACertificates", "subjectAltNames"],
    unsupported: {
      caCertificateRefs: "ConfigMaps are not supported; a DestinationRule names files of the waypoint's host",
    },
  });
  if (!spec.has("validation")) problems.add(spec.at, "spec.validation is missing");
  if (validation === null) return null;
  const hostname = validation.requiredString("hostname");
  if (hostname !== null && !isHostname(hostname.value))
    problems.add(
      hostname.at,
      `${validation.path("hostname")}: ${quote(hostname.value)} is not a host name`,
      hostname.value,
    );
  validation.choice("wellKnownCACertificates", ["System"]);
  if (!validation.has("wellKnownCACertificates"))
    problems.add(validation.at, `${validation.path("wellKnownCACertificates")} is missing; write System`);
  if (hostname === null) return null;
  return {
    kind: "BackendTLSPolicy",
    metadata,
    location,
    warnings: [],
    spec: {
      targets,
      hostname: hostname.value.toLowerCase(),
      subjectAltNames: readNames(validation, problems),
    },
  };
}

function readTarget(reader: ObjectReader, problems: Problems): BackendTarget[] {
  const kind = reader.choice("kind", kinds)?.value;
  const group = reader.string("group")?.value ?? "";
  const name = reader.requiredString("name");
  if (kind === undefined && !reader.has("kind")) problems.add(reader.at, `${reader.path("kind")} is missing`);
  if (kind === undefined || name === null) return [];
  if (group !== targetKinds[kind])
    problems.add(
      reader.where("group"),
      `${reader.path("group")}: ${kind} is of group ${quote(targetKinds[kind])}`,
      group,
    );
  return [{ at: reader.at, kind, name: name.value, section: reader.string("sectionName")?.value || null }];
}

function readNames(validation: ObjectReader, problems: Problems): readonly string[] {
  const readers = validation.objects("subjectAltNames", { known: ["type", "hostname", "uri"] });
  checkCount(validation, "subjectAltNames", readers.length, trafficLimits.maxMatchItems, problems);
  return readers.flatMap((reader) => {
    const type = reader.choice("type", ["Hostname", "URI"])?.value;
    const field = type === "URI" ? "uri" : "hostname";
    const value = reader.requiredString(field);
    if (type === undefined && !reader.has("type"))
      problems.add(reader.at, `${reader.path("type")} is missing`);
    return value === null ? [] : [value.value];
  });
}
