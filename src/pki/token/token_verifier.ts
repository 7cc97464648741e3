/** Bearer tokens (RFC 7519) of configured issuers. The one place that says whether a token holds; why not is a value, for the audit log. */
import { decodeJwt, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";
import { MeshError } from "../../base/errors.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Files, HttpClient } from "../../host/host.ts";
import { nodeNamespace, type SpiffeId } from "../../mesh/identity.ts";
import { JwksCache, type JwksStatus } from "./jwks_cache.ts";
import type { KeyQuestion } from "./jwks_keys.ts";
import { type JwksSource, readJwks } from "./jwks_source.ts";
import { type Claims, serviceAccountIdentity } from "./token_identity.ts";
import type { JwtIssuer } from "./token_issuer.ts";

export type TokenRefusalReason =
  | "malformed"
  | "too_long"
  | "algorithm"
  | "issuer"
  | "audience"
  | "key_unknown"
  | "keys_unavailable"
  | "signature"
  | "expired"
  | "not_yet_valid"
  | "lifetime"
  | "claim"
  | "subject"
  | "binding";

/** Why a token does not hold. For the audit log: a caller never learns it. It never quotes the token. */
export interface TokenRefusal {
  readonly kind: "refused";
  readonly reason: TokenRefusalReason;
  readonly detail: string;
  /** As the token says, unproven; null when it cannot be read. */
  readonly issuer: string | null;
}

export type VerifiedToken =
  | {
      readonly kind: "workload";
      readonly id: SpiffeId;
      readonly issuer: string;
      /** `jti`; null when it has none. */
      readonly tokenId: string | null;
      /** Until then it is believed: its end, and the issuer's clock skew. */
      readonly expiresAtMs: number;
    }
  | {
      readonly kind: "operator";
      readonly issuer: string;
      readonly subject: string;
      readonly claims: Claims;
    };

export interface TokenVerifierOptions {
  readonly clock: Clock;
  readonly files: Files;
  readonly http: HttpClient;
  readonly logger: Logger;
  readonly trustDomain: string;
  /** Several of one name may be there when their audiences differ. */
  readonly issuers: readonly JwtIssuer[];
  /** For which only an issuer that names it is believed. */
  readonly rootNamespace: string;
}

const unboundMessage =
  "an issuer is believed for every namespace but the root namespace; namespaces or serviceAccounts bind it";

interface KnownIssuer extends JwtIssuer {
  readonly cache: JwksCache;
}

/** What a token says of itself before anything is proven. */
interface Unproven {
  readonly issuer: KnownIssuer;
  readonly question: KeyQuestion;
}

export class TokenVerifier {
  readonly #options: TokenVerifierOptions;
  #issuers: readonly KnownIssuer[] = [];

  constructor(options: TokenVerifierOptions) {
    this.#options = options;
    this.setIssuers(options.issuers);
  }

  /** In the place of those before; what is known of the keys of one that is there again stays known. */
  setIssuers(issuers: readonly JwtIssuer[]): void {
    const before = this.#issuers;
    this.#issuers = issuers.map((one) => {
      const known = before.find(({ issuer, keys }) => issuer === one.issuer && sameSource(keys, one.keys));
      return { ...one, cache: known?.cache ?? this.#cacheOf(one) };
    });
    for (const { issuer, binding, subject } of issuers)
      if (binding === null && subject.kind === "service_account")
        this.#options.logger.log("warn", "tokens", unboundMessage, { issuer });
  }

  /** Whether a token of this issuer could make this identity now; what it was believed for may have been taken away since. */
  mayClaim(issuer: string, id: SpiffeId): boolean {
    return this.#issuers.some(
      (one) => one.issuer === issuer && one.subject.kind !== "operator" && this.#isBound(one, id),
    );
  }

  #isBound({ binding }: JwtIssuer, { namespace, serviceAccount }: SpiffeId): boolean {
    if (binding === null) return namespace !== this.#options.rootNamespace;
    return binding.namespaces.has(namespace) || binding.serviceAccounts.has(`${namespace}/${serviceAccount}`);
  }

  /** @returns who its bearer is, or why it does not hold. */
  async verify(token: string): Promise<VerifiedToken | TokenRefusal> {
    const unproven = this.#read(token);
    if ("reason" in unproven) return unproven;
    const { issuer, question } = unproven;
    try {
      const keys = await issuer.cache.find(question);
      if (keys.length === 0) return refuse("key_unknown", "the issuer has no such key", issuer.issuer);
      const claims = await this.#prove(token, keys, issuer);
      return "reason" in claims ? claims : this.#subject(claims.claims, issuer);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      return refuse("keys_unavailable", error.message, issuer.issuer);
    }
  }

  /** For administration: what is known of each issuer's keys. */
  status(): readonly (JwksStatus & { readonly issuer: string })[] {
    return this.#issuers.map(({ issuer, cache }) => ({ issuer, ...cache.status() }));
  }

  #cacheOf(issuer: JwtIssuer): JwksCache {
    const { clock, logger, files, http } = this.#options;
    const read = () => readJwks({ files, http }, issuer.issuer, issuer.keys);
    return new JwksCache({ clock, logger, issuer: issuer.issuer, read });
  }

  #read(token: string): Unproven | TokenRefusal {
    if (token.length > tokenLimits.maxTokenChars) return refuse("too_long", `${token.length} characters`);
    const decoded = decode(token);
    if (decoded === null) return refuse("malformed", "is no signed JSON Web Token in compact form");
    const { header, claims } = decoded;
    const name = typeof claims.iss === "string" ? claims.iss.slice(0, 256) : null;
    const sameName = this.#issuers.filter((one) => one.issuer === claims.iss);
    if (sameName.length === 0) return refuse("issuer", "its issuer is not configured", name);
    const issuer = sameName.find((one) =>
      one.audiences.some((audience) => hasAudience(claims.aud, audience)),
    );
    if (issuer === undefined) return refuse("audience", "it is for another audience", name);
    const { alg, kid } = header;
    // Before any key is looked for: `none`, and HMAC with the public key as its secret, end here.
    const algorithm = issuer.algorithms.find((one) => one === alg);
    if (algorithm === undefined)
      return refuse("algorithm", `algorithm ${String(alg).slice(0, 32)} is not accepted`, name);
    if (kid !== undefined && (typeof kid !== "string" || kid.length > tokenLimits.maxKeyIdChars))
      return refuse("malformed", "its kid is no short text", name);
    return { issuer, question: { kid: kid ?? null, algorithm } };
  }

  async #prove(
    token: string,
    keys: readonly CryptoKey[],
    issuer: KnownIssuer,
  ): Promise<{ readonly claims: JWTPayload } | TokenRefusal> {
    const options = {
      issuer: issuer.issuer,
      audience: [...issuer.audiences],
      algorithms: [...issuer.algorithms],
      requiredClaims: issuer.maxLifetimeMs === null ? ["exp"] : ["exp", "iat"],
      clockTolerance: Math.floor(issuer.clockSkewMs / 1000),
      currentDate: new Date(this.#options.clock.wallMs()),
    };
    let refusal = refuse("signature", "its signature does not hold", issuer.issuer);
    for (const key of keys) {
      try {
        const { payload } = await jwtVerify(token, key, options);
        return this.#checkTimes(payload, issuer) ?? { claims: payload };
      } catch (error) {
        refusal = describeFailure(error, issuer.issuer);
        // Another key may fit where this one does not; what the claims say is the same for all.
        if (refusal.reason !== "signature") return refusal;
      }
    }
    return refusal;
  }

  /** What the library does not look at: `iat` in the future, and lifetimes longer than allowed. */
  #checkTimes(claims: JWTPayload, issuer: KnownIssuer): TokenRefusal | null {
    const { iat, exp = 0 } = claims;
    const nowSeconds = (this.#options.clock.wallMs() + issuer.clockSkewMs) / 1000;
    if (iat !== undefined && iat > nowSeconds)
      return refuse("not_yet_valid", "it was issued in the future", issuer.issuer);
    const { maxLifetimeMs } = issuer;
    if (maxLifetimeMs === null || iat === undefined || (exp - iat) * 1000 <= maxLifetimeMs) return null;
    return refuse("lifetime", `it lives for ${exp - iat} s, longer than allowed`, issuer.issuer);
  }

  #subject(claims: JWTPayload, known: KnownIssuer): VerifiedToken | TokenRefusal {
    const { issuer, subject, clockSkewMs } = known;
    if (subject.kind === "operator") {
      if (typeof claims.sub !== "string" || claims.sub === "")
        return refuse("subject", "it has no subject", issuer);
      return { kind: "operator", issuer, subject: claims.sub, claims };
    }
    const { trustDomain } = this.#options;
    const id =
      subject.kind === "service_account"
        ? serviceAccountIdentity(claims, trustDomain)
        : subject.template.identity(claims, trustDomain);
    if (id === null) return refuse("subject", "its claims do not make an identity of the mesh", issuer);
    // Hosts have certificates; an issuer of tokens cannot make one up.
    if (id.namespace === nodeNamespace) return refuse("subject", "it claims to be a node", issuer);
    if (!this.#isBound(known, id)) return refuse("binding", `its issuer is not believed for ${id}`, issuer);
    const tokenId = typeof claims.jti === "string" ? claims.jti : null;
    return { kind: "workload", id, issuer, tokenId, expiresAtMs: (claims.exp ?? 0) * 1000 + clockSkewMs };
  }
}

