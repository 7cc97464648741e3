/** The kind `Administrator` of `fairlead.dev/v1`: a role, where it holds, and who has it. */
import { controlAdminLimits } from "../../base/limits/control.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { ObjectReader, Problems } from "../../mesh/documents/reader.ts";
import { type DocumentText, parseYamlInSteps, splitInSteps } from "../../mesh/documents/yaml.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import type { DocumentError } from "../../mesh/location.ts";
import { type Role, roles } from "./roles.ts";
import type { DocumentInput, Subject } from "./sources.ts";

export const administratorKind = "Administrator";
const apiVersion = "fairlead.dev/v1";

export interface Administrator {
  readonly name: string;
  readonly role: Role;
  /** Null: the whole mesh. */
  readonly namespaces: readonly string[] | null;
  readonly subjects: readonly AdministratorSubject[];
  /** As it was written. */
  readonly text: string;
}

export type AdministratorSubject =
  | { readonly kind: "identity"; readonly uri: string }
  | { readonly kind: "claim"; readonly issuer: string; readonly claim: string; readonly value: string };

export type ParsedAdministrators = {
  readonly administrators: readonly Administrator[];
  readonly errors: readonly DocumentError[];
  /** Documents that are of another kind. */
  readonly others: number;
};

/** Reads what is of this kind. @param rootNamespace belongs to no tenant. */
export function parseAdministrators(
  inputs: readonly DocumentInput[],
  rootNamespace: string,
): ParsedAdministrators {
  return runSteps(administratorsInSteps(inputs, rootNamespace));
}

/** `parseAdministrators`, in steps. A document that does not hold the kind's name is not read. */
export function* administratorsInSteps(
  inputs: readonly DocumentInput[],
  rootNamespace: string,
): Generator<void, ParsedAdministrators> {
  const administrators: Administrator[] = [];
  const errors: DocumentError[] = [];
  const names = new Set<string>();
  let others = 0;
  for (const { path, text } of inputs) {
    const parts = yield* splitInSteps(path, text);
    if ("message" in parts) {
      // Whatever it holds; who may not write administrators is told what is wrong with it all the same.
      if (mayBeAdministrator.test(text)) errors.push(parts);
      else others++;
      continue;
    }
    for (const part of parts) {
      yield;
      const read = mayBeAdministrator.test(part.text)
        ? yield* readAdministrator(part, rootNamespace)
        : "other";
      if (read === "other") others++;
      else if ("errors" in read) errors.push(...read.errors);
      else if (names.has(read.name))
        errors.push({
          location: { file: part.file, line: part.firstLine, column: 1 },
          resource: `${administratorKind} ${read.name}`,
          message: "is given twice",
        });
      else {
        names.add(read.name);
        administrators.push(read);
      }
    }
  }
  return { administrators, errors, others };
}

/** The word, or an escape of YAML by which it could be written. */
const mayBeAdministrator = /Administrator|\\[xuU]/;

const namePattern = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

/** One document of this kind; `other` for another. */
export function* readAdministrator(
  document: DocumentText,
  rootNamespace: string,
  problems = new Problems(),
): Generator<void, Administrator | "other" | { readonly errors: readonly DocumentError[] }> {
  const yaml = yield* parseYamlInSteps(document);
  // Not even YAML: whoever reads the other kinds says so.
  if (!("root" in yaml)) return "other";
  const { root: node } = yaml;
  if (node.kind !== "map") return "other";
  const kind = node.entries.find(({ key }) => key === "kind")?.value;
  if (kind?.kind !== "scalar" || kind.value !== administratorKind) return "other";
  problems.resource = administratorKind;
  const root = ObjectReader.of(node, "", { known: ["apiVersion", "kind", "metadata", "spec"] }, problems);
  const version = root?.requiredString("apiVersion") ?? null;
  if (version !== null && version.value !== apiVersion)
    problems.add(version.at, `${administratorKind} has apiVersion ${apiVersion}`, version.value, [
      apiVersion,
    ]);
  if (root !== null)
    for (const part of ["metadata", "spec"]) if (!root.has(part)) problems.add(root.at, `${part} is missing`);
  const name = root?.object("metadata", { known: ["name"] })?.requiredString("name") ?? null;
  if (name !== null) problems.resource = `${administratorKind} ${name.value}`;
  if (name !== null && !namePattern.test(name.value))
    problems.add(name.at, `"${name.value}" is not a name: lower case letters, digits, - and .`, name.value);
  const spec = root?.object("spec", { known: ["role", "namespaces", "subjects"] }) ?? null;
  const role = spec === null ? null : readRole(spec, problems);
  const namespaces = spec === null ? null : readNamespaces(spec, role, rootNamespace, problems);
  const subjects = spec === null ? [] : readSubjects(spec, problems);
  if (problems.any || name === null || role === null) return { errors: problems.errors };
  return { name: name.value, role, namespaces, subjects, text: document.text };
}

