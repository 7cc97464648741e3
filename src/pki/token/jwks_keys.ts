/** JSON Web Key Sets (RFC 7517 §5): which keys of a set can prove a token, and for which algorithm. */
import { importJWK, type JWK } from "jose";
import { MeshError } from "../../base/errors.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import { isStrongRsaKey } from "./rsa_strength.ts";

/**
 * Signatures that a key which is published can check. HMAC and `none` are not in the type, so that no setting can allow
 * them: with HMAC the issuer's public key would be the secret.
 */
export const tokenAlgorithms = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
] as const;
export type TokenAlgorithm = (typeof tokenAlgorithms)[number];

export function isTokenAlgorithm(name: string): name is TokenAlgorithm {
  return (tokenAlgorithms as readonly string[]).includes(name);
}

/** One public key of a set. */
export interface PublishedKey {
  readonly kid: string | null;
  readonly jwk: JWK;
}

/** What a token says about its key. */
export interface KeyQuestion {
  readonly kid: string | null;
  readonly algorithm: TokenAlgorithm;
}

export class PublishedKeys {
  readonly #keys: readonly PublishedKey[];
  readonly #imported = new Map<string, Promise<CryptoKey | null>>();
  /** As it was read. */
  readonly text: string;

  private constructor(keys: readonly PublishedKey[], text: string) {
    this.#keys = keys;
    this.text = text;
  }

  /**
   * Keys of other uses and kinds are passed over, as issuers publish them together; a set of nothing else is an error.
   *
   * @throws MeshError `configuration`, blame upstream.
   */
  static parse(text: string): PublishedKeys {
    const set = parseJson(text);
    if (!isRecord(set) || !Array.isArray(set.keys)) throw bad("is no JSON Web Key Set");
    if (set.keys.length > tokenLimits.maxKeys) throw bad(`holds ${set.keys.length} keys`);
    const keys = set.keys.filter(isUsable).map((jwk) => ({ kid: textOrNull(jwk.kid), jwk }));
    if (keys.length === 0) throw bad("holds no public key that signs tokens");
    return new PublishedKeys(keys, text);
  }

  get size(): number {
    return this.#keys.length;
  }

  has(kid: string): boolean {
    return this.#keys.some((key) => key.kid === kid);
  }

  /**
   * The keys that may have made the signature, at most `tokenLimits.maxKeysTried`; a token that names its key has that one alone, or,
   * when no key is called so, those without a name.
   */
  async find(question: KeyQuestion): Promise<readonly CryptoKey[]> {
    const { kid, algorithm } = question;
    const wanted = kid === null || this.has(kid) ? kid : null;
    const fitting = this.#keys
      .map((key, index) => ({ ...key, index }))
      .filter((key) => (kid === null || key.kid === wanted) && fits(key.jwk, algorithm))
      .slice(0, tokenLimits.maxKeysTried);
    const imported = await Promise.all(fitting.map((key) => this.#import(key.index, key.jwk, algorithm)));
    return imported.filter((key) => key !== null);
  }

  #import(index: number, jwk: JWK, algorithm: TokenAlgorithm): Promise<CryptoKey | null> {
    const name = `${index} ${algorithm}`;
    const known = this.#imported.get(name);
    if (known !== undefined) return known;
    const imported = importKey(jwk, algorithm);
    this.#imported.set(name, imported);
    return imported;
  }
}

/** A key that cannot be read is as good as none: the rest of the set goes on. */
async function importKey(jwk: JWK, algorithm: TokenAlgorithm): Promise<CryptoKey | null> {
  try {
    const key = await importJWK(publicPart(jwk), algorithm);
    return key instanceof Uint8Array ? null : key;
  } catch {
    return null;
  }
}

/** Only what a public key consists of: `key_ops`, `ext` and what else a set says does not reach the import. */
function publicPart({ kty, n, e, crv, x, y }: JWK): JWK {
  const members = Object.entries({ kty, n, e, crv, x, y }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(members) as JWK;
}

function isUsable(jwk: unknown): jwk is JWK {
  if (!isRecord(jwk) || (jwk.kty !== "RSA" && jwk.kty !== "EC" && jwk.kty !== "OKP")) return false;
  // A private key that is published is anybody's.
  if (jwk.d !== undefined) return false;
  if (jwk.use !== undefined && jwk.use !== "sig") return false;
  if (jwk.key_ops !== undefined && !(Array.isArray(jwk.key_ops) && jwk.key_ops.includes("verify")))
    return false;
  return jwk.kty !== "RSA" || isStrongRsaKey(jwk.n, jwk.e);
}

/** RFC 7518 §3.1: which kind of key an algorithm is for; a key that names its algorithm is for that one alone (RFC 8725 §3.1). */
function fits(jwk: JWK, algorithm: TokenAlgorithm): boolean {
  if (jwk.alg !== undefined && jwk.alg !== algorithm && !(algorithm === "EdDSA" && jwk.alg === "Ed25519"))
    return false;
  switch (algorithm) {
    case "ES256":
      return jwk.kty === "EC" && jwk.crv === "P-256";
    case "ES384":
      return jwk.kty === "EC" && jwk.crv === "P-384";
    case "ES512":
      return jwk.kty === "EC" && jwk.crv === "P-521";
    case "EdDSA":
      return jwk.kty === "OKP" && jwk.crv === "Ed25519";
    default:
      return jwk.kty === "RSA";
  }
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw bad("is not JSON");
  }
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "upstream", `the key set ${message}`);
}
