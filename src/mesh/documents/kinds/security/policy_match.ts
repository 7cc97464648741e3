/** The parts of an AuthorizationPolicy rule: `source`, `operation`, and the conditions of `when`. */
import type { Condition, Layer7Condition, OperationMatch, SourceMatch, Values } from "../../document.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import {
  anyText,
  ipBlock,
  notField,
  pathTemplate,
  port,
  readValues,
  serviceAccount,
  trustDomain,
  type ValueReader,
  wildcard,
} from "./policy_values.ts";

/** What a tunnel cannot see. Trust domains are here because a match has no field for them (istiod `httpSources`). */
const sourceLayer7 = ["requestPrincipals", "remoteIpBlocks", "trustDomains"];
const operationLayer7 = ["hosts", "methods", "paths"];
const sourceLayer4 = ["principals", "namespaces", "serviceAccounts", "ipBlocks"];

const sourceFields = { known: withNot([...sourceLayer4, ...sourceLayer7]) };
const operationFields = { known: withNot(["ports", ...operationLayer7]) };

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
    requestPrincipals: values("requestPrincipals", anyText),
    remoteIpBlocks: values("remoteIpBlocks", ipBlock),
    trustDomains: values("trustDomains", trustDomain),
    layer7: written(source, sourceLayer7),
  };
}

export function readOperation(to: ObjectReader, problems: Problems): OperationMatch | null {
  const operation = to.object("operation", operationFields);
  if (operation === null) return null;
  requireContent(operation, problems);
  const values = <T>(field: string, read: ValueReader<T>) =>
    readValues(operation, field, notField(field), read, problems);
  return {
    ports: values("ports", port),
    hosts: values("hosts", anyText),
    methods: values("methods", anyText),
    paths: values("paths", pathTemplate),
    layer7: written(operation, operationLayer7),
  };
}

/** Those of the fields that are there, and of their `not` counterparts. */
function written(reader: ObjectReader, fields: readonly string[]): readonly string[] {
  return withNot(fields).filter((field) => reader.has(field));
}

/** An empty `source` would match nothing here and everything elsewhere. */
function requireContent(reader: ObjectReader, problems: Problems): void {
  if (reader.isEmpty) problems.add(reader.at, `${reader.name} is empty; it must say what it matches`);
}

/** Conditions a tunnel does not see, and what their values are. */
const layer7Keys = [
  ...["source.serviceAccount", "source.trustDomain", "remote.ip", "connection.sni"],
  ...["request.auth.principal", "request.auth.audiences", "request.auth.presenter"],
];
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
  const is = readLayer7(word, values);
  if (is === null) refuseKey(when, key.at, word, problems);
  return is === null ? null : { key: "layer7", name: word, is };
}

function readLayer7(word: string, values: <T>(read: ValueReader<T>) => Values<T>): Layer7Condition | null {
  switch (word) {
    case "remote.ip":
      return { key: word, match: values(ipBlock) };
    case "source.serviceAccount":
      return { key: word, match: values(serviceAccount) };
    case "source.trustDomain":
      return { key: word, match: values(wildcard) };
    case "connection.sni":
    case "request.auth.principal":
    case "request.auth.audiences":
    case "request.auth.presenter":
      return { key: word, match: values(anyText) };
  }
  if (!mapKey.test(word)) return null;
  const names = word.slice(word.indexOf("[") + 1, -1).split("][");
  if (word.startsWith("experimental.")) return { key: "experimental.envoy.filters", match: values(anyText) };
  if (word.startsWith("request.auth.claims"))
    return { key: "request.auth.claims", claim: names, match: values(anyText) };
  // Istio takes what is between the outermost brackets (`extractNameInBrackets`); no header is called `a][b`.
  return { key: "request.headers", header: names.join("][").toLowerCase(), match: values(anyText) };
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
    const valid = [...layer4Keys, ...layer7Keys, "request.headers[NAME]", "request.auth.claims[NAME]"];
    problems.add(at, `${path}: there is no attribute ${quote(word)}`, word, valid);
  }
}
