/** What a policy for a waypoint refers to (Istio `validatePolicyTargetReference`). */
import { meshLimits } from "../../../base/limits/mesh.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../reader.ts";
import { checkLength } from "./bounds.ts";

const targetFields = { known: ["group", "kind", "name", "namespace"] };

const gatewayApi = "gateway.networking.k8s.io";
/** By kind: its groups, the usual one first. */
const targets: Readonly<Record<string, readonly string[]>> = {
  Service: ["", "core"],
  ServiceEntry: ["networking.istio.io"],
  Gateway: [gatewayApi],
  GatewayClass: [gatewayApi],
};

/** Of `targetRef` and `targetRefs`: `Kind name` of each. */
export function readTargetRefs(spec: ObjectReader, problems: Problems): readonly Located<string>[] {
  const references = referencesOf(spec);
  const said = ["selector", "targetRef", "targetRefs"].filter((field) => spec.has(field));
  const [first, second] = said;
  if (first !== undefined && second !== undefined) {
    const field = first === "selector" ? first : second;
    const others = said.filter((each) => each !== field).map((each) => `spec.${each}`);
    problems.add(spec.where(field), `spec.${field} and ${others.join(", ")} exclude each other`, field);
  }
  if (references.length > meshLimits.maxTargetRefs) {
    problems.add(
      spec.where("targetRefs"),
      `spec.targetRefs has more than ${meshLimits.maxTargetRefs} entries`,
      "targetRefs",
    );
  }
  if ((spec.has("targetRef") || spec.has("targetRefs")) && references.length === 0 && !problems.any) {
    problems.add(spec.where("targetRefs"), "spec.targetRefs is empty; remove it", "targetRefs");
  }
  return references.flatMap((reference) => readTargetRef(reference, problems) ?? []);
}

function readTargetRef(reference: ObjectReader, problems: Problems): Located<string> | null {
  const group = reference.string("group");
  const kind = reference.requiredString("kind");
  const name = reference.requiredString("name");
  const namespace = reference.string("namespace");
  if (namespace !== null && namespace.value !== "") {
    problems.add(
      namespace.at,
      `${reference.path("namespace")} must be left out: a policy refers to targets of its own namespace only`,
      namespace.value,
    );
  }
  checkLength(name, reference.path("name"), meshLimits.maxNameLength, problems);
  if (kind === null || name === null) return null;
  const groups = groupsOf(kind.value);
  const [usual] = groups;
  if (usual === undefined) {
    const kinds = Object.keys(targets);
    problems.add(
      kind.at,
      `${reference.path("kind")} must be one of ${kinds.join(", ")}, not ${quote(kind.value)}`,
      kind.value,
      kinds,
    );
  } else if (!groups.includes(group?.value ?? "")) {
    const said = group === null || group.value === "" ? "none is given" : `not ${quote(group.value)}`;
    const wanted = usual === "" ? `${kind.value} has no group` : `${kind.value} is of group ${usual}`;
    problems.add(
      group?.at ?? kind.at,
      `${reference.path("group")}: ${wanted}${usual === "" ? `, ${said}` : `; ${said}`}`,
      group?.value ?? kind.value,
      usual === "" ? [] : [usual],
    );
  }
  return { value: `${kind.value} ${name.value}`, at: reference.at };
}

/** Whether all that a refused policy refers to is something that a waypoint may stand for. */
export function areKnownTargets(spec: ObjectReader): boolean {
  const references = referencesOf(spec);
  const written = spec.list("targetRefs").length + (spec.has("targetRef") ? 1 : 0);
  return (
    references.length > 0 &&
    references.length === written &&
    references.every((reference) => groupsOf(reference.text("kind")).includes(reference.text("group")))
  );
}

/** Of a refused document, whose targets are known: `Kind name` of each. */
export function targetNames(spec: ObjectReader): readonly string[] {
  return referencesOf(spec).map((reference) => `${reference.text("kind")} ${reference.text("name")}`);
}

function referencesOf(spec: ObjectReader): readonly ObjectReader[] {
  const single = spec.object("targetRef", targetFields);
  return [...(single === null ? [] : [single]), ...spec.objects("targetRefs", targetFields)];
}

function groupsOf(kind: string): readonly string[] {
  return Object.hasOwn(targets, kind) ? (targets[kind] ?? []) : [];
}
