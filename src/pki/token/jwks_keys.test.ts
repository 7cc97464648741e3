/** Which keys of a set are taken, and which of those are asked about a token. */
import { describe, expect, test } from "bun:test";
import type { JWK } from "jose";
import { MeshError } from "../../base/errors.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import { keySet, testKey } from "../testing/token_issuer.ts";
import { PublishedKeys, type TokenAlgorithm } from "./jwks_keys.ts";

async function found(set: string, algorithm: TokenAlgorithm, kid: string | null = null): Promise<number> {
  return (await PublishedKeys.parse(set).find({ kid, algorithm })).length;
}

/** Of a kind, without a name unless one is given. */
async function jwk(algorithm: string, more: Readonly<Record<string, unknown>> = {}): Promise<JWK> {
  const { kid: _, ...unnamed } = (await testKey("k", algorithm)).jwk;
  return { ...unnamed, ...more } as JWK;
}

describe("a set of keys", () => {
  test("is an object with a list of keys, and nothing else is one", () => {
    for (const text of ["[]", "{}", "null", '"keys"', '{"keys":{}}', '{"keys":"k"}']) {
      const read = (): unknown => PublishedKeys.parse(text);
      expect(read).toThrow(MeshError);
      expect(read).toThrow("is no JSON Web Key Set");
    }
  });

  test("holds as many keys as the limit says, and no more", async () => {
    const key = await jwk("ES256");
    const of = (count: number): string => keySet(...new Array<JWK>(count).fill(key));
    expect(PublishedKeys.parse(of(tokenLimits.maxKeys)).size).toBe(tokenLimits.maxKeys);
    expect(() => PublishedKeys.parse(of(tokenLimits.maxKeys + 1))).toThrow(`${tokenLimits.maxKeys + 1} keys`);
  });

  test("has a key for what it is published for alone", async () => {
    for (const [operations, isTaken] of [
      [["verify"], true],
      [["wrapKey", "verify"], true],
      [["sign"], false],
      [[], false],
      ["verify", false],
    ] as const) {
      const set = keySet(
        await jwk("ES256", { key_ops: operations, kid: "a" }),
        await jwk("ES256", { kid: "b" }),
      );
      expect([operations, PublishedKeys.parse(set).has("a")]).toEqual([operations, isTaken]);
    }
  });
});

describe("the keys of a token", () => {
  test("are those without a name where none has the name it says", async () => {
    const set = keySet(await jwk("ES256"), await jwk("ES256", { kid: "named" }), await jwk("ES256"));
    expect(await found(set, "ES256", "gone")).toBe(2);
    expect(await found(set, "ES256", "named")).toBe(1);
    expect(await found(set, "ES256")).toBe(3);
  });

  test("are imported once", async () => {
    const keys = PublishedKeys.parse(keySet(await jwk("ES256")));
    const question = { kid: null, algorithm: "ES256" } as const;
    const [first] = await keys.find(question);
    const [second] = await keys.find(question);
    expect(first).toBeDefined();
    expect(second).toBe(first as CryptoKey);
  });

  test("are of the algorithm's kind and curve: others do not take the places of those that are tried", async () => {
    const kinds = { ES256: "P-256", ES384: "P-384", ES512: "P-521", EdDSA: "Ed25519" } as const;
    for (const algorithm of Object.keys(kinds) as (keyof typeof kinds)[]) {
      const key = await jwk(algorithm);
      for (const other of Object.keys(kinds) as (keyof typeof kinds)[]) {
        if (other === algorithm) continue;
        const strangers = new Array<JWK>(tokenLimits.maxKeysTried).fill(await jwk(other));
        // A key that says one thing and another is of neither kind.
        const mixed = new Array<JWK>(tokenLimits.maxKeysTried).fill({
          ...(await jwk(other)),
          crv: kinds[algorithm],
        });
        const isOtherKind = (other === "EdDSA") !== (algorithm === "EdDSA");
        const all = [...strangers, ...(isOtherKind ? mixed : []), key];
        expect([algorithm, other, await found(keySet(...all), algorithm)]).toEqual([algorithm, other, 1]);
      }
    }
  });

  test("are for the algorithm they name, by either of the names that Ed25519 has", async () => {
    for (const [named, isTaken] of [
      ["EdDSA", 1],
      ["Ed25519", 1],
      ["ES256", 0],
    ] as const)
      expect([named, await found(keySet(await jwk("EdDSA", { alg: named })), "EdDSA")]).toEqual([
        named,
        isTaken,
      ]);
    expect(await found(keySet(await jwk("ES256", { alg: "Ed25519" })), "ES256")).toBe(0);
    expect(await found(keySet(await jwk("ES256", { alg: "ES256" })), "ES256")).toBe(1);
    expect(await found(keySet(await jwk("RS256", { alg: "RS256" })), "PS256")).toBe(0);
  });
});