function readRole(spec: ObjectReader, problems: Problems): Role | null {
  const role = spec.requiredString("role");
  if (role === null) return null;
  const known = roles.find((word) => word === role.value);
  if (known === undefined)
    problems.add(
      role.at,
      `"${role.value}" is not a role; the roles are ${roles.join(", ")}`,
      role.value,
      roles,
    );
  return known ?? null;
}

function readNamespaces(
  spec: ObjectReader,
  role: Role | null,
  rootNamespace: string,
  problems: Problems,
): readonly string[] | null {
  const given = spec.has("namespaces") ? spec.strings("namespaces") : null;
  if (role === "namespace-admin" && (given === null || given.length === 0))
    problems.add(spec.where("namespaces"), "a namespace-admin needs namespaces");
  if (role === "mesh-admin" && given !== null)
    problems.add(
      spec.where("namespaces"),
      "a mesh-admin may not have namespaces: it administers the whole mesh",
    );
  // An empty list must not mean the whole mesh.
  if (given !== null && given.length === 0) problems.add(spec.where("namespaces"), "namespaces is empty");
  for (const { value, at } of given ?? []) {
    if (value === rootNamespace || value === nodeNamespace)
      problems.add(at, `${value} belongs to the whole mesh; only a mesh-admin may administer it`, value);
    else if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(value))
      problems.add(at, `"${value}" is not a namespace; patterns are not supported`, value);
  }
  return given === null ? null : given.map(({ value }) => value);
}

function readSubjects(spec: ObjectReader, problems: Problems): readonly AdministratorSubject[] {
  const subjects: AdministratorSubject[] = [];
  const items = spec.objects("subjects", { known: ["identity", "issuer", "claim", "value"] });
  if (items.length === 0) problems.add(spec.where("subjects"), "spec.subjects is missing or empty");
  if (items.length > controlAdminLimits.maxSubjects)
    problems.add(spec.where("subjects"), `more than ${controlAdminLimits.maxSubjects} subjects`);
  for (const item of items) {
    if (item.has("identity")) {
      const uri = item.requiredString("identity");
      for (const field of ["issuer", "claim", "value"])
        if (item.has(field)) problems.add(item.where(field), `${field} cannot be given with identity`);
      if (uri === null) continue;
      if (SpiffeId.parse(uri.value) === null)
        problems.add(uri.at, `"${uri.value}" is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/NAME`, uri.value);
      subjects.push({ kind: "identity", uri: uri.value });
      continue;
    }
    const issuer = item.requiredString("issuer");
    const claim = item.has("claim") ? item.requiredString("claim") : null;
    const value = item.requiredString("value");
    if (issuer !== null && value !== null)
      subjects.push({
        kind: "claim",
        issuer: issuer.value,
        claim: claim?.value ?? "sub",
        value: value.value,
      });
  }
  return subjects;
}

export function hasSubject(administrator: Administrator, subject: Subject): boolean {
  return administrator.subjects.some((one) => isSubject(one, subject));
}

function isSubject(one: AdministratorSubject, subject: Subject): boolean {
  if (one.kind === "identity") return subject.kind === "identity" && subject.id.uri === one.uri;
  if (subject.kind !== "token" || subject.issuer !== one.issuer) return false;
  // OpenID Connect Core §5.1: an address that the issuer has not verified is whatever its bearer typed.
  if (one.claim === "email" && subject.claims.email_verified !== true) return false;
  const held = Object.hasOwn(subject.claims, one.claim) ? subject.claims[one.claim] : undefined;
  return Array.isArray(held) ? held.includes(one.value) : held === one.value;
}
