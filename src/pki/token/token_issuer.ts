/** Whose tokens are believed, and for whom. Parsed from settings once, so that an issuer that exists is one that can be used. */
import { MeshError } from "../../base/errors.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import { isTokenAlgorithm, PublishedKeys, type TokenAlgorithm, tokenAlgorithms } from "./jwks_keys.ts";
import { isHttps, type JwksSource } from "./jwks_source.ts";
import { IdentityTemplate } from "./token_identity.ts";

/** Who the bearer of a token is. */
export type TokenSubject =
  /** `sub` is `system:serviceaccount:NAMESPACE:NAME`, as Kubernetes writes it and istiod reads it. */
  | { readonly kind: "service_account" }
  /** Claims are filled into `ns/…/sa/…`. */
  | { readonly kind: "template"; readonly template: IdentityTemplate }
  /** No workload at all: a person or program that administers. */
  | { readonly kind: "operator" };

/** For whom an issuer is believed: what one of the two lists holds. */
export interface TokenBinding {
  readonly namespaces: ReadonlySet<string>;
  /** `namespace/name` */
  readonly serviceAccounts: ReadonlySet<string>;
}

export interface JwtIssuer {
  /** Compared with `iss`, byte for byte. */
  readonly issuer: string;
  /** `aud` must hold one of them. */
  readonly audiences: readonly string[];
  readonly algorithms: readonly TokenAlgorithm[];
  readonly keys: JwksSource;
  readonly subject: TokenSubject;
  /** Null for one that names no namespace, and is believed for every namespace but the root namespace. */
  readonly binding: TokenBinding | null;
  /** From `iat` to `exp`; null for any. */
  readonly maxLifetimeMs: number | null;
  /** How far the issuer's clock and ours may be apart. */
  readonly clockSkewMs: number;
}

/** As an operator writes it. */
export interface JwtIssuerSettings {
  readonly issuer: string;
  readonly audiences?: readonly string[];
  readonly algorithms?: readonly string[];
  /** One of the three, or none of them for discovery. */
  readonly jwks?: string;
  readonly jwksFile?: string;
  readonly jwksUri?: string;
  readonly allowPrivateAddresses?: boolean;
  readonly rootsFile?: string;
  /** `service-account`, `operator`, or `ns/{claim}/sa/{claim}`. */
  readonly subject?: string;
  readonly namespaces?: readonly string[];
  /** `namespace/name` */
  readonly serviceAccounts?: readonly string[];
  readonly maxLifetimeMs?: number;
  readonly clockSkewMs?: number;
}

/** @throws MeshError `configuration`, blame local. */
export function parseJwtIssuer(settings: JwtIssuerSettings): JwtIssuer {
  const { issuer, audiences = ["istio-ca"], algorithms = tokenAlgorithms } = settings;
  const say = (message: string): MeshError =>
    new MeshError("configuration", "local", `token issuer "${issuer}": ${message}`);
  if (issuer === "") throw say("has no name");
  if (audiences.length === 0 || audiences.includes("")) throw say("needs an audience");
  const allowed = algorithms.map((name) => {
    if (isTokenAlgorithm(name)) return name;
    throw say(`algorithm ${name} is not accepted; only ${tokenAlgorithms.join(", ")} are`);
  });
  if (allowed.length === 0) throw say("allows no algorithm");
  const clockSkewMs = settings.clockSkewMs ?? tokenLimits.defaultClockSkewMs;
  if (!(clockSkewMs >= 0 && clockSkewMs <= tokenLimits.maxClockSkewMs))
    throw say(`the clock skew must lie between 0 and ${tokenLimits.maxClockSkewMs} ms`);
  const maxLifetimeMs = settings.maxLifetimeMs ?? null;
  if (maxLifetimeMs !== null && !(maxLifetimeMs > 0)) throw say("the longest lifetime must be positive");
  const subject = parseSubject(settings.subject ?? "service-account", say);
  return {
    issuer,
    audiences,
    algorithms: allowed,
    keys: parseSource(settings, say),
    subject,
    binding: parseBinding(settings, subject, say),
    maxLifetimeMs,
    clockSkewMs,
  };
}

function parseSource(settings: JwtIssuerSettings, say: (message: string) => MeshError): JwksSource {
  const { issuer, jwks, jwksFile, jwksUri, rootsFile = null } = settings;
  const given = [jwks, jwksFile, jwksUri].filter((one) => one !== undefined);
  if (given.length > 1) throw say("has more than one source of keys");
  const reach = settings.allowPrivateAddresses === true ? "any" : "public";
  if (jwks !== undefined) return { kind: "inline", text: checkInline(jwks, say) };
  if (jwksFile !== undefined) return { kind: "file", path: jwksFile };
  const url = jwksUri ?? issuer;
  if (!isHttps(url)) throw say(`"${url}" is no https URL, which the keys must be fetched from`);
  if (jwksUri !== undefined) return { kind: "uri", uri: jwksUri, reach, rootsPath: rootsFile };
  return { kind: "discovery", reach, rootsPath: rootsFile };
}

function checkInline(jwks: string, say: (message: string) => MeshError): string {
  try {
    PublishedKeys.parse(jwks);
    return jwks;
  } catch (error) {
    throw say(error instanceof Error ? error.message : String(error));
  }
}

function parseSubject(text: string, say: (message: string) => MeshError): TokenSubject {
  if (text === "service-account") return { kind: "service_account" };
  if (text === "operator") return { kind: "operator" };
  const template = IdentityTemplate.parse(text);
  if (template === null)
    throw say(`subject "${text}" is neither service-account, operator nor ns/{claim}/sa/{claim}`);
  return { kind: "template", template };
}

const namespace = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const serviceAccount = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;

function parseBinding(
  { namespaces, serviceAccounts }: JwtIssuerSettings,
  subject: TokenSubject,
  say: (message: string) => MeshError,
): TokenBinding | null {
  if (namespaces === undefined && serviceAccounts === undefined) return null;
  if (subject.kind === "operator")
    throw say("an operator is of no namespace; Administrator documents say what it may");
  for (const [field, values, form] of [
    ["namespaces", namespaces ?? [], namespace],
    ["serviceAccounts", serviceAccounts ?? [], serviceAccount],
  ] as const) {
    const wrong = values.find((value) => !form.test(value));
    if (wrong !== undefined)
      throw say(`"${wrong}" of ${field} is no ${form === namespace ? "namespace" : "NAMESPACE/NAME"}`);
  }
  const binding = { namespaces: new Set(namespaces), serviceAccounts: new Set(serviceAccounts) };
  // An empty list must not mean everybody.
  if (binding.namespaces.size + binding.serviceAccounts.size === 0)
    throw say("is bound to no namespace and no service account");
  return binding;
}
