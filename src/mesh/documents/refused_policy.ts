/** What can still be told of a policy document that was refused: whom it may concern. */
import type { Location } from "../location.ts";
import type { Labels, Metadata } from "./document.ts";
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

const SPEC_FIELDS = {
  known: ["selector", "targetRef", "targetRefs", "action", "rules", "provider", "mtls", "portLevelMtls"],
};

/** @returns null when it can be told that the document is not for tunnels. */
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
  const spec = reader?.object("spec", SPEC_FIELDS) ?? null;
  const isForWaypoint =
    spec !== null && !spec.has("selector") && (spec.has("targetRef") || spec.has("targetRefs"));
  if (isForWaypoint) return null;
  const node = spec?.node("selector") ?? null;
  const selector =
    node === null ? null : ObjectReader.of(node, "selector", { known: ["matchLabels"] }, problems);
  const labels = selector?.has("matchLabels") === true ? selector.stringMap("matchLabels") : null;
  const { name, namespace } = metadata;
  return {
    kind,
    name,
    namespace,
    selector: problems.any || labels?.size === 0 ? null : labels,
    location: root.at,
  };
}
