/** Which kind a document is: looked at before anything else, since what its fields mean depends on it. */
import { resourceName } from "./document.ts";
import { insteadOf, isKubernetesGroup, isMeshGroup, kindsToCome } from "./kinds/foreign_kinds.ts";
import { apiVersionsOf, kindNamed, kindNames, kindOf, type MeshKind } from "./kinds/kinds.ts";
import { nearestWord } from "./nearest.ts";
import { type Located, type ObjectReader, type Problems, quote } from "./reader.ts";

/**
 * A kind of ours, also when its apiVersion is wrong: it was meant, so a policy that is refused for it still denies. `other`
 * for a kind that others know and we do not act on, null when it cannot be told. Whatever is wrong is in `problems`.
 */
export type KindReading = MeshKind | "other" | null;

export function readKind(root: ObjectReader, problems: Problems): KindReading {
  const kind = root.requiredString("kind");
  const apiVersion = root.requiredString("apiVersion");
  if (kind === null) return null;
  problems.resource = provisionalName(root, kind.value);
  const known = kindNamed(kind.value);
  if (apiVersion === null) return known;
  const group = groupOf(apiVersion.value);
  if (known !== null && apiVersionsOf(kindOf(known)).includes(apiVersion.value)) return known;
  if (kindsToCome[group]?.includes(kind.value) === true) return refuseToCome(kind, group, problems);
  if (known !== null) return refuseVersion(known, apiVersion, problems);
  return refuseUnknown(kind, group, problems);
}

function groupOf(apiVersion: string): string {
  const slash = apiVersion.indexOf("/");
  return slash === -1 ? "" : apiVersion.slice(0, slash);
}

/** Without reading it in earnest: what is not acted on is still called by its name. */
function provisionalName(root: ObjectReader, kind: string): string {
  const metadata = root.plain("metadata");
  const name = metadata.get("name");
  if (name === undefined) return kind;
  const namespace = metadata.get("namespace");
  return resourceName(kind, kind === "Namespace" ? "" : (namespace ?? ""), name);
}

function refuseToCome(kind: Located<string>, group: string, problems: Problems): "other" {
  const isIstioGateway = kind.value === "Gateway" && group === "networking.istio.io";
  const what = isIstioGateway ? "Istio's own Gateway" : kind.value;
  problems.add(kind.at, `${what} is not supported yet; it has no effect`, kind.value);
  return "other";
}

/** `AuthorizationPolicy` of `policy.linkerd.io` is somebody else's; of `security.istio.oi`, a slip. */
function refuseVersion(known: MeshKind, apiVersion: Located<string>, problems: Problems): MeshKind | "other" {
  const row = kindOf(known);
  const group = groupOf(apiVersion.value);
  const isForeign = group.includes(".") && !isMeshGroup(group) && nearestWord(group, [row.group]) === null;
  if (isForeign) {
    problems.add(
      apiVersion.at,
      `${known} of ${group} is another project's kind and is not read`,
      apiVersion.value,
    );
    return "other";
  }
  const versions = apiVersionsOf(row);
  problems.add(
    apiVersion.at,
    `${known} has apiVersion ${versions.join(", ")}, not ${quote(apiVersion.value)}`,
    apiVersion.value,
    versions,
  );
  return known;
}

function refuseUnknown(kind: Located<string>, group: string, problems: Problems): "other" | null {
  const say = (message: string): "other" => {
    problems.add(kind.at, message, kind.value);
    return "other";
  };
  const instead = Object.hasOwn(insteadOf, kind.value) ? insteadOf[kind.value] : undefined;
  if (instead !== undefined && isKubernetesGroup(group)) return say(`${kind.value} is not read: ${instead}`);
  const meant = [...kindNames, ...Object.values(kindsToCome).flat()];
  const elsewhere = Object.keys(kindsToCome).find((each) => kindsToCome[each]?.includes(kind.value) === true);
  if (elsewhere !== undefined && (group === "" || isMeshGroup(group)))
    return say(
      `${kind.value} is not supported yet; it has no effect, and it is of ${elsewhere}, not ${quote(group)}`,
    );
  if ((isMeshGroup(group) || group === "") && nearestWord(kind.value, meant) !== null) {
    problems.add(kind.at, `there is no kind ${quote(kind.value)}`, kind.value, meant);
    return null;
  }
  if (isMeshGroup(group)) return say(`${kind.value} of ${group} is not supported yet; it has no effect`);
  if (group === "fairlead.dev")
    return say(`${kind.value} is not a document of a mesh; give it to a control plane`);
  if (group !== "" && isKubernetesGroup(group))
    return say(`${kind.value} is Kubernetes' own and is not read`);
  if (group !== "") return say(`${kind.value} of ${group} is another project's kind and is not read`);
  problems.add(kind.at, `there is no kind ${quote(kind.value)}`, kind.value, meant);
  return null;
}
