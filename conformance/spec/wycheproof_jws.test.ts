import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../src/base/errors.ts";
import { PublishedKeys } from "../../src/pki/token/jwks_keys.ts";
import { readTokenHeader } from "../../src/waypoint/auth/token_text.ts";
import { isSignedBy } from "../../src/waypoint/auth/token_verifier.ts";

interface Group {
  readonly comment: string;
  readonly key: { readonly kty: string; readonly alg?: string };
  readonly tests: readonly {
    readonly id: number;
    readonly comment: string;
    readonly jws: string;
    readonly result: "valid" | "invalid" | "acceptable";
  }[];
}

const file = join(import.meta.dir, "../fixtures/wycheproof/json_web_signature.jsonl");
const groups: readonly Group[] = readFileSync(file, "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as Group);

/** Why we refuse what Wycheproof takes; null where we are of one mind. */
function strictness({ key }: Group): string | null {
  if (key.kty === "oct") return "HMAC is never taken: with it an issuer's published key would be the secret";
  if (key.alg === "ES521")
    return "the key is for an algorithm ES521, which there is not (RFC 7518 §3.4 has ES512)";
  return null;
}

/** The same of single cases. */
const stricter: Readonly<Record<string, string>> = {
  emptyPayload: "a token without claims is none (RFC 7519 §7.2)",
  Figure20: "the signature is PS384, and its key says that it is for PS256 alone (RFC 8725 §3.1)",
};

/** As a token of an end user goes: its form, its header, the keys of the set that may have made it, the signature. */
async function isTaken(jws: string, key: Group["key"]): Promise<boolean> {
  const question = readTokenHeader(jws);
  if (typeof question === "string") return false;
  try {
    const keys = await PublishedKeys.parse(JSON.stringify({ keys: [key] })).find(question);
    for (const one of keys) if (await isSignedBy({ token: jws, question }, one)) return true;
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
  }
  return false;
}

describe("Wycheproof's vectors of JSON Web Signature, RFC 7520's among them", () => {
  test("there are as many as Wycheproof counts", () => {
    expect(groups.reduce((sum, { tests }) => sum + tests.length, 0)).toBe(401);
  });

  for (const [index, group] of groups.entries()) {
    const why = strictness(group);
    test(`${index + 1} ${group.comment}${why === null ? "" : `: ${why}`}`, async () => {
      const wrong: string[] = [];
      for (const { id, comment, jws, result } of group.tests) {
        const taken = await isTaken(jws, group.key);
        const wanted = why === null && stricter[comment] === undefined && result === "valid";
        if (taken !== wanted && result !== "acceptable")
          wrong.push(`${id} ${comment}: ${taken ? "taken" : "refused"}`);
      }
      expect(wrong).toEqual([]);
    });
  }
});
