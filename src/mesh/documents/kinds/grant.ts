/** Grant (`fairlead.dev/v1`): what the mesh's administrators give to namespaces. It is no namespace's own, so no tenant writes one. */

import { meshLimits } from "../../../base/limits/mesh.ts";
import { isNodeName, nodeNamespace } from "../../identity.ts";
import type { Location } from "../../location.ts";
import type { GrantDocument, Metadata } from "../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../reader.ts";
import { isServiceHost, readPrefixes } from "./address.ts";

const given = ["hosts", "addressRanges", "nodes", "networks"] as const;
const fields = {
  known: ["namespaces", ...given],
  unsupported: {
    serviceAccounts: "an identity names its namespace, and is that namespace's without a grant",
  },
};
const namespace = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function readGrant(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): GrantDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const namespaces = names(spec, "namespaces", problems);
  if (namespaces.length === 0)
    problems.add(spec.where("namespaces"), "spec.namespaces must name at least one namespace");
  for (const { value, at } of namespaces) {
    if (!namespace.test(value) || value === nodeNamespace)
      problems.add(at, `spec.namespaces: ${quote(value)} is not a namespace that can have grants`, value);
  }
  if (!given.some((field) => spec.has(field)))
    problems.add(spec.at, `spec grants nothing: it needs one of ${given.join(", ")}`);
  const hosts = names(spec, "hosts", problems);
  for (const { value, at } of hosts) {
    if (!isServiceHost(value))
      problems.add(
        at,
        `spec.hosts: ${quote(value)} is not a host name, nor one that begins with "*."`,
        value,
      );
  }
  const nodes = names(spec, "nodes", problems);
  for (const { value, at } of nodes) {
    if (!isNodeName(value)) problems.add(at, `spec.nodes: ${quote(value)} is not the name of a node`, value);
  }
  return {
    kind: "Grant",
    metadata,
    location,
    warnings: [],
    namespaces: namespaces.map(({ value }) => value),
    hosts: hosts.map(({ value, at }) => ({ value: value.toLowerCase(), at })),
    addressRanges: readPrefixes(names(spec, "addressRanges", problems), spec.path("addressRanges"), problems),
    nodes: nodes.map(({ value }) => value),
    networks: names(spec, "networks", problems).map(({ value }) => value),
  };
}

function names(spec: ObjectReader, field: string, problems: Problems): readonly Located<string>[] {
  const found = spec.strings(field);
  if (found.length <= meshLimits.maxGrantItems) return found;
  problems.add(spec.where(field), `${spec.path(field)} has more than ${meshLimits.maxGrantItems} items`);
  return [];
}
