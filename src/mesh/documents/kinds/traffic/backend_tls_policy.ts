/** BackendTLSPolicy (Gateway API v1): TLS to a service. */
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
    known: ["hostname", "wellKnownCACertificates", "caCertificateRefs", "subjectAltNames"],
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
  const caCertificates = readAuthority(validation, problems);
  if (hostname === null) return null;
  return {
    kind: "BackendTLSPolicy",
    metadata,
    location,
    warnings: [],
    spec: {
      targets,
      hostname: hostname.value.toLowerCase(),
      caCertificates,
      subjectAltNames: readNames(validation, problems),
    },
  };
}

/**
 * There are no ConfigMaps here: one of the name `ca` is the file `ca.crt` of the waypoint's host, of the document's namespace.
 *
 * @returns null for the system's roots.
 */
function readAuthority(validation: ObjectReader, problems: Problems): string | null {
  const refs = validation.objects("caCertificateRefs", { known: ["group", "kind", "name"] });
  const isWellKnown = validation.has("wellKnownCACertificates");
  if (isWellKnown === refs.length > 0) {
    const both = isWellKnown ? "not both" : "one of them";
    problems.add(
      validation.at,
      `${validation.name} must have wellKnownCACertificates or caCertificateRefs, ${both}`,
    );
    return null;
  }
  const [first, second] = refs;
  if (first === undefined) return null;
  if (second !== undefined)
    problems.add(second.at, `${second.name} is one too many: put all certificates into one file`);
  first.choice("kind", ["ConfigMap"]);
  if (!first.has("kind")) problems.add(first.at, `${first.path("kind")} is missing`);
  const group = first.string("group");
  if (group !== null && group.value !== "")
    problems.add(group.at, `${first.path("group")}: ConfigMap is of group ""`, group.value);
  const name = first.requiredString("name");
  if (name === null) return null;
  if (!/^[a-z0-9]([a-z0-9.-]{0,243}[a-z0-9])?$/.test(name.value))
    problems.add(
      name.at,
      `${first.path("name")}: ${quote(name.value)} is not the name of a ConfigMap`,
      name.value,
    );
  return `${name.value}.crt`;
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
