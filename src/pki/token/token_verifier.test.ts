import { beforeAll, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import { silentLogger } from "../../base/log.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import { base64url, FakeHttp, keySet, signToken, type TestKey, testKey } from "../testing/token_issuer.ts";
import { type JwtIssuerSettings, parseJwtIssuer } from "./token_issuer.ts";
import { TokenVerifier } from "./token_verifier.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const seconds = nowMs / 1000;
const issuer = "https://issuer.example";
const jwksUri = `${issuer}/keys`;

let key: TestKey;
let rsa: TestKey;
let other: TestKey;

beforeAll(async () => {
  key = await testKey("one");
  rsa = await testKey("rsa", "RS256");
  other = await testKey("two");
});

interface Bench {
  readonly clock: FakeClock;
  readonly http: FakeHttp;
  readonly files: MemoryFiles;
  readonly verifier: TokenVerifier;
}

function bench(...settings: readonly Partial<JwtIssuerSettings>[]): Bench {
  const clock = new FakeClock(nowMs);
  const http = new FakeHttp();
  const files = new MemoryFiles();
  const issuers = settings.map((one) => parseJwtIssuer({ issuer, ...one }));
  const verifier = new TokenVerifier({
    rootNamespace: "istio-system",
    clock,
    http,
    files,
    logger: silentLogger,
    trustDomain: "cluster.local",
    issuers,
  });
  return { clock, http, files, verifier };
}

/** The identity, the operator's subject, or why not. */
async function outcome({ verifier }: Bench, token: string): Promise<string> {
  const result = await verifier.verify(token);
  if (result.kind === "refused") return result.reason;
  return result.kind === "workload" ? result.id.uri : `operator ${result.subject}`;
}

const cart = "spiffe://cluster.local/ns/shop/sa/cart";

describe("an issuer that is bound", () => {
  const of = (subject: string) => signToken(key, nowMs, { sub: `system:serviceaccount:${subject}` });

  test("is believed for its namespaces and service accounts, and for no others", async () => {
    const b = bench({ jwks: keySet(key), namespaces: ["shop"], serviceAccounts: ["bank/teller"] });
    expect(await outcome(b, await of("shop:cart"))).toBe(cart);
    expect(await outcome(b, await of("bank:teller"))).toBe("spiffe://cluster.local/ns/bank/sa/teller");
    expect(await outcome(b, await of("bank:vault"))).toBe("binding");
    expect(await outcome(b, await of("istio-system:gateway"))).toBe("binding");
  });

  test("without a list of namespaces is not believed for the root namespace; with one that names it, it is", async () => {
    const b = bench({ jwks: keySet(key) });
    expect(await outcome(b, await of("shop:cart"))).toBe(cart);
    expect(await outcome(b, await of("istio-system:gateway"))).toBe("binding");
    const named = bench({ jwks: keySet(key), namespaces: ["istio-system"] });
    expect(await outcome(named, await of("istio-system:gateway"))).toContain("ns/istio-system/sa/gateway");
  });

  test("not at all is said in the log: of an issuer of service accounts, and each time it is set", () => {
    const lines: string[] = [];
    const parsed = (settings: Partial<JwtIssuerSettings>) =>
      parseJwtIssuer({ issuer, jwks: keySet(key), ...settings });
    const clock = new FakeClock(nowMs);
    const verifier = new TokenVerifier({
      rootNamespace: "istio-system",
      clock,
      http: new FakeHttp(),
      files: new MemoryFiles(),
      logger: {
        log: (level, _target, message, fields) => void lines.push(`${level} ${message} ${fields?.issuer}`),
      },
      trustDomain: "cluster.local",
      issuers: [
        parsed({ subject: "operator" }),
        parsed({ namespaces: ["shop"] }),
        parsed({ subject: "ns/{a}/sa/{b}" }),
      ],
    });
    expect(lines).toEqual([]);
    verifier.setIssuers([parsed({})]);
    expect(lines).toEqual([
      `warn an issuer is believed for every namespace but the root namespace; namespaces or serviceAccounts bind it ${issuer}`,
    ]);
  });

  test("wrongly is an error", () => {
    for (const settings of [
      { namespaces: [] },
      { namespaces: ["*"] },
      { serviceAccounts: ["teller"] },
      { namespaces: ["shop"], subject: "operator" },
    ])
      expect(() => parseJwtIssuer({ issuer, jwks: keySet(key), ...settings })).toThrow("token issuer");
  });

  test("and others are replaced while they are in use; keys of one that stays are not fetched again", async () => {
    const b = bench({ jwksFile: "/keys.json" });
    await b.files.writeAtomic("/keys.json", new TextEncoder().encode(keySet(key)), 0o600);
    const token = await of("shop:cart");
    expect(await outcome(b, token)).toBe(cart);
    await b.files.remove("/keys.json");
    const set = (...settings: readonly Partial<JwtIssuerSettings>[]) =>
      b.verifier.setIssuers(settings.map((one) => parseJwtIssuer({ issuer, ...one })));
    set({ jwksFile: "/keys.json", namespaces: ["bank"] });
    expect(await outcome(b, token)).toBe("binding");
    set({ jwksFile: "/keys.json", namespaces: ["shop"] });
    expect(await outcome(b, token)).toBe(cart);
    set({ jwksFile: "/other.json", namespaces: ["shop"] });
    expect(await outcome(b, token)).toBe("keys_unavailable");
    set();
    expect(await outcome(b, token)).toBe("issuer");
  });
});

describe("a token that holds", () => {
  test("names its workload as Kubernetes and istiod do, for every algorithm that is accepted", async () => {
    for (const algorithm of ["RS256", "RS384", "PS256", "PS512", "ES256", "ES384", "EdDSA"]) {
      const one = await testKey("k", algorithm);
      const b = bench({ jwks: keySet(one) });
      expect(`${algorithm} ${await outcome(b, await signToken(one, nowMs))}`).toBe(`${algorithm} ${cart}`);
    }
  });

  test("may have one audience as text, or several", async () => {
    const b = bench({ jwks: keySet(key), audiences: ["istio-ca", "fairlead"] });
    expect(await outcome(b, await signToken(key, nowMs, { aud: "fairlead" }))).toBe(cart);
    expect(await outcome(b, await signToken(key, nowMs, { aud: ["x", "istio-ca"] }))).toBe(cart);
  });

  test("needs no kid when a key of the set fits", async () => {
    const b = bench({ jwks: keySet(other, rsa, key) });
    expect(await outcome(b, await signToken(key, nowMs, {}, { kid: undefined }))).toBe(cart);
  });

  test("is read by the entry of its audience when one issuer stands twice", async () => {
    const b = bench({ jwks: keySet(key) }, { jwks: keySet(key), audiences: ["admin"], subject: "operator" });
    expect(await outcome(b, await signToken(key, nowMs))).toBe(cart);
    expect(await outcome(b, await signToken(key, nowMs, { aud: "admin", sub: "ada" }))).toBe("operator ada");
  });

  test("fills a template with whole claims alone", async () => {
    const b = bench({ jwks: keySet(key), subject: "ns/{org.team}/sa/{sub}" });
    const claims = (org: unknown, sub: string) => ({ org, sub }) as Record<string, unknown>;
    expect(await outcome(b, await signToken(key, nowMs, claims({ team: "shop" }, "cart")))).toBe(cart);
    for (const [org, sub] of [
      [{ team: "shop/sa/admin" }, "cart"],
      [{ team: ".." }, "cart"],
      [{ team: ["shop"] }, "cart"],
      [{ team: "shop" }, ""],
      [{ team: "shop" }, "c%61rt"],
      ["shop", "cart"],
      [{ team: "fairlead-nodes" }, "edge-1"],
    ] as const)
      expect(await outcome(b, await signToken(key, nowMs, claims(org, sub)))).toBe("subject");
  });
});

describe("a token that does not hold", () => {
  const good = (claims = {}, header = {}) => signToken(key, nowMs, claims, header);
  /** Name, how it is made, and what the audit log calls it. */
  const bad: readonly (readonly [name: string, make: () => Promise<string>, reason: string])[] = [
    ["expired", () => good({ exp: seconds - 61 }), "expired"],
    ["expired just beyond the skew", () => good({ exp: seconds - 60 }), "expired"],
    ["without an end", () => good({ exp: undefined }), "claim"],
    ["with an end that is text", () => good({ exp: "tomorrow" as unknown as number }), "claim"],
    ["not valid yet", () => good({ nbf: seconds + 61 }), "not_yet_valid"],
    ["issued in the future", () => good({ iat: seconds + 3600, exp: seconds + 7200 }), "not_yet_valid"],
    ["for another audience", () => good({ aud: ["somebody-else"] }), "audience"],
    ["for no audience", () => good({ aud: undefined }), "audience"],
    ["whose audience only begins like ours", () => good({ aud: "istio-ca-2" }), "audience"],
    ["of another issuer", () => good({ iss: "https://issuer.example/" }), "issuer"],
    ["without an issuer", () => good({ iss: undefined }), "issuer"],
    ["of an unknown key", () => good({}, { kid: "three" }), "key_unknown"],
    [
      "signed by another key under a known name",
      () => signToken({ ...other, kid: "one" }, nowMs),
      "signature",
    ],
    ["cut short", async () => (await good()).slice(0, -10), "signature"],
    [
      "cut short before its signature",
      async () => (await good()).split(".").slice(0, 2).join("."),
      "malformed",
    ],
    [
      "with its signature taken away",
      async () => `${(await good()).split(".").slice(0, 2).join(".")}.`,
      "signature",
    ],
    ["of five parts (encrypted)", async () => "a.b.c.d.e", "malformed"],
    ["empty", async () => "", "malformed"],
    ["with padding", async () => `${await good()}=`, "malformed"],
    ["of another subject form", () => good({ sub: "cart" }), "subject"],
    ["with a fifth part in its subject", () => good({ sub: "system:serviceaccount:shop:cart:x" }), "subject"],
    ["with a path in its subject", () => good({ sub: "system:serviceaccount:shop:a/../b" }), "subject"],
    ["claiming to be a node", () => good({ sub: "system:serviceaccount:fairlead-nodes:edge-1" }), "subject"],
    [
      "with a critical header that is unknown",
      async () => {
        const [, claims, signature] = (await good()).split(".");
        return `${base64url({ alg: "ES256", kid: "one", crit: ["x"], x: 1 })}.${claims}.${signature}`;
      },
      "malformed",
    ],
    ["longer than the limit", () => good({ filler: "x".repeat(tokenLimits.maxTokenChars) }), "too_long"],
    [
      "with alg none and no signature",
      async () => `${base64url({ alg: "none" })}.${(await good()).split(".")[1]}.`,
      "algorithm",
    ],
    [
      "with alg nOnE and a signature of another token",
      async () => {
        const [, claims, signature] = (await good()).split(".");
        return `${base64url({ alg: "nOnE" })}.${claims}.${signature}`;
      },
      "algorithm",
    ],
    ["without an algorithm", async () => `${base64url({})}.${(await good()).split(".")[1]}.x`, "algorithm"],
    ["HMAC with the public key as secret", () => hmacWithPublicKey(), "algorithm"],
    [
      "with claims changed after signing",
      async () => {
        const [header, , signature] = (await good()).split(".");
        const claims = {
          iss: issuer,
          aud: "istio-ca",
          sub: "system:serviceaccount:shop:admin",
          exp: seconds + 60,
        };
        return `${header}.${base64url(claims)}.${signature}`;
      },
      "signature",
    ],
  ];
  for (const [name, make, reason] of bad)
    test(`${name}: ${reason}`, async () => {
      const b = bench({ jwks: keySet(key, rsa) });
      expect(await outcome(b, await make())).toBe(reason);
      expect(await outcome(b, await good())).toBe(cart);
    });

  async function hmacWithPublicKey(): Promise<string> {
    const secret = new TextEncoder().encode(JSON.stringify(rsa.jwk));
    const hmac = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, [
      "sign",
    ]);
    const claims = {
      iss: issuer,
      aud: "istio-ca",
      sub: "system:serviceaccount:shop:cart",
      exp: seconds + 60,
    };
    const signed = `${base64url({ alg: "HS256", kid: "rsa" })}.${base64url(claims)}`;
    const tag = new Uint8Array(await crypto.subtle.sign("HMAC", hmac, new TextEncoder().encode(signed)));
    return `${signed}.${tag.toBase64({ alphabet: "base64url", omitPadding: true })}`;
  }

  test("of an algorithm that this issuer may not use", async () => {
    const b = bench({ jwks: keySet(key, rsa), algorithms: ["RS256"] });
    expect(await outcome(b, await good())).toBe("algorithm");
    expect(await outcome(b, await signToken(rsa, nowMs))).toBe(cart);
  });

  test("of a key that is published for another algorithm or use", async () => {
    expect(await outcome(bench({ jwks: keySet({ ...key.jwk, alg: "ES384" }, rsa) }), await good())).toBe(
      "key_unknown",
    );
    expect(await outcome(bench({ jwks: keySet({ ...key.jwk, use: "enc" }, rsa) }), await good())).toBe(
      "key_unknown",
    );
  });

  test("that lives longer than allowed", async () => {
    const b = bench({ jwks: keySet(key), maxLifetimeMs: 3_600_000 });
    expect(await outcome(b, await good())).toBe(cart);
    expect(await outcome(b, await good({ exp: seconds + 3601 }))).toBe("lifetime");
    expect(await outcome(b, await good({ iat: undefined }))).toBe("claim");
  });

  test("of a weak RSA key", async () => {
    const weak = await crypto.subtle.generateKey(
      {
        name: "RSASSA-PKCS1-v1_5",
        hash: "SHA-256",
        modulusLength: 1024,
        publicExponent: Uint8Array.of(1, 0, 1),
      },
      true,
      ["sign", "verify"],
    );
    const jwk = { ...(await crypto.subtle.exportKey("jwk", weak.publicKey)), kid: "weak", alg: "RS256" };
    const claims = {
      iss: issuer,
      aud: "istio-ca",
      sub: "system:serviceaccount:shop:cart",
      exp: seconds + 60,
    };
    const signed = `${base64url({ alg: "RS256", kid: "weak" })}.${base64url(claims)}`;
    const tag = await crypto.subtle.sign(
      "RSASSA-PKCS1-v1_5",
      weak.privateKey,
      new TextEncoder().encode(signed),
    );
    const token = `${signed}.${new Uint8Array(tag).toBase64({ alphabet: "base64url", omitPadding: true })}`;
    expect(await outcome(bench({ jwks: keySet(rsa.jwk, jwk as never) }), token)).toBe("key_unknown");
  });

  test("the reason never quotes the token", async () => {
    const token = await good({ sub: "secret-subject" });
    const result = await bench({ jwks: keySet(key) }).verifier.verify(token);
    expect(JSON.stringify(result)).not.toContain("secret-subject");
  });
});

