/** Tokens of users and of workloads, and the key sets of their issuers. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../../src/base/errors.ts";
import type { JwtRule } from "../../../src/mesh/documents/security.ts";
import { PublishedKeys, tokenAlgorithms } from "../../../src/pki/token/jwks_keys.ts";
import { findTokens, locationsOf, removeTokens } from "../../../src/waypoint/auth/token_locations.ts";
import { payloadText, readTokenText } from "../../../src/waypoint/auth/token_text.ts";
import { bytesOf, holds, type Look, latin1, same, type Target } from "../target.ts";

function checkToken(text: string, look: Look): void {
  const token = look.turn(() => readTokenText(text));
  if (typeof token === "string") return;
  holds(
    (tokenAlgorithms as readonly string[]).includes(token.question.algorithm),
    "an algorithm with a public key",
  );
  // The claims are those that whoever reads the token's middle part without us would see.
  const seen: unknown = JSON.parse(new TextDecoder().decode(Buffer.from(payloadText(text), "base64url")));
  same({ ...token.claims }, { ...(seen as object) }, "claims, ours and those of the text");
}

async function checkKeys(text: string, look: Look): Promise<void> {
  let keys: PublishedKeys;
  try {
    keys = look.turn(() => PublishedKeys.parse(text));
  } catch (error) {
    if (error instanceof MeshError) return;
    throw error;
  }
  holds(keys.size > 0, "a set without keys is an error");
  for (const algorithm of ["RS256", "ES256", "EdDSA"] as const)
    for (const key of await keys.find({ kid: null, algorithm }))
      holds(
        key.type === "public" && key.usages.every((usage) => usage === "verify"),
        "a key that only verifies",
      );
}

const rule = (fields: Partial<JwtRule>): JwtRule =>
  ({ fromHeaders: [], fromParams: [], fromCookies: [], ...fields }) as JwtRule;
const locations = [
  ...locationsOf(rule({})),
  ...locationsOf(
    rule({
      fromHeaders: [{ name: "x-jwt", prefix: "JWT " }],
      fromParams: ["token"],
      fromCookies: ["session"],
    } as Partial<JwtRule>),
  ),
];

/** Lines of a head: what is found is taken away, and then is not found any more. */
function checkLocations(text: string, look: Look): void {
  const [path = "/", ...lines] = text.split("\n");
  const fields = lines.flatMap((line) => {
    const colon = line.indexOf(":");
    return colon === -1 ? [] : [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  const head = {
    method: "GET",
    scheme: "http" as const,
    authority: "a",
    path,
    fields,
    version: "1.1" as const,
    protocol: null,
  };
  const found = look.turn(() => findTokens(head, locations));
  if (found === null) return;
  for (const { location } of found) removeTokens(head, location);
  same(
    findTokens(
      head,
      found.map(({ location }) => location),
    ),
    [],
    "tokens after they were taken away",
  );
}

async function run(input: Uint8Array, look: Look): Promise<void> {
  const text = latin1(input.subarray(1));
  switch ((input[0] ?? 0) % 3) {
    case 0:
      checkToken(text, look);
      return;
    case 1:
      await checkKeys(text, look);
      return;
    default:
      checkLocations(text, look);
  }
}

function seeds(): readonly Uint8Array[] {
  const path = join(import.meta.dir, "..", "..", "fixtures", "wycheproof", "json_web_signature.jsonl");
  const found: string[] = [];
  const keys: string[] = [];
  for (const line of readFileSync(path, "utf8").split("\n")) {
    if (line === "") continue;
    const group: { readonly public?: object; readonly tests: readonly { readonly jws: string }[] } =
      JSON.parse(line);
    found.push(
      ...group.tests
        .slice(0, 2)
        .map(({ jws }) => jws)
        .filter((jws) => typeof jws === "string"),
    );
    if (group.public !== undefined) keys.push(JSON.stringify({ keys: [group.public] }));
  }
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  found.push(
    `${part({ alg: "ES256", kid: "a" })}.${part({ iss: "i", aud: ["a", "b"], exp: 9, nbf: 1, sub: "s" })}.AAAA`,
  );
  return [
    ...found.slice(0, 30).map((text) => Uint8Array.of(0, ...bytesOf(text))),
    ...keys.slice(0, 12).map((text) => Uint8Array.of(1, ...bytesOf(text))),
    Uint8Array.of(
      2,
      ...bytesOf(
        '/a?access_token=x&token=%41\nauthorization:Bearer abc\nx-jwt: JWT a.b.c\ncookie: session="1"; b=2',
      ),
    ),
  ].filter(({ length }) => length <= target.maxBytes);
}

export const target: Target = {
  maxBytes: 3072,
  seeds,
  dictionary: [
    "Bearer ",
    "cookie: ",
    "session=",
    "?token=",
    "&",
    "%41",
    "\n",
    '"',
    "eyJ",
    ".",
    '{"keys":[',
    '"kty":"EC"',
    '"crv":"P-256"',
    '"alg":',
  ],
  run,
};
