/** The parts of an AuthorizationPolicy rule: `source`, `operation`, and the conditions of `when`. */
import type { Condition, OperationMatch, SourceMatch } from "../document.ts";
import { type ObjectReader, type Problems, quote } from "../reader.ts";
import {
  anyText,
  ipBlock,
  notField,
  pathTemplate,
  port,
  readList,
  readValues,
  serviceAccount,
  trustDomain,
  type ValueReader,
  wildcard,
} from "./policy_values.ts";

/** What a tunnel cannot see. Trust domains are here because a match has no field for them (istiod `httpSources`). */
const sourceLayer7: Readonly<Record<string, ValueReader<unknown>>> = {
  requestPrincipals: anyText,
  remoteIpBlocks: ipBlock,
  trustDomains: trustDomain,
};
const operationLayer7: Readonly<Record<string, ValueReader<unknown>>> = {
  hosts: anyText,
  methods: anyText,
  paths: pathTemplate,
};
const sourceLayer4 = ["principals", "namespaces", "serviceAccounts", "ipBlocks"];

const sourceFields = { known: withNot([...sourceLayer4, ...Object.keys(sourceLayer7)]) };
const operationFields = { known: withNot(["ports", ...Object.keys(operationLayer7)]) };

/** Who the peer is cannot be said to an external authorizer (Istio `ValidateAuthorizationPolicy`). */
const notCustom = withNot([
  ...["namespaces", "serviceAccounts", "trustDomains", "principals", "requestPrincipals"],
]);
const notCustomKeys = ["source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal"];

/** `ports` and `notPorts`. */
function withNot(fields: readonly string[]): string[] {
  return fields.flatMap((field) => [field, notField(field)]);
}

/** @param isCustom of a policy whose action is CUSTOM */
export function readSource(from: ObjectReader, isCustom: boolean, problems: Problems): SourceMatch | null {
  const source = from.object("source", sourceFields);
  if (source === null) return null;
  requireContent(source, problems);
  if (isCustom) {
    for (const field of notCustom.filter((each) => source.has(each)))
      problems.add(source.where(field), `${source.path(field)} cannot be used with the action CUSTOM`, field);
  }
  const mixed = ["principals", "notPrincipals", "namespaces", "notNamespaces"].find((field) =>
    source.has(field),
  );
  if (mixed !== undefined && (source.has("serviceAccounts") || source.has("notServiceAccounts"))) {
    problems.add(source.where(mixed), `${source.path(mixed)} and serviceAccounts exclude each other`, mixed);
  }
  const values = <T>(field: string, read: ValueReader<T>) =>
    readValues(source, field, notField(field), read, problems);
  return {
    principals: values("principals", anyText),
    namespaces: values("namespaces", anyText),
    serviceAccounts: values("serviceAccounts", serviceAccount),
    ipBlocks: values("ipBlocks", ipBlock),
    layer7: layer7Of(source, sourceLayer7, problems),
  };
}

export function readOperation(to: ObjectReader, problems: Problems): OperationMatch | null {
  const operation = to.object("operation", operationFields);
  if (operation === null) return null;
  requireContent(operation, problems);
  return {
    ports: readValues(operation, "ports", "notPorts", port, problems),
    layer7: layer7Of(operation, operationLayer7, problems),
  };
}

/** The fields that are there, having checked their values. */
function layer7Of(
  reader: ObjectReader,
  fields: Readonly<Record<string, ValueReader<unknown>>>,
  problems: Problems,
): readonly string[] {
  const found: string[] = [];
  for (const [field, read] of Object.entries(fields)) {
    for (const name of [field, notField(field)].filter((each) => reader.has(each))) {
      readList(reader, name, read, problems);
      found.push(name);
    }
  }
  return found;
}

/** An empty `source` would match nothing here and everything elsewhere. */
function requireContent(reader: ObjectReader, problems: Problems): void {
  if (reader.isEmpty) problems.add(reader.at, `${reader.name} is empty; it must say what it matches`);
}

/** Conditions a tunnel does not see, and what their values are. */
const layer7Keys: Readonly<Record<string, ValueReader<unknown>>> = {
  "source.serviceAccount": serviceAccount,
  "source.trustDomain": wildcard,
  "remote.ip": ipBlock,
  "connection.sni": anyText,
  "request.auth.principal": anyText,
  "request.auth.audiences": anyText,
  "request.auth.presenter": anyText,
};
const layer4Keys = [
  "source.ip",
  "source.namespace",
  "source.principal",
  "destination.ip",
  "destination.port",
];
const mapKey =
  /^(request\.headers|request\.auth\.claims|experimental\.envoy\.filters\.[^[\]]+)(\[[^[\]]+\])+$/;
/** Attributes of Istio's first API, and what took their place (`ValidateAttribute`). */
const replacedKeys: readonly (readonly [prefix: string, why: string])[] = [
  ["destination.namespace", "is replaced by the policy's own namespace"],
  ["destination.labels", "is replaced by the policy's selector"],
  ["destination.name", "is replaced by the policy's selector"],
  ["destination.user", "is replaced by the policy's selector"],
];

export function readCondition(when: ObjectReader, isCustom: boolean, problems: Problems): Condition | null {
  const key = when.requiredString("key");
  if (!when.has("values") && !when.has("notValues"))
    problems.add(when.at, `${when.path("values")} or notValues is missing`);
  if (key === null) return null;
  const word = key.value;
  if (isCustom && (notCustomKeys.includes(word) || word.startsWith("request.auth.")))
    problems.add(key.at, `${when.path("key")}: ${word} cannot be used with the action CUSTOM`, word);
  const values = <T>(read: ValueReader<T>) => readValues(when, "values", "notValues", read, problems);
  switch (word) {
    case "source.ip":
    case "destination.ip":
      return { key: word, match: values(ipBlock) };
    case "source.namespace":
    case "source.principal":
      return { key: word, match: values(anyText) };
    case "destination.port":
      return { key: word, match: values(port) };
  }
  const read = Object.hasOwn(layer7Keys, word) ? layer7Keys[word] : undefined;
  if (read === undefined && !mapKey.test(word)) {
    refuseKey(when, key.at, word, problems);
    return null;
  }
  values(read ?? anyText);
  return { key: "layer7", name: word };
}

function refuseKey(
  when: ObjectReader,
  at: Parameters<Problems["add"]>[0],
  word: string,
  problems: Problems,
): void {
  const path = when.path("key");
  const replaced = replacedKeys.find(([prefix]) => word.startsWith(prefix));
  const map = ["request.headers", "request.auth.claims"].find((prefix) => word.startsWith(prefix));
  if (replaced !== undefined) problems.add(at, `${path}: ${quote(word)} ${replaced[1]}`, word);
  else if (map !== undefined) problems.add(at, `${path}: ${quote(word)} must be ${map}[NAME]`, word);
  else {
    const valid = [
      ...layer4Keys,
      ...Object.keys(layer7Keys),
      "request.headers[NAME]",
      "request.auth.claims[NAME]",
    ];
    problems.add(at, `${path}: there is no attribute ${quote(word)}`, word, valid);
  }
}