function sameSource(one: JwksSource, other: JwksSource): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** `aud` is a list or one text (RFC 7519 §4.1.3); istiod wants a list, ours takes both. */
function hasAudience(aud: unknown, audience: string): boolean {
  return Array.isArray(aud) ? aud.includes(audience) : aud === audience;
}

function decode(
  token: string,
): { readonly header: Record<string, unknown>; readonly claims: JWTPayload } | null {
  // Three parts in base64url without padding. The last may be empty: what is unsigned is refused for its algorithm, by name.
  if (!/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/.test(token)) return null;
  try {
    return { header: { ...decodeProtectedHeader(token) }, claims: decodeJwt(token) };
  } catch {
    return null;
  }
}

function describeFailure(error: unknown, issuer: string): TokenRefusal {
  if (error instanceof errors.JWTExpired) return refuse("expired", "it has expired", issuer);
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === "nbf") return refuse("not_yet_valid", "it is not valid yet", issuer);
    return refuse("claim", `claim ${error.claim} is ${error.reason}`, issuer);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return refuse("signature", "its signature does not hold", issuer);
  if (error instanceof errors.JOSEError) return refuse("malformed", error.message, issuer);
  // A key of another size or kind than its algorithm wants.
  if (error instanceof TypeError || error instanceof DOMException)
    return refuse("signature", "the issuer's key cannot check it", issuer);
  throw error;
}

function refuse(reason: TokenRefusalReason, detail: string, issuer: string | null = null): TokenRefusal {
  return { kind: "refused", reason, detail, issuer };
}
