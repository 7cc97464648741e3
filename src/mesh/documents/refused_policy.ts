/** What can still be told of a policy document that was refused: whom it may concern. */
import type { Location } from "../location.ts";
import type { Labels, Metadata } from "./document.ts";
import { salvageSelector } from "./kinds/labels.ts";
import { areKnownTargets, targetNames } from "./kinds/target_ref.ts";
import { ObjectReader, Problems } from "./reader.ts";
import type { YamlNode } from "./yaml.ts";

export interface RefusedPolicy {
  readonly kind: "AuthorizationPolicy" | "PeerAuthentication";
  readonly name: string;
  readonly namespace: string;
  /** Null when it has none, or none that can be read: then it may concern the whole namespace. */
  readonly selector: Labels | null;
  readonly location: Location;
}

/** What a waypoint must know of a document that was refused: which requests it may have been about. They are denied. */
export interface RefusedForWaypoint {
  readonly kind: "AuthorizationPolicy" | "RequestAuthentication" | "AccessCondition" | "MeshConfig";
  /** `AccessCondition shop/office-hours`. */
  readonly key: string;
  /** "" of the whole mesh. */
  readonly namespace: string;
  /** `Kind name` of each; null where it cannot be told, so it may be for whatever is in its namespace. */
  readonly targetRefs: readonly string[] | null;
  /** Not null of a document without targets, for workloads: those it selects, or all. It concerns tunnels that have a waypoint's application inside. */
  readonly workloads: { readonly selector: Labels | null } | null;
  readonly location: Location;
}

export function isForWaypoints(kind: string): kind is RefusedForWaypoint["kind"] {
  return (
    kind === "AuthorizationPolicy" ||
    kind === "RequestAuthentication" ||
    kind === "AccessCondition" ||
    kind === "MeshConfig"
  );
}

/** @returns null when it can be told that the document, were it good, would be nothing to a waypoint or to a tunnel that has its application inside. */
export function salvageForWaypoint(
  root: YamlNode,
  kind: RefusedForWaypoint["kind"],
  { key, namespace }: Metadata,
): RefusedForWaypoint | null {
  const found = { kind, key, namespace, location: root.at, workloads: null };
  const spec = ObjectReader.open(root, "", new Problems())?.object("spec", specFields) ?? null;
  if (kind === "MeshConfig" || spec === null) return { ...found, targetRefs: null };
  if (spec.has("targetRef") || spec.has("targetRefs"))
    return { ...found, targetRefs: areKnownTargets(spec) ? targetNames(spec) : null };
  // A condition has no other way to say whom it is for.
  if (kind === "AccessCondition") return { ...found, targetRefs: null };
  if (spec.text("action") === "AUDIT") return null;
  return { ...found, targetRefs: [], workloads: { selector: salvagedSelector(spec) } };
}

/** Null when it has none, or none that can be read. */
function salvagedSelector(spec: ObjectReader): Labels | null {
  const problems = new Problems();
  const node = spec.node("selector");
  const labels = node === null ? null : salvageSelector(node, "matchLabels", problems);
  return problems.any ? null : labels;
}

const specFields = {
  known: ["selector", "targetRef", "targetRefs", "action", "rules", "provider", "mtls", "portLevelMtls"],
};

/** @returns null when it can be told that the document, were it good, would be nothing to tunnels. */
export function salvagePolicy(
  root: YamlNode,
  kind: RefusedPolicy["kind"],
  metadata: Metadata,
): RefusedPolicy | null {
  // The errors of the document were told already; these are only about whether its selector can be believed.
  const problems = new Problems();
  const reader = ObjectReader.of(
    root,
    "",
    { known: ["apiVersion", "kind", "metadata", "spec", "status"] },
    new Problems(),
  );
  const spec = reader?.object("spec", specFields) ?? null;
  if (spec !== null && isNothingToTunnels(spec)) return null;
  const node = spec?.node("selector") ?? null;
  const labels = node === null ? null : salvageSelector(node, "matchLabels", problems);
  const { name, namespace } = metadata;
  return {
    kind,
    name,
    namespace,
    selector: problems.any || labels?.size === 0 ? null : labels,
    location: root.at,
  };
}

/** For a waypoint, or of an action that tunnels do not carry out. What refers to something unknown may be for anything. */
function isNothingToTunnels(spec: ObjectReader): boolean {
  const action = spec.text("action");
  if (action === "AUDIT" || action === "CUSTOM") return true;
  const isTargeted = spec.has("targetRef") || spec.has("targetRefs");
  return isTargeted && !spec.has("selector") && areKnownTargets(spec);
}
