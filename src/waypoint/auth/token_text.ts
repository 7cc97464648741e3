/** A JSON Web Token as its text says it is (RFC 7519), before anything of it is proven. */
import { decodeJwt, decodeProtectedHeader } from "jose";
import { tokenLimits } from "../../base/limits/pki.ts";
import { isTokenAlgorithm, type KeyQuestion } from "../../pki/token/jwks_keys.ts";

export interface TokenText {
  readonly token: string;
  readonly question: KeyQuestion;
  readonly claims: Readonly<Record<string, unknown>>;
  /** "" when it names none. */
  readonly issuer: string;
  readonly audiences: readonly string[];
  /** Seconds since the Unix epoch; null for none. */
  readonly exp: number | null;
  readonly nbf: number | null;
}

const threeParts = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/;

/** @returns what is wrong, in Envoy's words where it has some. */
export function readTokenText(token: string): TokenText | string {
  const question = readTokenHeader(token);
  if (typeof question === "string") return question;
  const claims = decoded(() => decodeJwt(token));
  if (claims === null) return "Jwt payload is an invalid JSON";
  const { iss, aud, exp, nbf } = claims;
  if (iss !== undefined && typeof iss !== "string") return "Jwt payload [iss] field is not a string";
  if (!isTime(exp)) return "Jwt payload [exp] field is not an integer";
  if (!isTime(nbf)) return "Jwt payload [nbf] field is not an integer";
  const audiences = Array.isArray(aud) ? aud : aud === undefined ? [] : [aud];
  if (!audiences.every((one) => typeof one === "string"))
    return "Jwt payload [aud] field is not a string or a list";
  return { token, question, claims, issuer: iss ?? "", audiences, exp: exp ?? null, nbf: nbf ?? null };
}

/** The form of the token, and what it says of its key. */
export function readTokenHeader(token: string): KeyQuestion | string {
  if (token.length > tokenLimits.maxTokenChars)
    return `Jwt is longer than ${tokenLimits.maxTokenChars} characters`;
  if (!threeParts.test(token))
    return "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
  const header = decoded(() => decodeProtectedHeader(token));
  if (header === null) return "Jwt header is an invalid JSON";
  const { alg, kid } = header;
  if (typeof alg !== "string") return "Jwt header [alg] field is required and must be a string";
  // `none`, and HMAC with a public key as its secret, end here, before any key is looked for (RFC 8725 §3.1).
  if (!isTokenAlgorithm(alg)) return "Jwt header [alg] is not supported";
  // We know no extension, so none may be critical (RFC 7515 §4.1.11).
  if (header.crit !== undefined) return "Jwt header [crit] names an extension that is not supported";
  if (kid !== undefined && (typeof kid !== "string" || kid.length > tokenLimits.maxKeyIdChars))
    return "Jwt header [kid] field is not a string";
  return { kid: kid ?? null, algorithm: alg };
}

function decoded(decode: () => object): Record<string, unknown> | null {
  try {
    return { ...decode() };
  } catch {
    return null;
  }
}

function isTime(value: unknown): value is number | undefined {
  return value === undefined || (typeof value === "number" && Number.isFinite(value) && value >= 0);
}

/** The part of the token that holds its claims, as it is: base64url. */
export function payloadText(token: string): string {
  return token.slice(token.indexOf(".") + 1, token.lastIndexOf("."));
}
