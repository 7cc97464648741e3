/** PeerAuthentication (Istio `ValidatePeerAuthentication` of `pkg/config/validation/validation.go`). */

import type { Location } from "../../../location.ts";
import type { Metadata, MutualTlsMode, PeerAuthenticationDocument } from "../../document.ts";
import { type Located, ObjectReader, type Problems, quote } from "../../reader.ts";
import { readSelector } from "../labels.ts";

const modeWords = ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] as const;

export function readPeerAuthentication(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): PeerAuthenticationDocument {
  const spec = root.object("spec", { known: ["selector", "mtls", "portLevelMtls"] });
  const selector = spec === null ? null : readSelector(spec, "selector", "matchLabels", problems);
  const portLevelMtls =
    spec === null ? new Map<number, Located<MutualTlsMode>>() : readPortLevel(spec, problems);
  if (spec?.has("portLevelMtls") === true && portLevelMtls.size === 0 && !problems.any)
    problems.add(spec.where("portLevelMtls"), "spec.portLevelMtls is empty; remove it", "portLevelMtls");
  if (spec !== null && selector?.size === 0)
    problems.warn(
      spec.where("selector"),
      "Ignored",
      "spec.selector has no labels, so it applies to its whole namespace",
    );
  // Istio's validation: a port belongs to a workload, so a workload must be selected.
  if (portLevelMtls.size > 0 && (selector === null || selector.size === 0)) {
    problems.add(
      spec?.where("portLevelMtls") ?? location,
      "spec.portLevelMtls needs spec.selector.matchLabels",
      "portLevelMtls",
    );
  }
  return {
    kind: "PeerAuthentication",
    metadata,
    location,
    warnings: [],
    selector,
    mode: (spec === null ? null : readMode(spec.object("mtls", { known: ["mode"] }))) ?? {
      value: "UNSET",
      at: location,
    },
    portLevelMtls,
  };
}

function readMode(mtls: ObjectReader | null): Located<MutualTlsMode> | null {
  return mtls?.choice("mode", modeWords) ?? null;
}

function readPortLevel(spec: ObjectReader, problems: Problems): Map<number, Located<MutualTlsMode>> {
  const modes = new Map<number, Located<MutualTlsMode>>();
  for (const entry of spec.map("portLevelMtls")) {
    const port = /^[0-9]{1,5}$/.test(entry.key) ? Number(entry.key) : 0;
    if (port < 1 || port > 65535) {
      problems.add(entry.keyAt, `spec.portLevelMtls: ${quote(entry.key)} is not a port`, entry.key);
      continue;
    }
    const mode = readMode(
      ObjectReader.of(entry.value, `spec.portLevelMtls.${entry.key}`, { known: ["mode"] }, problems),
    );
    modes.set(port, mode ?? { value: "UNSET", at: entry.keyAt });
  }
  return modes;
}
