/**
 * Tokens of one rule of a RequestAuthentication, verified, and remembered by their text: on the hot path a token costs a look-up. What is
 * remembered is verified again when its issuer's keys change and after a while, and never outlives the token.
 */
import { compactVerify, errors } from "jose";
import { MeshError } from "../../base/errors.ts";
import { authLimits } from "../../base/limits/auth.ts";
import type { JwtRule } from "../../mesh/documents/security.ts";
import type { EndUser } from "../exchange.ts";
import type { IssuerKeys } from "./issuer_keys.ts";
import { readTokenText, type TokenText } from "./token_text.ts";

/** Why a token does not hold, for the client; Envoy's words where it has some (`jwt_verify_lib` `getStatusString`). */
export interface TokenFault {
  readonly status: 401 | 403 | 503;
  readonly message: string;
  /** For the operator. */
  readonly detail: string;
}

export interface VerifiedToken {
  readonly rule: JwtRule;
  readonly token: string;
  readonly user: EndUser;
  /** Milliseconds since the Unix epoch until which it is believed: its end, and the skew of clocks. Infinity without an end. */
  readonly believedUntilMs: number;
}

interface Remembered extends VerifiedToken {
  /** Monotonic. */
  readonly atMs: number;
  readonly generation: number;
}

/** What all verifiers together remember. */
export class TokenRoom {
  tokens = 0;
  chars = 0;

  get isFull(): boolean {
    return this.tokens > authLimits.maxVerifiedTokens || this.chars > authLimits.maxVerifiedTokenChars;
  }
}

export interface VerifierClock {
  now(): number;
  wallMs(): number;
}

export class RuleVerifier {
  readonly rule: JwtRule;
  readonly #keys: IssuerKeys;
  readonly #clock: VerifierClock;
  readonly #room: TokenRoom;
  readonly #audiences: ReadonlySet<string>;
  readonly #remembered = new Map<string, Remembered>();
  /** Of open requests, whose tokens are being verified again, or do not hold any more. */
  readonly #again = new WeakMap<VerifiedToken, "waiting" | "withdrawn">();

  constructor(rule: JwtRule, keys: IssuerKeys, clock: VerifierClock, room: TokenRoom) {
    this.rule = rule;
    this.#keys = keys;
    this.#clock = clock;
    this.#room = room;
    this.#audiences = new Set(rule.audiences.map(plainAudience));
  }

  /** Null: it was not verified, or not lately enough. */
  known(token: string): VerifiedToken | null {
    const found = this.#remembered.get(token);
    if (found === undefined) return null;
    const isFresh =
      found.generation === this.#keys.generation &&
      this.#clock.now() - found.atMs < authLimits.verifiedTokenMs &&
      this.#clock.wallMs() <= found.believedUntilMs;
    if (isFresh) return found;
    this.#forget(token, found);
    return null;
  }

  /**
   * Whether a token that was accepted still is. What is not known by now is verified again: the answer of then is given to whoever asks
   * next, a moment later, and until then the one of before stands.
   */
  stillHolds(accepted: VerifiedToken): boolean {
    if (this.known(accepted.token) !== null) return true;
    const state = this.#again.get(accepted);
    if (state !== undefined) return state === "waiting";
    this.#again.set(accepted, "waiting");
    void this.#verifyAgain(accepted);
    return true;
  }

