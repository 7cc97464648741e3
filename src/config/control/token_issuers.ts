/** The kind `TokenIssuer` of `fairlead.dev/v1`: whose bearer tokens are believed, and for whom. Read from the file of `--issuers`. */
import { configLimits } from "../../base/limits/config.ts";
import { controlLimits } from "../../base/limits/control.ts";
import { ObjectReader, Problems } from "../../mesh/documents/reader.ts";
import { type DocumentText, parseYaml, splitDocuments } from "../../mesh/documents/yaml.ts";
import { type DocumentError, formatLocation } from "../../mesh/location.ts";
import type { ConfigError } from "../sources.ts";
import { Invalid, readDuration } from "../value.ts";

/** As it was written; what it means is `pki/token/token_issuer.ts`'s to say. */
export interface TokenIssuerConfig {
  readonly issuer: string;
  readonly audiences?: readonly string[];
  readonly algorithms?: readonly string[];
  readonly jwksFile?: string;
  readonly jwksUri?: string;
  readonly rootsFile?: string;
  readonly allowPrivateAddresses?: boolean;
  readonly subject?: string;
  readonly namespaces?: readonly string[];
  /** `namespace/name` */
  readonly serviceAccounts?: readonly string[];
  readonly maxLifetimeMs?: number;
  readonly clockSkewMs?: number;
}

export interface ReadTokenIssuers {
  readonly issuers: readonly TokenIssuerConfig[];
  readonly errors: readonly ConfigError[];
}

export const tokenIssuerKind = "TokenIssuer";
const apiVersion = "fairlead.dev/v1";
const strings = ["issuer", "jwksFile", "jwksUri", "rootsFile", "subject"] as const;
const lists = ["audiences", "algorithms", "namespaces", "serviceAccounts"] as const;
const durations = { maxLifetime: "maxLifetimeMs", clockSkew: "clockSkewMs" } as const;
const fields = { known: [...strings, ...lists, ...Object.keys(durations), "allowPrivateAddresses"] };

export function readTokenIssuers(path: string, text: string): ReadTokenIssuers {
  const issuers: TokenIssuerConfig[] = [];
  const errors: ConfigError[] = [];
  const parts = splitDocuments(path, text);
  if ("message" in parts)
    return { issuers, errors: [{ where: formatLocation(parts.location), message: parts.message }] };
  for (const part of parts) {
    const read = readTokenIssuer(part);
    if ("issuer" in read) issuers.push(read);
    else
      for (const { location, message } of read.errors)
        errors.push({ where: formatLocation(location), message });
  }
  if (issuers.length > controlLimits.maxTokenIssuers)
    errors.push({ where: path, message: `names more than ${controlLimits.maxTokenIssuers} issuers` });
  return { issuers, errors };
}

/** One document of this kind. */
export function readTokenIssuer(
  part: DocumentText,
  problems = new Problems(),
): TokenIssuerConfig | { readonly errors: readonly DocumentError[] } {
  const yaml = parseYaml(part);
  if (!("root" in yaml)) return { errors: yaml.errors };
  const issuer = readIssuer(ObjectReader.of(yaml.root, "", topFields, problems), problems);
  return issuer === null || problems.any ? { errors: problems.errors } : issuer;
}

const topFields = { known: ["apiVersion", "kind", "metadata", "spec"] };

function readIssuer(root: ObjectReader | null, problems: Problems): TokenIssuerConfig | null {
  if (root === null) return null;
  for (const [field, wanted] of [
    ["apiVersion", apiVersion],
    ["kind", tokenIssuerKind],
  ] as const) {
    const found = root.requiredString(field);
    if (found !== null && found.value !== wanted)
      problems.add(found.at, `${field} is ${found.value}; here it has to be ${wanted}`, found.value, [
        wanted,
      ]);
  }
  if (!root.has("spec")) problems.add(root.at, "spec is missing");
  const spec = root.object("spec", fields);
  if (spec === null) return null;
  const issuer = spec.requiredString("issuer");
  const found: Record<string, unknown> = { issuer: issuer?.value };
  for (const field of strings) if (spec.has(field)) found[field] = spec.requiredString(field)?.value;
  for (const field of lists)
    if (spec.has(field)) found[field] = spec.strings(field).map(({ value }) => value);
  for (const [field, name] of Object.entries(durations)) {
    const written = spec.string(field);
    if (written === null) continue;
    const ms = readDuration(0, configLimits.maxDurationMs)(written.value);
    if (ms instanceof Invalid) problems.add(written.at, `${field}: ${ms.reason}`);
    else found[name] = ms;
  }
  problems.onAsked?.(spec.path("allowPrivateAddresses"), { kind: "boolean" });
  const open = spec.node("allowPrivateAddresses");
  if (open?.kind === "scalar" && typeof open.value === "boolean") found.allowPrivateAddresses = open.value;
  else if (open !== null) problems.add(open.at, "allowPrivateAddresses must be true or false");
  return issuer === null ? null : { ...found, issuer: issuer.value };
}
