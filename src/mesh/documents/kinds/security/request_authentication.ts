/** RequestAuthentication (Istio `ValidateRequestAuthentication` and `validateJwtRule` of `pkg/config/validation/validation.go`). */
import { authLimits } from "../../../../base/limits/auth.ts";
import type { Location } from "../../../location.ts";
import type { Metadata, RequestAuthenticationDocument } from "../../document.ts";
import { type Located, ObjectReader, type Problems, quote } from "../../reader.ts";
import type { JwtKeys, JwtRule } from "../../security.ts";
import { checkCount } from "../bounds.ts";
import { readDuration } from "../duration.ts";
import { readSelector } from "../labels.ts";
import { readTargetRefs } from "../target_ref.ts";
import { isHeaderName } from "./header_name.ts";

const fields = { known: ["selector", "targetRef", "targetRefs", "jwtRules"] };
const ruleFields = {
  known: [
    ...["issuer", "audiences", "jwks", "jwksUri", "jwks_uri", "fromHeaders", "fromParams", "fromCookies"],
    ...["forwardOriginalToken", "outputPayloadToHeader", "outputClaimToHeaders", "timeout"],
    "spaceDelimitedClaims",
  ],
  unsupported: {
    presence: 'to require a token, deny notRequestPrincipals: ["*"] by an AuthorizationPolicy',
  },
};

export function readRequestAuthentication(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): RequestAuthenticationDocument {
  const base = { kind: "RequestAuthentication", metadata, location, warnings: [] } as const;
  const spec = root.object("spec", fields);
  if (spec === null) return { ...base, selector: null, targetRefs: [], rules: [] };
  const selector = readSelector(spec, "selector", "matchLabels", problems);
  const targetRefs = readTargetRefs(spec, problems);
  const nodes = spec.list("jwtRules");
  checkCount(spec, "jwtRules", nodes.length, authLimits.maxJwtRules, problems);
  const rules = nodes.flatMap((node, index) => {
    const rule = ObjectReader.of(node, `spec.jwtRules[${index}]`, ruleFields, problems);
    return rule === null ? [] : (readJwtRule(rule, problems) ?? []);
  });
  return { ...base, selector, targetRefs, rules };
}

function readJwtRule(rule: ObjectReader, problems: Problems): JwtRule | null {
  const issuer = rule.requiredString("issuer");
  const keys = readKeys(rule, problems);
  const fromHeaders = rule.objects("fromHeaders", { known: ["name", "prefix"] }).flatMap((header) => {
    const name = header.requiredString("name");
    const prefix = header.string("prefix");
    if (name === null) return [];
    checkHeader(name, header.path("name"), problems);
    return { name: name.value.toLowerCase(), prefix: prefix?.value ?? "" };
  });
  const outputClaimToHeaders = rule
    .objects("outputClaimToHeaders", { known: ["header", "claim"] })
    .flatMap((output) => {
      const header = output.requiredString("header");
      const claim = output.requiredString("claim");
      if (header === null || claim === null) return [];
      checkOutput(header, output.path("header"), problems);
      // Envoy's `claim_to_headers` takes nested claims with dots.
      return { header: header.value.toLowerCase(), claim: claim.value.split(".") };
    });
  const outputPayload = rule.has("outputPayloadToHeader")
    ? rule.requiredString("outputPayloadToHeader")
    : null;
  if (outputPayload !== null) checkOutput(outputPayload, rule.path("outputPayloadToHeader"), problems);
  const timeoutMs = rule.has("timeout") ? readDuration(rule, "timeout", 1, problems) : null;
  const read = {
    at: rule.at,
    audiences: texts(rule, "audiences", problems),
    fromHeaders,
    fromParams: texts(rule, "fromParams", problems),
    fromCookies: texts(rule, "fromCookies", problems),
    forwardOriginalToken: readBoolean(rule, "forwardOriginalToken", problems),
    outputPayloadToHeader: outputPayload?.value.toLowerCase() ?? null,
    outputClaimToHeaders,
    spaceDelimitedClaims: rule.has("spaceDelimitedClaims")
      ? texts(rule, "spaceDelimitedClaims", problems)
      : defaultSpaceDelimited,
    timeoutMs: timeoutMs ?? authLimits.keySetTimeoutMs,
  };
  return issuer === null || keys === null ? null : { ...read, issuer: issuer.value, keys };
}