describe("keys over the network", () => {
  const good = () => signToken(key, nowMs);

  test("are found by discovery, with the reach that is configured", async () => {
    const b = bench({});
    b.http.put(`${issuer}/.well-known/openid-configuration`, JSON.stringify({ issuer, jwks_uri: jwksUri }));
    b.http.put(jwksUri, keySet(key));
    expect(await outcome(b, await good())).toBe(cart);
    expect(b.http.requests.map(({ url, reach }) => `${reach} ${url}`)).toEqual([
      `public ${issuer}/.well-known/openid-configuration`,
      `public ${jwksUri}`,
    ]);
    const allowed = bench({ jwksUri, allowPrivateAddresses: true });
    allowed.http.put(jwksUri, keySet(key));
    expect(await outcome(allowed, await good())).toBe(cart);
    expect(allowed.http.requests[0]?.reach).toBe("any");
  });

  test("a discovery document of another issuer, or one that leads away from https, is refused", async () => {
    for (const document of [
      { issuer: "https://evil.example", jwks_uri: jwksUri },
      { issuer, jwks_uri: "http://issuer.example/keys" },
      { issuer, jwks_uri: "file:///etc/keys" },
      { issuer, jwks_uri: "https://user:pass@issuer.example/keys" },
      { issuer },
      [],
    ]) {
      const b = bench({});
      b.http.put(`${issuer}/.well-known/openid-configuration`, JSON.stringify(document));
      b.http.put(jwksUri, keySet(key));
      expect(await outcome(b, await good())).toBe("keys_unavailable");
    }
  });

  const broken: readonly (readonly [string, (http: FakeHttp) => void])[] = [
    ["slow", (http) => http.fail(jwksUri, new MeshError("connect_timeout", "upstream", "too slow"))],
    ["huge", (http) => http.put(jwksUri, " ".repeat(tokenLimits.maxJwksBytes + 1))],
    [
      "redirecting inside",
      (http) => http.put(jwksUri, "", 302, { location: "https://169.254.169.254/keys" }),
    ],
    [
      "inside",
      (http) => http.fail(jwksUri, new MeshError("address_forbidden", "upstream", "10.0.0.1 is private")),
    ],
    ["away", () => {}],
    ["an error", (http) => http.put(jwksUri, keySet(key), 503)],
    ["no JSON", (http) => http.put(jwksUri, "<html>")],
    ["no set", (http) => http.put(jwksUri, "[]")],
    ["of HMAC keys alone", (http) => http.put(jwksUri, keySet({ kty: "oct", k: "AAAA" }))],
    ["of private keys", (http) => http.put(jwksUri, keySet({ ...key.jwk, d: "AAAA" }))],
    [
      "of too many keys",
      (http) => http.put(jwksUri, keySet(...new Array(tokenLimits.maxKeys + 1).fill(key))),
    ],
  ];
  for (const [name, arrange] of broken)
    test(`a key set that is ${name} is no key set, and says so in the reason`, async () => {
      const b = bench({ jwksUri });
      arrange(b.http);
      expect(await outcome(b, await good())).toBe("keys_unavailable");
      expect(b.http.requests.length).toBe(1);
      expect(b.http.requests[0]).toMatchObject({
        timeoutMs: tokenLimits.fetchTimeoutMs,
        maxResponseBytes: tokenLimits.maxJwksBytes,
      });
      expect(b.verifier.status()[0]?.error).not.toBeNull();
    });

  test("a flood of tokens while the keys are away asks once in a back-off", async () => {
    const b = bench({ jwksUri });
    const token = await good();
    for (let round = 0; round < 50; round++) await outcome(b, token);
    expect(b.http.requests.length).toBe(1);
    await b.clock.advance(tokenLimits.retryMinMs);
    await Promise.all(Array.from({ length: 50 }, () => outcome(b, token)));
    expect(b.http.requests.length).toBe(2);
    await b.clock.advance(tokenLimits.retryMinMs);
    await outcome(b, token);
    expect(b.http.requests.length).toBe(2);
  });

  test("a new key is fetched when a token names it; made-up names cost one request in a while", async () => {
    const b = bench({ jwksUri });
    b.http.put(jwksUri, keySet(key));
    expect(await outcome(b, await good())).toBe(cart);
    b.http.put(jwksUri, keySet(key, other));
    await b.clock.advance(tokenLimits.unknownKeyIntervalMs);
    expect(await outcome(b, await signToken(other, nowMs))).toBe(cart);
    for (let round = 0; round < 50; round++)
      expect(await outcome(b, await signToken(key, nowMs, {}, { kid: `made-up-${round}` }))).toBe(
        "key_unknown",
      );
    expect(b.http.requests.length).toBe(2);
  });

  test("tokens of a new key that come together all wait for the one reading of it", async () => {
    const b = bench({ jwksUri });
    b.http.put(jwksUri, keySet(key));
    expect(await outcome(b, await good())).toBe(cart);
    b.http.put(jwksUri, keySet(key, other));
    await b.clock.advance(tokenLimits.unknownKeyIntervalMs);
    const token = await signToken(other, nowMs);
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => outcome(b, token)));
    expect(new Set(outcomes)).toEqual(new Set([cart]));
    expect(b.http.requests.length).toBe(2);
  });

  test("old keys serve while new ones are fetched, and while the issuer is away, but not for ever", async () => {
    const b = bench({ jwksUri });
    const token = await signToken(key, nowMs, { exp: seconds + 30 * 86_400 });
    b.http.put(jwksUri, keySet(key));
    expect(await outcome(b, token)).toBe(cart);
    b.http.answers.delete(jwksUri);
    await b.clock.advance(tokenLimits.keysStaleMs - 1);
    expect(await outcome(b, token)).toBe(cart);
    await b.clock.advance(1);
    expect(await outcome(b, token)).toBe("keys_unavailable");
    b.http.put(jwksUri, keySet(key));
    await b.clock.advance(tokenLimits.retryMaxMs);
    expect(await outcome(b, token)).toBe(cart);
  });

  test("a key that its issuer has withdrawn is not believed once the keys were read again", async () => {
    const b = bench({ jwksUri });
    b.http.put(jwksUri, keySet(key, other));
    expect(await outcome(b, await good())).toBe(cart);
    b.http.put(jwksUri, keySet(other));
    await b.clock.advance(tokenLimits.keysFreshMs);
    await outcome(b, await good());
    await b.clock.advance(0);
    expect(await outcome(b, await good())).toBe("key_unknown");
  });

  test("a file of keys is read again", async () => {
    const b = bench({ jwksFile: "/keys.json" });
    b.files.put("/keys.json", keySet(key));
    expect(await outcome(b, await good())).toBe(cart);
    b.files.put("/keys.json", keySet(other));
    await b.clock.advance(tokenLimits.unknownKeyIntervalMs);
    expect(await outcome(b, await signToken(other, nowMs))).toBe(cart);
    expect(b.http.requests.length).toBe(0);
  });
});

