/** What is read of a token's claims, each at its bound, and what is passed on of them. */
import { beforeAll, describe, expect, test } from "bun:test";
import { tokenLimits } from "../../base/limits/pki.ts";
import { silentLogger } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import { FakeHttp, keySet, signToken, type TestKey, testKey } from "../testing/token_issuer.ts";
import { type JwtIssuerSettings, parseJwtIssuer } from "./token_issuer.ts";
import { TokenVerifier } from "./token_verifier.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const seconds = nowMs / 1000;
const issuer = "https://issuer.example";

let key: TestKey;
let other: TestKey;

beforeAll(async () => {
  key = await testKey("one");
  other = await testKey("two");
});

function verifierOf(
  settings: readonly Partial<JwtIssuerSettings>[],
  clock = new FakeClock(nowMs),
): TokenVerifier {
  return new TokenVerifier({
    rootNamespace: "istio-system",
    clock,
    http: new FakeHttp(),
    files: new MemoryFiles(),
    logger: silentLogger,
    trustDomain: "cluster.local",
    issuers: settings.map((one) => parseJwtIssuer({ issuer, jwks: keySet(key, other), ...one })),
  });
}

async function reasonOf(verifier: TokenVerifier, token: string): Promise<string> {
  const result = await verifier.verify(token);
  return result.kind === "refused" ? result.reason : result.kind;
}

describe("a token", () => {
  test("is as long as the limit says, and not longer", async () => {
    const verifier = verifierOf([{}]);
    expect(await reasonOf(verifier, "x".repeat(tokenLimits.maxTokenChars))).toBe("malformed");
    expect(await reasonOf(verifier, "x".repeat(tokenLimits.maxTokenChars + 1))).toBe("too_long");
  });

  test("has three parts without a gap: what a decoder would pass over is no part of it", async () => {
    const verifier = verifierOf([{}]);
    const token = await signToken(key, nowMs);
    expect(await reasonOf(verifier, token)).toBe("workload");
    for (const gap of [" ", "\n", "\t"])
      for (const at of [token.length, token.length - 9])
        expect(await reasonOf(verifier, token.slice(0, at) + gap + token.slice(at))).toBe("malformed");
  });

  test("may be issued so far ahead as the clocks may be apart", async () => {
    const verifier = verifierOf([{ clockSkewMs: 30_000 }]);
    expect(await reasonOf(verifier, await signToken(key, nowMs, { iat: seconds + 30 }))).toBe("workload");
    expect(await reasonOf(verifier, await signToken(key, nowMs, { iat: seconds + 31 }))).toBe(
      "not_yet_valid",
    );
  });

  test("that names no key and has expired is told so, whichever keys there are besides", async () => {
    const token = await signToken(key, nowMs, { exp: seconds - 3600 }, { kid: undefined });
    expect(await reasonOf(verifierOf([{}]), token)).toBe("expired");
  });

  test("is of a workload by its own name, and until its own end", async () => {
    const verifier = verifierOf([{ clockSkewMs: 7_000 }]);
    for (const [jti, tokenId] of [
      ["t-1", "t-1"],
      [undefined, null],
      [17, null],
    ] as const)
      expect(
        await verifier.verify(await signToken(key, nowMs, { jti: jti as string, exp: seconds + 90 })),
      ).toEqual({
        kind: "workload",
        id: new SpiffeId("cluster.local", "shop", "cart"),
        issuer,
        tokenId,
        expiresAtMs: nowMs + 97_000,
      });
  });

  test("of an operator has a subject that is a text", async () => {
    const verifier = verifierOf([{ subject: "operator" }]);
    for (const [sub, found] of [
      ["ada", "operator"],
      ["", "subject"],
      [undefined, "subject"],
    ] as const)
      expect([sub, await reasonOf(verifier, await signToken(key, nowMs, { sub: sub as string }))]).toEqual([
        sub,
        found,
      ]);
  });

  test("is refused for nothing that is a bug of ours", async () => {
    const clock = new FakeClock(nowMs);
    const bug = new RangeError("a bug");
    clock.wallMs = () => {
      throw bug;
    };
    expect(await rejectionOf(verifierOf([{}], clock).verify(await signToken(key, nowMs)))).toBe(bug);
  });
});

describe("an identity that a token was believed for", () => {
  const cart = new SpiffeId("cluster.local", "shop", "cart");
  const teller = new SpiffeId("cluster.local", "bank", "teller");

  test("may be claimed as long as its issuer is there, speaks of workloads, and is bound to it", () => {
    const may = (settings: Partial<JwtIssuerSettings>, id: SpiffeId, of = issuer) =>
      verifierOf([settings]).mayClaim(of, id);
    expect(may({ namespaces: ["shop"] }, cart)).toBe(true);
    expect(may({ namespaces: ["shop"] }, teller)).toBe(false);
    expect(may({ namespaces: ["shop"] }, cart, "https://other.example")).toBe(false);
    expect(may({ subject: "operator" }, cart)).toBe(false);
    expect(may({}, cart)).toBe(true);
    expect(verifierOf([]).mayClaim(issuer, cart)).toBe(false);
  });
});

describe("settings of an issuer", () => {
  const parse = (settings: Partial<JwtIssuerSettings>) =>
    parseJwtIssuer({ issuer, jwksFile: "/keys", ...settings });

  test("have a name, an algorithm, and a skew within its bounds", () => {
    expect(() => parse({ issuer: "" })).toThrow("has no name");
    expect(() => parse({ algorithms: [] })).toThrow("allows no algorithm");
    for (const clockSkewMs of [0, tokenLimits.maxClockSkewMs])
      expect(parse({ clockSkewMs }).clockSkewMs).toBe(clockSkewMs);
    for (const clockSkewMs of [-1, tokenLimits.maxClockSkewMs + 1, Number.NaN])
      expect(() => parse({ clockSkewMs })).toThrow("the clock skew must lie between 0 and");
  });

  test("say who a bearer is in one of three ways", () => {
    expect(parse({}).subject.kind).toBe("service_account");
    expect(parse({ subject: "operator" }).subject.kind).toBe("operator");
    expect(parse({ subject: "ns/{a}/sa/{b}" }).subject.kind).toBe("template");
  });
});
