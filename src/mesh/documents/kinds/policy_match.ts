/** The parts of an AuthorizationPolicy rule: `source`, `operation`, and the conditions of `when`. */
import { parsePort } from "../../../base/ip.ts";
import { meshLimits } from "../../../base/limits/mesh.ts";
import type { IpPrefix } from "../../../base/prefix.ts";
import type { Condition, OperationMatch, SourceMatch, Values } from "../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../reader.ts";
import { readPrefixes } from "./address.ts";

/** What a tunnel cannot see. Trust domains are here because a match has no field for them (istiod `httpSources`). */
const SOURCE_LAYER7 = ["requestPrincipals", "remoteIpBlocks", "trustDomains"];
const OPERATION_LAYER7 = ["hosts", "methods", "paths"];
const SOURCE_LAYER4 = ["principals", "namespaces", "serviceAccounts", "ipBlocks"];

const SOURCE_FIELDS = { known: withNot([...SOURCE_LAYER4, ...SOURCE_LAYER7]) };
const OPERATION_FIELDS = { known: withNot(["ports", ...OPERATION_LAYER7]) };

/** `ports` and `notPorts`. */
function withNot(fields: readonly string[]): string[] {
  return fields.flatMap((field) => [field, notField(field)]);
}

function notField(field: string): string {
  return `not${field.charAt(0).toUpperCase()}${field.slice(1)}`;
}

export function readSource(from: ObjectReader, problems: Problems): SourceMatch | null {
  const source = from.object("source", SOURCE_FIELDS);
  if (source === null) return null;
  requireContent(source, SOURCE_FIELDS.known, problems);
  const accounts = [...source.strings("serviceAccounts"), ...source.strings("notServiceAccounts")];
  for (const account of accounts) checkServiceAccount(account, source, problems);
  if (accounts.length > meshLimits.maxTargetRefs) {
    problems.add(
      source.where("serviceAccounts"),
      `${source.path("serviceAccounts")} has more than ${meshLimits.maxTargetRefs} entries`,
    );
  }
  const mixed = ["principals", "notPrincipals", "namespaces", "notNamespaces"].find((field) =>
    source.has(field),
  );
  if (accounts.length > 0 && mixed !== undefined) {
    problems.add(source.where(mixed), `${source.path(mixed)} and serviceAccounts exclude each other`, mixed);
  }
  return {
    principals: texts(source, "principals", problems),
    namespaces: texts(source, "namespaces", problems),
    serviceAccounts: texts(source, "serviceAccounts", problems),
    ipBlocks: prefixes(source, "ipBlocks", problems),
    layer7: withNot(SOURCE_LAYER7).filter(
      (field) => source.has(field) && nonEmpty(source.strings(field), source, field, problems),
    ),
  };
}

/** `namespace/name`, or `name` in the policy's own namespace. No wildcards (istiod `ServiceAccounts` validation). */
function checkServiceAccount({ value, at }: Located<string>, source: ObjectReader, problems: Problems): void {
  if (/^[a-z0-9.-]+(\/[a-z0-9.-]+)?$/.test(value)) return;
  problems.add(
    at,
    `${source.path("serviceAccounts")}: ${quote(value)} is not namespace/name, nor a name`,
    value,
  );
}

export function readOperation(to: ObjectReader, problems: Problems): OperationMatch | null {
  const operation = to.object("operation", OPERATION_FIELDS);
  if (operation === null) return null;
  requireContent(operation, OPERATION_FIELDS.known, problems);
  return {
    ports: ports(operation, "ports", "notPorts", problems),
    layer7: withNot(OPERATION_LAYER7).filter(
      (field) => operation.has(field) && nonEmpty(operation.strings(field), operation, field, problems),
    ),
  };
}

/** An empty `source` would match nobody here and everybody elsewhere. */
function requireContent(reader: ObjectReader, fields: readonly string[], problems: Problems): void {
  if (!fields.some((field) => reader.has(field)))
    problems.add(reader.at, `${reader.name} is empty; it must say what it matches`);
}

const CONDITION_KEYS = [
  ...["source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port"],
  ...["source.serviceAccount", "source.trustDomain", "remote.ip", "connection.sni"],
  ...["request.auth.principal", "request.auth.audiences", "request.auth.presenter"],
];
const CONDITION_PATTERN =
  /^(request\.headers|request\.auth\.claims|experimental\.envoy\.filters\.[^[\]]+)(\[[^[\]]+\])+$/;

export function readCondition(when: ObjectReader, problems: Problems): Condition | null {
  const key = when.requiredString("key");
  if (!when.has("values") && !when.has("notValues"))
    problems.add(when.at, `${when.path("values")} or notValues is missing`);
  if (key === null) return null;
  switch (key.value) {
    case "source.ip":
    case "destination.ip":
      return { key: key.value, match: pair(when, "values", "notValues", problems, readPrefixList(problems)) };
    case "source.namespace":
    case "source.principal":
      return { key: key.value, match: pair(when, "values", "notValues", problems, plain) };
    case "destination.port":
      return { key: key.value, match: ports(when, "values", "notValues", problems) };
  }
  if (!CONDITION_KEYS.includes(key.value) && !CONDITION_PATTERN.test(key.value)) {
    const valid = [...CONDITION_KEYS, "request.headers[NAME]", "request.auth.claims[NAME]"];
    problems.add(key.at, `${when.path("key")}: there is no attribute ${quote(key.value)}`, key.value, valid);
    return null;
  }
  pair(when, "values", "notValues", problems, plain);
  return { key: "layer7", name: key.value };
}

type ListReader<T> = (list: readonly Located<string>[], path: string) => readonly T[];

const plain: ListReader<string> = (list) => list.map(({ value }) => value);

function readPrefixList(problems: Problems): ListReader<IpPrefix> {
  return (list, path) => readPrefixes(list, path, problems).map(({ value }) => value);
}

function texts(reader: ObjectReader, field: string, problems: Problems): Values<string> {
  return pair(reader, field, notField(field), problems, plain);
}

function prefixes(reader: ObjectReader, field: string, problems: Problems): Values<IpPrefix> {
  return pair(reader, field, notField(field), problems, readPrefixList(problems));
}

/** Istio writes ports as strings here. */
function ports(reader: ObjectReader, field: string, not: string, problems: Problems): Values<number> {
  return pair(reader, field, not, problems, (list, path) =>
    list.flatMap(({ value, at }) => {
      const port = parsePort(value);
      if (port !== null) return [port];
      problems.add(at, `${path}: ${quote(value)} is not a port`, value);
      return [];
    }),
  );
}

function pair<T>(
  reader: ObjectReader,
  field: string,
  not: string,
  problems: Problems,
  read: ListReader<T>,
): Values<T> {
  return { values: one(reader, field, problems, read), notValues: one(reader, not, problems, read) };
}

function one<T>(reader: ObjectReader, field: string, problems: Problems, read: ListReader<T>): readonly T[] {
  if (!reader.has(field)) return [];
  const list = reader.strings(field);
  nonEmpty(list, reader, field, problems);
  return read(list, reader.path(field));
}

/** An empty list says nothing and an empty text matches nothing; Istio refuses both. */
function nonEmpty(
  list: readonly Located<string>[],
  reader: ObjectReader,
  field: string,
  problems: Problems,
): boolean {
  if (list.length === 0 && !problems.any)
    problems.add(reader.where(field), `${reader.path(field)} is empty; remove it`, field);
  for (const { value, at } of list)
    if (value === "") problems.add(at, `${reader.path(field)} has an empty value`);
  return true;
}