describe("settings of an issuer", () => {
  const wrong: readonly (readonly [string, Partial<JwtIssuerSettings>])[] = [
    ["HMAC", { jwksFile: "/keys", algorithms: ["HS256"] }],
    ["none", { jwksFile: "/keys", algorithms: ["none"] }],
    ["plain http", { jwksUri: "http://issuer.example/keys" }],
    ["two sources", { jwksUri, jwksFile: "/keys" }],
    ["inline keys without a key", { jwks: '{"keys":[]}' }],
    ["no audience", { audiences: [] }],
    ["an audience without a name", { audiences: [""] }],
    ["a longest lifetime of nothing", { jwksFile: "/keys", maxLifetimeMs: 0 }],
    ["a skew without end", { clockSkewMs: tokenLimits.maxClockSkewMs + 1 }],
    ["a template without a claim", { subject: "ns/shop/sa/cart" }],
    ["a template that is none", { subject: "{sub}" }],
    ["discovery at an issuer that is not a URL", { issuer: "kubernetes/serviceaccount" }],
  ];
  for (const [name, settings] of wrong)
    test(`refuse ${name}`, () => {
      expect(() => parseJwtIssuer({ issuer, ...settings })).toThrow(MeshError);
    });
});

describe("bounds", () => {
  test("of the keys tried for a token that does not name its key", async () => {
    const many = await Promise.all(
      Array.from({ length: tokenLimits.maxKeysTried }, (_, index) => testKey(`k${index}`)),
    );
    const unnamed = await signToken(key, nowMs, {}, { kid: undefined });
    expect(await outcome(bench({ jwks: keySet(...many.slice(1), key) }), unnamed)).toBe(cart);
    expect(await outcome(bench({ jwks: keySet(...many, key) }), unnamed)).toBe("signature");
    expect(await outcome(bench({ jwks: keySet(...many, key) }), await signToken(key, nowMs))).toBe(cart);
  });

  test("of a key's name and of an RSA key's size", async () => {
    const b = bench({ jwks: keySet(key) });
    const { maxKeyIdChars } = tokenLimits;
    expect(await outcome(b, await signToken(key, nowMs, {}, { kid: "k".repeat(maxKeyIdChars) }))).toBe(
      "key_unknown",
    );
    expect(await outcome(b, await signToken(key, nowMs, {}, { kid: "k".repeat(maxKeyIdChars + 1) }))).toBe(
      "malformed",
    );
    const huge = { ...rsa.jwk, n: "A".repeat((tokenLimits.maxRsaBits / 8) * 1.5 + 1) };
    expect(await outcome(bench({ jwks: keySet(huge, key) }), await signToken(rsa, nowMs))).toBe(
      "key_unknown",
    );
  });
});
