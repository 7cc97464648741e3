/** A section in layers: what was compiled as a whole, and what has come since. So a change costs what has changed. */
import type { Authorization } from "../../mesh/authorization.ts";
import type { LoadedSection, PolicyImage } from "./image.ts";

/**
 * Sections that are one together: what was compiled once, and what has come since. A policy is in one of them; which of two
 * rules comes first is a matter of `RuleOrigin` between them.
 */
export type SectionLayers = readonly LoadedSection[];

/** A section's layers, each null where no policy of its kind has a rule. */
export interface LoadedLayers {
  readonly base: LoadedSection | null;
  readonly recent: LoadedSection | null;
}

export type SectionName = "deny" | "allow" | "dryRunDeny" | "dryRunAllow";

export function sectionOf(policy: Authorization): SectionName {
  if (policy.action === "DENY") return policy.dryRun ? "dryRunDeny" : "deny";
  return policy.dryRun ? "dryRunAllow" : "allow";
}

/** Too many rules or bytes in itself, or no room left in the image. */
export type Refusal = "too_large" | "crowded_out";

export function isRefusal(section: LoadedSection | LoadedLayers | null | Refusal): section is Refusal {
  return typeof section === "string";
}

/** @returns both layers in another image. */
export function copyLayers(layers: LoadedLayers, from: PolicyImage, to: PolicyImage): LoadedLayers | Refusal {
  const base = layers.base === null ? null : to.copy(from, layers.base);
  const recent = layers.recent === null ? null : to.copy(from, layers.recent);
  const isWhole =
    (base === null) === (layers.base === null) && (recent === null) === (layers.recent === null);
  return isWhole ? { base, recent } : "crowded_out";
}

/** @returns the section in another image; null where there was none. */
export function copySection(
  section: LoadedSection | null,
  from: PolicyImage,
  to: PolicyImage,
): LoadedSection | null | Refusal {
  return section === null ? null : (to.copy(from, section) ?? "crowded_out");
}

/** @returns the section in another image, without the policies that are gone; null where there was none. */
export function copyKept(
  section: LoadedSection | null,
  from: PolicyImage,
  to: PolicyImage,
  kept: Pick<ReadonlySet<Authorization>, "has">,
): LoadedSection | null | Refusal {
  const copy = copySection(section, from, to);
  if (copy === null || isRefusal(copy)) return copy;
  for (const [index, { policy }] of copy.rules.entries()) {
    if (!kept.has(policy)) to.retire(copy, index);
  }
  return copy;
}