  async #verifyAgain(accepted: VerifiedToken): Promise<void> {
    const text = readTokenText(accepted.token);
    const result = typeof text === "string" ? null : await this.verify(text);
    if (result !== null && "user" in result) this.#again.delete(accepted);
    else this.#again.set(accepted, "withdrawn");
  }

  /** In Envoy's order: times, audience, then the signature. The issuer is the rule's. */
  async verify(text: TokenText): Promise<VerifiedToken | TokenFault> {
    const fault = this.#judgeClaims(text);
    if (fault !== null) return fault;
    const { generation } = this.#keys;
    let keys: readonly CryptoKey[];
    try {
      keys = await this.#keys.find(text.question);
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      // We do not know whether it holds. The client's token may be good, so it is not told to get another.
      return { status: 503, message: "Jwks remote fetch is failed", detail: error.message };
    }
    if (keys.length === 0)
      return unauthorized("Jwks doesn't have key to match kid or alg from Jwt", "its issuer has no such key");
    for (const key of keys) {
      if (!(await isSignedBy(text, key))) continue;
      return this.#remember(text, generation);
    }
    return unauthorized("Jwt verification fails", "its signature does not hold");
  }

  /** Everything that is remembered goes: the rule is gone. */
  clear(): void {
    for (const [token, found] of this.#remembered) this.#forget(token, found);
  }

  #judgeClaims({ exp, nbf, audiences }: TokenText): TokenFault | null {
    const nowMs = this.#clock.wallMs();
    if (nbf !== null && nowMs + authLimits.clockSkewMs < nbf * 1000)
      return unauthorized("Jwt not yet valid", "it is not valid yet");
    if (exp !== null && nowMs > exp * 1000 + authLimits.clockSkewMs)
      return unauthorized("Jwt is expired", "it has expired");
    if (this.#audiences.size === 0 || audiences.some((one) => this.#audiences.has(plainAudience(one))))
      return null;
    return { status: 403, message: "Audiences in Jwt are not allowed", detail: "it is for another audience" };
  }

  #remember(text: TokenText, generation: number): VerifiedToken {
    const { token, exp, issuer, audiences } = text;
    const claims = withLists(text.claims, this.rule.spaceDelimitedClaims);
    const remembered: Remembered = {
      rule: this.rule,
      token,
      user: {
        issuer,
        subject: typeof claims.sub === "string" ? claims.sub : "",
        audiences,
        claims,
        expiresAtMs: exp === null ? null : exp * 1000,
      },
      believedUntilMs: exp === null ? Number.POSITIVE_INFINITY : exp * 1000 + authLimits.clockSkewMs,
      atMs: this.#clock.now(),
      generation,
    };
    const before = this.#remembered.get(token);
    if (before !== undefined) this.#forget(token, before);
    this.#remembered.set(token, remembered);
    this.#room.tokens++;
    this.#room.chars += token.length;
    // The oldest of this issuer go first: one that mints tokens without end costs itself.
    for (const [oldest, found] of this.#remembered) {
      if (!this.#room.isFull) break;
      this.#forget(oldest, found);
    }
    return remembered;
  }

  #forget(token: string, found: Remembered): void {
    if (this.#remembered.get(token) !== found) return;
    this.#remembered.delete(token);
    this.#room.tokens--;
    this.#room.chars -= token.length;
  }
}

function unauthorized(message: string, detail: string): TokenFault {
  return { status: 401, message, detail };
}

/** Whether the key has made the token's signature (RFC 7515 §5.2). */
export async function isSignedBy(
  { token, question }: Pick<TokenText, "token" | "question">,
  key: CryptoKey,
): Promise<boolean> {
  try {
    await compactVerify(token, key, { algorithms: [question.algorithm] });
    return true;
  } catch (error) {
    // A key of another size or kind than its algorithm wants cannot have made it.
    if (error instanceof errors.JOSEError || error instanceof TypeError || error instanceof DOMException)
      return false;
    throw error;
  }
}

/** As Envoy compares audiences: without a scheme, nor a slash at the end (`jwt_verify_lib` `check_audience.cc`). */
function plainAudience(audience: string): string {
  const withoutScheme = audience.replace(/^https?:\/\//, "");
  return withoutScheme.endsWith("/") ? withoutScheme.slice(0, -1) : withoutScheme;
}

function withLists(
  claims: Readonly<Record<string, unknown>>,
  names: readonly string[],
): Readonly<Record<string, unknown>> {
  const changed = names.filter((name) => Object.hasOwn(claims, name) && typeof claims[name] === "string");
  if (changed.length === 0) return claims;
  const lists = changed.map(
    (name) =>
      [
        name,
        String(claims[name])
          .split(" ")
          .filter((word) => word !== ""),
      ] as const,
  );
  return { ...claims, ...Object.fromEntries(lists) };
}
