/** Wycheproof's vectors of JSON Web Signature and JSON Web Key, RFC 7520's among them, by the path that verifies the tokens of end users. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../src/base/errors.ts";
import { PublishedKeys } from "../../src/pki/token/jwks_keys.ts";
import { readTokenHeader } from "../../src/waypoint/auth/token_text.ts";
import { isSignedBy } from "../../src/waypoint/auth/token_verifier.ts";

interface Key {
  readonly kty: string;
  readonly alg?: string;
}

export interface JoseGroup {
  readonly name: string;
  readonly keys: readonly Key[];
  readonly tests: readonly {
    readonly id: number;
    readonly comment: string;
    readonly jws: string;
    readonly result: "valid" | "invalid" | "acceptable";
  }[];
}

/** As many as Wycheproof counts: signatures and keys. */
export const joseCases = 401 + 26;

function groupsOf<Line extends { readonly comment: string; readonly tests: JoseGroup["tests"] }>(
  what: string,
  keys: (line: Line) => readonly Key[],
): readonly JoseGroup[] {
  const file = join(import.meta.dir, `../fixtures/wycheproof/json_web_${what}.jsonl`);
  const lines = readFileSync(file, "utf8").trim().split("\n");
  return lines.map((text, index) => {
    const line = JSON.parse(text) as Line;
    return { name: `${what} ${index + 1} ${line.comment}`, keys: keys(line), tests: line.tests };
  });
}

export function joseGroups(): readonly JoseGroup[] {
  type Line = { readonly comment: string; readonly tests: JoseGroup["tests"] };
  return [
    ...groupsOf<Line & { readonly key: Key }>("signature", ({ key }) => [key]),
    ...groupsOf<Line & { readonly keys: readonly Key[] }>("key", ({ keys }) => keys),
  ];
}

/** Why we refuse what Wycheproof takes; null where we are of one mind. */
export function strictness({ keys }: JoseGroup): string | null {
  if (keys.some(({ kty }) => kty === "oct"))
    return "HMAC is never taken: with it an issuer's published key would be the secret";
  if (keys.some(({ alg }) => alg === "ES521"))
    return "the key is for an algorithm ES521, which there is not (RFC 7518 §3.4 has ES512)";
  return null;
}

/** The same of single cases. */
const stricter: Readonly<Record<string, string>> = {
  emptyPayload: "a token without claims is none (RFC 7519 §7.2)",
  Figure20: "the signature is PS384, and its key says that it is for PS256 alone (RFC 8725 §3.1)",
};

/** @returns each case of the group that ends otherwise than it should. */
export async function joseFaults(group: JoseGroup): Promise<readonly string[]> {
  const faults: string[] = [];
  for (const { id, comment, jws, result } of group.tests) {
    const taken = await isTaken(jws, group.keys);
    const wanted = strictness(group) === null && stricter[comment] === undefined && result === "valid";
    if (taken !== wanted && result !== "acceptable")
      faults.push(`${id} ${comment}: ${taken ? "taken" : "refused"}`);
  }
  return faults;
}

/** As a token of an end user goes: its form, its header, the keys of the set that may have made it, the signature. */
async function isTaken(jws: string, published: readonly Key[]): Promise<boolean> {
  const question = readTokenHeader(jws);
  if (typeof question === "string") return false;
  try {
    const keys = await PublishedKeys.parse(JSON.stringify({ keys: published })).find(question);
    for (const one of keys) if (await isSignedBy({ token: jws, question }, one)) return true;
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
  }
  return false;
}
