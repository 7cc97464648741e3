/** What routes of the Gateway API are attached to, and where they send traffic (GAMMA: a route's parent is a service). */
import { meshLimits } from "../../../../base/limits/mesh.ts";
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { BackendRef, ParentRef, WeightedBackend } from "../../traffic_specs.ts";
import { isDnsLabel, isServiceHost, normalHost } from "../address.ts";
import { checkCount, checkLength } from "../bounds.ts";
import { readWeight } from "./scalars.ts";

const parentFields = { known: ["group", "kind", "namespace", "name", "sectionName", "port"] };
const backendFields = ["group", "kind", "namespace", "name", "port"];

/** By kind: its group. */
const parents = { Service: "", ServiceEntry: "networking.istio.io" } as const;
const backends = { ...parents, Hostname: "networking.istio.io" } as const;
const parentKinds = ["Service", "ServiceEntry"] as const;
const backendKinds = ["Service", "ServiceEntry", "Hostname"] as const;

export function readParents(spec: ObjectReader, problems: Problems): readonly ParentRef[] {
  const readers = spec.objects("parentRefs", parentFields);
  checkCount(spec, "parentRefs", readers.length, trafficLimits.maxParents, problems);
  const read = readers.flatMap((reader) => readParent(reader, problems) ?? []);
  if (readers.length === 0)
    problems.add(spec.where("parentRefs"), "spec.parentRefs must name the services that the route is for");
  else if (read.length === 0 && !problems.any)
    problems.add(
      spec.where("parentRefs"),
      "spec.parentRefs has only Gateways, which this version does not support: a route for a waypoint names a Service",
    );
  return read;
}

function readParent(reader: ObjectReader, problems: Problems): ParentRef | null {
  const group = reader.string("group");
  const kind = reader.string("kind");
  const name = reader.requiredString("name");
  const namespace = reader.string("namespace");
  const port = reader.integer("port", 1, 65535)?.value ?? null;
  checkLength(name, reader.path("name"), meshLimits.maxNameLength, problems);
  checkNamespace(reader, problems);
  if ((kind === null || kind.value === "Gateway") && (group === null || group.value !== "")) {
    problems.warn(reader.at, "Ignored", `${reader.name} is a Gateway, which this version does not have`);
    return null;
  }
  const known = parentKinds.find((one) => one === (kind?.value ?? "Service"));
  if (known === undefined) {
    problems.add(
      kind?.at ?? reader.at,
      `${reader.path("kind")} must be one of ${parentKinds.join(", ")}, not ${quote(kind?.value ?? "")}`,
      kind?.value,
      parentKinds,
    );
    return null;
  }
  if (group !== null && group.value !== parents[known] && !(known === "Service" && group.value === "core"))
    problems.add(
      group.at,
      `${reader.path("group")}: ${known} is of group ${quote(parents[known])}`,
      group.value,
    );
  if (group === null && parents[known] !== "")
    problems.add(reader.at, `${reader.path("group")}: ${known} is of group ${quote(parents[known])}`);
  if (reader.has("sectionName"))
    problems.add(
      reader.where("sectionName"),
      `${reader.path("sectionName")} is for Gateways; a port of a service is named by its number, in port`,
      "sectionName",
    );
  if (name === null) return null;
  return { at: reader.at, kind: known, namespace: namespace?.value || null, name: name.value, port };
}

function checkNamespace(reader: ObjectReader, problems: Problems): void {
  const namespace = reader.string("namespace");
  if (namespace !== null && namespace.value !== "" && !isDnsLabel(namespace.value))
    problems.add(
      namespace.at,
      `${reader.path("namespace")}: ${quote(namespace.value)} is not a namespace`,
      namespace.value,
    );
}

/** @param more fields beside the reference's own. */
export function readBackends(
  rule: ObjectReader,
  more: readonly string[],
  headersOf: (reader: ObjectReader) => WeightedBackend["headers"],
  problems: Problems,
): readonly WeightedBackend[] {
  const readers = rule.objects("backendRefs", { known: [...backendFields, "weight", ...more] });
  checkCount(rule, "backendRefs", readers.length, trafficLimits.maxDestinations, problems);
  return readers.flatMap((reader): WeightedBackend[] => {
    const backend = readBackendOf(reader, problems);
    const headers = headersOf(reader);
    return backend === null ? [] : [{ backend, weight: readWeight(reader, 1), headers }];
  });
}

export function readBackend(reader: ObjectReader, field: string, problems: Problems): BackendRef | null {
  const backend = reader.object(field, { known: backendFields });
  return backend === null ? null : readBackendOf(backend, problems);
}

function readBackendOf(reader: ObjectReader, problems: Problems): BackendRef | null {
  const group = reader.string("group")?.value ?? "";
  const kind = reader.string("kind");
  const name = reader.requiredString("name");
  const known = backendKinds.find((one) => one === (kind?.value ?? "Service"));
  const port = reader.integer("port", 1, 65535)?.value ?? null;
  checkNamespace(reader, problems);
  if (known === undefined) {
    problems.add(
      kind?.at ?? reader.at,
      `${reader.path("kind")} must be one of ${backendKinds.join(", ")}, not ${quote(kind?.value ?? "")}`,
      kind?.value,
      backendKinds,
    );
    return null;
  }
  if (group !== backends[known] && !(known === "Service" && group === "core"))
    problems.add(
      reader.where("group"),
      `${reader.path("group")}: ${known} is of group ${quote(backends[known])}`,
      group,
    );
  if (port === null && !reader.has("port")) problems.add(reader.at, `${reader.path("port")} is missing`);
  if (name === null) return null;
  if (known === "Hostname" && !isServiceHost(name.value))
    problems.add(name.at, `${reader.path("name")}: ${quote(name.value)} is not a host name`, name.value);
  return {
    at: reader.at,
    kind: known,
    namespace: reader.string("namespace")?.value || null,
    name: known === "Hostname" ? normalHost(name.value) : name.value,
    port,
  };
}
