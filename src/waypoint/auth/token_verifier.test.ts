import { expect, test } from "bun:test";
import { importJWK } from "jose";
import { authLimits } from "../../base/limits/auth.ts";
import type { JwtRule } from "../../mesh/documents/security.ts";
import { signToken, testKey } from "../../pki/testing/token_issuer.ts";
import type { IssuerKeys } from "./issuer_keys.ts";
import { readTokenText } from "./token_text.ts";
import { RuleVerifier, TokenRoom } from "./token_verifier.ts";

const nowMs = Date.parse("2026-07-15T12:00:00Z");

async function bench() {
  const key = await testKey("one");
  const publicKey = (await importJWK(key.jwk, key.algorithm)) as CryptoKey;
  const keys = { generation: 1, find: async () => [publicKey] } as unknown as IssuerKeys;
  const rule = { issuer: "https://issuer.example", audiences: [], spaceDelimitedClaims: [] };
  const room = new TokenRoom();
  const clock = { now: () => 0, wallMs: () => nowMs };
  const verifier = new RuleVerifier(rule as unknown as JwtRule, keys, clock, room);
  return {
    room,
    verifier,
    /** A token that holds, and is remembered as far as there is room. */
    shown: async (subject: string): Promise<string> => {
      const token = await signToken(key, nowMs, { sub: subject });
      const text = readTokenText(token);
      if (typeof text === "string") throw new Error(text);
      expect(await verifier.verify(text)).toMatchObject({ user: { subject } });
      return token;
    },
  };
}

test("so many tokens are remembered, and for one more the oldest of its issuer is forgotten", async () => {
  const { room, verifier, shown } = await bench();
  // Of other issuers.
  room.tokens = authLimits.maxVerifiedTokens - 2;
  const tokens = [await shown("a"), await shown("b")];
  expect(room.tokens).toBe(authLimits.maxVerifiedTokens);
  expect(tokens.map((token) => verifier.known(token) !== null)).toEqual([true, true]);
  tokens.push(await shown("c"));
  expect(tokens.map((token) => verifier.known(token) !== null)).toEqual([false, true, true]);
  expect(room.tokens).toBe(authLimits.maxVerifiedTokens);
});

test("so many characters of them, and for one more the oldest goes", async () => {
  const { room, verifier, shown } = await bench();
  const first = await shown("a");
  room.chars = authLimits.maxVerifiedTokenChars - first.length;
  const second = await shown("b");
  expect([first, second].map((token) => verifier.known(token) !== null)).toEqual([true, true]);
  expect([first.length, room.chars]).toEqual([second.length, authLimits.maxVerifiedTokenChars]);
  room.chars++;
  const third = await shown("c");
  expect([first, second, third].map((token) => verifier.known(token) !== null)).toEqual([false, false, true]);
});