/** What Envoy takes as lists by itself, and Istio's default with it. */
const defaultSpaceDelimited = ["permission", "scope"];

function readKeys(rule: ObjectReader, problems: Problems): JwtKeys | null {
  const named = ["jwks", "jwksUri", "jwks_uri"].filter((field) => rule.has(field));
  const [first, second] = named;
  if (first === undefined) return { kind: "discovery" };
  if (second !== undefined) {
    problems.add(rule.where(second), `${rule.path(first)} and ${second} exclude each other`, second);
    return null;
  }
  const read = rule.requiredString(first);
  if (read === null) return null;
  if (first !== "jwks") return readUri(read, rule.path(first), problems);
  const flaw = keySetFlaw(read.value);
  if (flaw !== null) problems.add(read.at, `${rule.path(first)} ${flaw}`);
  return { kind: "inline", text: read.value };
}

function readUri(read: Located<string>, path: string, problems: Problems): JwtKeys | null {
  const url = URL.parse(read.value);
  let why: string | null = null;
  if (url === null) why = "is not a URL";
  else if (url.protocol !== "https:" && url.protocol !== "http:") why = "must begin with https:// or http://";
  else if (url.username !== "" || url.password !== "") why = "must not hold a user name or a password";
  if (why === null) return { kind: "uri", uri: read.value };
  problems.add(read.at, `${path}: ${quote(read.value)} ${why}`, read.value);
  return null;
}

/** What is looked at here; whether a key can check a signature is found out where it is used. */
function keySetFlaw(text: string): string | null {
  if (text.length > authLimits.maxInlineKeySetChars)
    return `has ${text.length} characters; it may have ${authLimits.maxInlineKeySetChars}`;
  let set: unknown;
  try {
    set = JSON.parse(text);
  } catch {
    return "is not JSON";
  }
  if (typeof set !== "object" || set === null || !("keys" in set) || !Array.isArray(set.keys))
    return 'is no JSON Web Key Set: it has no list "keys"';
  return set.keys.length === 0 ? "holds no key" : null;
}

export function readBoolean(reader: ObjectReader, field: string, problems: Problems): boolean {
  problems.onAsked?.(reader.path(field), { kind: "boolean" });
  const node = reader.node(field);
  if (node === null) return false;
  if (node.kind === "scalar" && typeof node.value === "boolean") return node.value;
  problems.add(node.at, `${reader.path(field)} must be true or false`);
  return false;
}

function texts(reader: ObjectReader, field: string, problems: Problems): readonly string[] {
  const list = reader.strings(field);
  checkCount(reader, field, list.length, authLimits.maxRuleItems, problems);
  for (const { value, at } of list)
    if (value === "") problems.add(at, `${reader.path(field)} has an empty value`);
  return list.map(({ value }) => value);
}

function checkHeader({ value, at }: Located<string>, path: string, problems: Problems): void {
  if (!isHeaderName(value)) problems.add(at, `${path}: ${quote(value)} is not the name of a header`, value);
}

/** Headers by which a request is routed or framed, which a token must not be able to set. */
const refusedOutputs = [
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "te",
  "trailer",
  "upgrade",
];

function checkOutput(header: Located<string>, path: string, problems: Problems): void {
  checkHeader(header, path, problems);
  if (refusedOutputs.includes(header.value.toLowerCase()))
    problems.add(header.at, `${path}: ${header.value} is not a header that a token may set`, header.value);
}
