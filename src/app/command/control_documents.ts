/** Documents that are no part of the mesh but of who runs its control plane, for `fairlead validate`. */
import { administratorKind, readAdministrator } from "../../admin/control/administrator.ts";
import { MeshError } from "../../base/errors.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { ControlDocument } from "../../cli/bindings.ts";
import { readTokenIssuer, tokenIssuerKind } from "../../config/control/token_issuers.ts";
import { type DocumentText, parseYaml } from "../../mesh/documents/yaml.ts";
import type { DocumentError, Location } from "../../mesh/location.ts";
import { parseJwtIssuer } from "../../pki/token/token_issuer.ts";

/** @returns null for a document of another kind: the mesh's, or what is no YAML. */
export function readControlDocument(part: DocumentText, rootNamespace: string): ControlDocument | null {
  // Most files have none: they are not parsed twice for it. An escape of YAML could hide the word.
  if (!/Administrator|TokenIssuer|\\[xuU]/.test(part.text)) return null;
  const yaml = parseYaml(part);
  if (!("root" in yaml) || yaml.root.kind !== "map") return null;
  const kind = yaml.root.entries.find(({ key }) => key === "kind")?.value;
  if (kind?.kind !== "scalar") return null;
  if (kind.value === administratorKind) return administrator(part, yaml.root.at, rootNamespace);
  return kind.value === tokenIssuerKind ? tokenIssuer(part, yaml.root.at) : null;
}

function administrator(part: DocumentText, location: Location, rootNamespace: string): ControlDocument {
  const read = runSteps(readAdministrator(part, rootNamespace));
  if (read === "other") return { key: administratorKind, location, errors: [] };
  if ("errors" in read)
    return { key: read.errors[0]?.resource ?? administratorKind, location, errors: read.errors };
  return { key: `${administratorKind} ${read.name}`, location, errors: [] };
}

function tokenIssuer(part: DocumentText, location: Location): ControlDocument {
  const read = readTokenIssuer(part);
  if (!("issuer" in read)) return { key: tokenIssuerKind, location, errors: read.errors };
  const key = `${tokenIssuerKind} ${read.issuer}`;
  try {
    parseJwtIssuer(read);
    return { key, location, errors: [] };
  } catch (thrown) {
    if (!(thrown instanceof MeshError)) throw thrown;
    // It names the issuer, as `resource` does.
    const message = thrown.message.replace(/^token issuer ".*": /, "");
    const error: DocumentError = { location, resource: key, message };
    return { key, location, errors: [error] };
  }
}
