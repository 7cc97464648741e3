import { beforeAll, describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { authLimits } from "../../base/limits/auth.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import { base64url, keySet, signToken, type TestKey, testKey } from "../../pki/testing/token_issuer.ts";
import { field } from "../exchange.ts";
import { type AuthBench, authBench, document, startMs, target } from "./testing/auth_bench.ts";

const issuer = "https://issuer.example";
let key: TestKey;
let other: TestKey;

beforeAll(async () => {
  key = await testKey("one");
  other = await testKey("two");
});

const seconds = (atMs: number) => Math.floor(atMs / 1000);
const sign = (claims: Readonly<Record<string, unknown>> = {}, by = key, header = {}) =>
  signToken(by, startMs, { iss: issuer, sub: "ann", ...claims }, header);
const rules = (...list: readonly string[]) =>
  document("RequestAuthentication", "tokens", `{${target}, jwtRules: [${list.join(", ")}]}`);
const rule = (more = "", iss = issuer, keys = keySet(key)) => `{issuer: "${iss}", jwks: '${keys}'${more}}`;
const bearer = (token: string) => ["authorization", `Bearer ${token}`];

/** `status message`, or the user. */
async function outcome(bench: AuthBench, fields: readonly string[], path = "/"): Promise<string> {
  const { reply, exchange } = await bench.decide({ request: { fields: [...fields], path } });
  if (reply !== null) return `${reply.status} ${new TextDecoder().decode(reply.body)}`;
  return exchange.user === null ? "anonymous" : `${exchange.user.issuer}/${exchange.user.subject}`;
}

describe("where tokens are", () => {
  test("the usual places, in either case of the scheme", async () => {
    const bench = await authBench(rules(rule()));
    const token = await sign();
    expect(await outcome(bench, bearer(token))).toBe(`${issuer}/ann`);
    expect(await outcome(bench, ["authorization", `bearer ${token}`])).toBe(`${issuer}/ann`);
    expect(await outcome(bench, [], `/?x=1&access_token=${token}`)).toBe(`${issuer}/ann`);
    expect(await outcome(bench, [], `/?access%5Ftoken=${token}`)).toBe(`${issuer}/ann`);
    expect(await outcome(bench, ["authorization", `Basic ${token}`])).toBe("anonymous");
    expect(await outcome(bench, [])).toBe("anonymous");
    expect(await outcome(bench, ["authorization", "Bearer "])).toStartWith("401");
  });

  test("said by the rule: headers with their prefix, parameters, cookies, and nowhere else", async () => {
    const more = ', fromHeaders: [{name: X-T, prefix: "T "}], fromParams: [t], fromCookies: [c]';
    const bench = await authBench(rules(rule(more)));
    const token = await sign();
    expect(await outcome(bench, ["x-t", `T ${token}`])).toBe(`${issuer}/ann`);
    expect(await outcome(bench, ["x-t", token])).toBe("anonymous");
    expect(await outcome(bench, [], `/?t=${token}`)).toBe(`${issuer}/ann`);
    expect(await outcome(bench, ["cookie", `a=b; c=${token}; d=e`])).toBe(`${issuer}/ann`);
    expect(await outcome(bench, ["cookie", "a=b", "cookie", `c="${token}"`])).toBe(`${issuer}/ann`);
    expect(await outcome(bench, bearer(token))).toBe("anonymous");
  });

  test("every one of them must hold, in each place and each line", async () => {
    const bench = await authBench(rules(rule()));
    const token = await sign();
    const bad = `${token.slice(0, -4)}AAAA`;
    expect(await outcome(bench, [...bearer(token), ...bearer(bad)])).toBe("401 Jwt verification fails");
    expect(await outcome(bench, bearer(token), `/?access_token=${bad}`)).toBe("401 Jwt verification fails");
    expect(await outcome(bench, bearer(token), `/?access_token=${token}&access_token=${bad}`)).toStartWith(
      "401",
    );
    const many = Array.from({ length: authLimits.maxTokensPerRequest }, () => bearer(token)).flat();
    expect(await outcome(bench, many)).toBe(`${issuer}/ann`);
    expect(await outcome(bench, [...many, ...bearer(token)])).toStartWith("401");
  });
});

test("a token is taken away, unless it is to be passed on", async () => {
  const token = await sign();
  const taken = await authBench(rules(rule()));
  const { exchange } = await taken.decide({
    request: { fields: [...bearer(token), "x", "y"], path: `/a?b=c&access_token=${token}&d` },
  });
  expect(exchange.request.fields).toEqual(["x", "y"]);
  expect(exchange.request.path).toBe("/a?b=c&d");
  const cookies = await authBench(rules(rule(", fromCookies: [c]")));
  const cookie = await cookies.decide({ request: { fields: ["cookie", `a=b; c=${token}`] } });
  expect(cookie.exchange.request.fields).toEqual(["cookie", "a=b"]);
  const kept = await authBench(rules(rule(", forwardOriginalToken: true")));
  expect((await kept.decide({ request: { fields: bearer(token) } })).exchange.request.fields).toEqual(
    bearer(token),
  );
});

test("what the token says goes into headers; what a client says there does not", async () => {
  const outputs = `, outputPayloadToHeader: x-payload, outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: x-n, claim: n},
    {header: x-yes, claim: yes}, {header: x-team, claim: org.team}, {header: x-org, claim: org}, {header: x-evil, claim: evil}]`;
  const bench = await authBench(rules(rule(outputs)));
  const token = await sign({ n: 7, yes: true, org: { team: "a" }, evil: "a\r\nb: c" });
  const { exchange } = await bench.decide({
    request: { fields: ["x-sub", "root", "x-payload", "e30", ...bearer(token)] },
  });
  const at = (name: string) => field(exchange.request.fields, name);
  expect([at("x-sub"), at("x-n"), at("x-yes"), at("x-team")]).toEqual(["ann", "7", "true", "a"]);
  expect(at("x-org")).toBe(btoa('{"team":"a"}'));
  expect(at("x-payload")).toBe(token.split(".")[1] ?? "");
  expect(at("x-evil")).toBeNull();
  const { exchange: without } = await bench.decide({
    request: { fields: ["x-sub", "root", "x-payload", "e30"] },
  });
  expect(without.request.fields).toEqual([]);
});

test("claims that are one text with spaces are lists", async () => {
  const policy = document(
    "AuthorizationPolicy",
    "p",
    `{${target}, rules: [{when: [{key: "request.auth.claims[scope]", values: [write]}]}]}`,
  );
  const bench = await authBench(rules(rule()) + policy);
  expect(await outcome(bench, bearer(await sign({ scope: "read write" })))).toBe(`${issuer}/ann`);
  expect(await outcome(bench, bearer(await sign({ scope: "readwrite" })))).toStartWith("403");
  const none = await authBench(rules(rule(", spaceDelimitedClaims: [roles]")) + policy);
  expect(await outcome(none, bearer(await sign({ scope: "read write" })))).toStartWith("403");
});

describe("what does not hold", () => {
  test("times, with the skew of clocks", async () => {
    const bench = await authBench(rules(rule()));
    const skew = authLimits.clockSkewMs;
    const at = async (claims: Readonly<Record<string, unknown>>) =>
      await outcome(bench, bearer(await sign(claims)));
    expect(await at({ exp: seconds(startMs - skew) })).toBe(`${issuer}/ann`);
    expect(await at({ exp: seconds(startMs - skew) - 1 })).toBe("401 Jwt is expired");
    expect(await at({ nbf: seconds(startMs + skew) })).toBe(`${issuer}/ann`);
    expect(await at({ nbf: seconds(startMs + skew) + 1 })).toBe("401 Jwt not yet valid");
    expect(await at({ exp: undefined })).toBe(`${issuer}/ann`);
  });

  test("audiences, as Envoy compares them", async () => {
    const bench = await authBench(rules(rule(", audiences: [https://shop.example/]")));
    const at = async (aud: unknown) => await outcome(bench, bearer(await sign({ aud })));
    expect(await at("shop.example")).toBe(`${issuer}/ann`);
    expect(await at(["a", "http://shop.example"])).toBe(`${issuer}/ann`);
    expect(await at("bank.example")).toBe("403 Audiences in Jwt are not allowed");
    expect(await at(undefined)).toBe("403 Audiences in Jwt are not allowed");
  });

  test("every known trick with the header of a token", async () => {
    const bench = await authBench(rules(rule()));
    const body = base64url({ iss: issuer, sub: "ann" });
    const forged = (header: unknown, signature = "AAAA") => `${base64url(header)}.${body}.${signature}`;
    const unsupported = "401 Jwt header [alg] is not supported";
    for (const alg of ["none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "RS1", ""]) {
      expect(await outcome(bench, bearer(forged({ alg })))).toBe(unsupported);
      expect(await outcome(bench, bearer(forged({ alg }, "")))).toContain("two dots and 3 sections");
    }
    expect(await outcome(bench, bearer(forged({ typ: "JWT" })))).toContain("[alg] field is required");
    expect(await outcome(bench, bearer(forged({ alg: ["ES256"] })))).toContain("[alg] field is required");
    expect(await outcome(bench, bearer(forged({ alg: "ES256", kid: ["one"] })))).toContain("[kid] field");
    expect(await outcome(bench, bearer(forged({ alg: "ES256", crit: ["exp"], exp: 1 })))).toContain("[crit]");
    expect(await outcome(bench, bearer(forged({ alg: "ES256", kid: "../../dev/null" })))).toContain(
      "key to match kid",
    );
    // Keys that the token brings along are nothing.
    const mine = { jwk: other.jwk, jku: "https://evil.example/keys", x5u: "https://evil.example/x5u" };
    expect(await outcome(bench, bearer(await sign({}, other, { ...mine, kid: "one" })))).toBe(
      "401 Jwt verification fails",
    );
    expect(bench.http.requests).toEqual([]);
    // The signature of nothing: r and s are zero (CVE-2022-21449).
    expect(await outcome(bench, bearer(forged({ alg: "ES256", kid: "one" }, "A".repeat(86))))).toBe(
      "401 Jwt verification fails",
    );
  });

  test("texts that are no tokens", async () => {
    const bench = await authBench(rules(rule()));
    const token = await sign();
    const [head = "", body = "", signature = ""] = token.split(".");
    const form = "401 Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";
    for (const text of [
      "x",
      "a.b",
      `${token}.x`,
      `${head}..${signature}`,
      `${head}.${body}=.${signature}`,
      `${head}. ${body}.${signature}`,
    ])
      expect(await outcome(bench, bearer(text))).toBe(form);
    expect(await outcome(bench, bearer(`${head}.${base64url("[1]")}.${signature}`))).toContain(
      "payload is an invalid JSON",
    );
    expect(await outcome(bench, bearer(`${base64url("{")}.${body}.${signature}`))).toContain(
      "header is an invalid JSON",
    );
    const long = await sign({ pad: "x".repeat(tokenLimits.maxTokenChars) });
    expect(await outcome(bench, bearer(long))).toContain("longer than");
    expect(await outcome(bench, bearer(await sign({ exp: "soon" })))).toContain("[exp]");
  });

  test("another issuer's signature, or a name that only looks like it", async () => {
    const bench = await authBench(rules(rule(), rule("", "https://second.example", keySet(other))));
    expect(await outcome(bench, bearer(await sign({}, other)))).toContain("key to match kid");
    expect(await outcome(bench, bearer(await sign({ iss: "https://second.example" }, other)))).toBe(
      "https://second.example/ann",
    );
    expect(await outcome(bench, bearer(await sign({ iss: `${issuer}/` })))).toBe(
      "401 Jwt issuer is not configured",
    );
    expect(await outcome(bench, bearer(await sign({ iss: undefined })))).toBe(
      "401 Jwt issuer is not configured",
    );
  });

  test("is told with WWW-Authenticate, without the query", async () => {
    const bench = await authBench(rules(rule()));
    const { reply } = await bench.decide({ request: { path: '/a"b?access_token=x', scheme: "https" } });
    expect(field(reply?.fields ?? [], "www-authenticate")).toBe(
      'Bearer realm="https://cart.shop/a\\"b", error="invalid_token"',
    );
    expect(reply?.detail).not.toContain("access_token");
    for (const more of [0, 1]) {
      const path = `/${"a".repeat(authLimits.maxRealmChars - 1 + more)}`;
      const long = await bench.decide({ request: { path: `${path}?access_token=x`, scheme: "https" } });
      expect(field(long.reply?.fields ?? [], "www-authenticate")).toBe(
        `Bearer realm="https://cart.shop${path.slice(0, authLimits.maxRealmChars)}", error="invalid_token"`,
      );
    }
  });
});

test("a preflight passes without a look at tokens, and is authorized like any other request", async () => {
  const deny = document(
    "AuthorizationPolicy",
    "p",
    `{${target}, action: DENY, rules: [{to: [{operation: {paths: [/no]}}]}]}`,
  );
  const bench = await authBench(rules(rule()) + deny);
  const preflight = (path: string, method = "OPTIONS") =>
    bench.decide({
      request: {
        path,
        method,
        fields: ["origin", "https://a", "access-control-request-method", "PUT", ...bearer("bad")],
      },
    });
  expect((await preflight("/")).reply).toBeNull();
  expect((await preflight("/no")).reply?.status).toBe(403);
  expect((await preflight("/", "GET")).reply?.status).toBe(401);
});

describe("keys that are fetched", () => {
  const uri = "https://issuer.example/keys";
  const remote = (more = "") => rules(`{issuer: "${issuer}", jwksUri: "${uri}"${more}}`);

  test("once for many tokens, publicly, over HTTPS, and again for a key that is not known", async () => {
    const bench = await authBench(remote(", timeout: 2s"));
    bench.http.put(uri, keySet(key));
    const token = await sign();
    expect(await outcome(bench, bearer(token))).toBe(`${issuer}/ann`);
    expect(await outcome(bench, bearer(await sign({ sub: "bob" })))).toBe(`${issuer}/bob`);
    expect(bench.http.requests.map(({ url, reach, timeoutMs }) => ({ url, reach, timeoutMs }))).toEqual([
      { url: uri, reach: "public", timeoutMs: 2_000 },
    ]);
    bench.http.put(uri, keySet(key, other));
    await bench.clock.advance(tokenLimits.unknownKeyIntervalMs);
    expect(await outcome(bench, bearer(await sign({}, other)))).toBe(`${issuer}/ann`);
    expect(bench.http.requests.length).toBe(2);
  });

  test("away: 503, and no token passes", async () => {
    const bench = await authBench(remote());
    bench.http.fail(uri, new MeshError("connect_timeout", "upstream", "late"));
    expect(await outcome(bench, bearer(await sign()))).toBe("503 Jwks remote fetch is failed");
    expect(await outcome(bench, [])).toBe("anonymous");
    // Not asked again for each of them.
    await outcome(bench, bearer(await sign({ sub: "bob" })));
    expect(bench.http.requests.length).toBe(1);
  });

  test("held keys are believed for a time, and no longer", async () => {
    const bench = await authBench(remote());
    bench.http.put(uri, keySet(key));
    const forever = await sign({ exp: undefined });
    expect(await outcome(bench, bearer(forever))).toBe(`${issuer}/ann`);
    bench.http.fail(uri, new MeshError("connect_timeout", "upstream", "late"));
    await bench.clock.advance(tokenLimits.keysStaleMs - 1);
    expect(await outcome(bench, bearer(forever))).toBe(`${issuer}/ann`);
    // What was verified meanwhile is remembered for a while.
    await bench.clock.advance(authLimits.verifiedTokenMs + 1);
    expect(await outcome(bench, bearer(forever))).toStartWith("503");
  });

  test("plain HTTP and private addresses only for hosts that are named", async () => {
    const inside = "http://keys.internal:8080/keys";
    const text = rules(`{issuer: "${issuer}", jwksUri: "${inside}"}`);
    const closed = await authBench(text);
    closed.http.put(inside, keySet(key));
    expect(await outcome(closed, bearer(await sign()))).toStartWith("503");
    expect(closed.http.requests).toEqual([]);
    const open = await authBench(
      text + document("MeshConfig", "default", '{privateKeySetHosts: ["keys.internal:8080"]}'),
    );
    open.http.put(inside, keySet(key));
    expect(await outcome(open, bearer(await sign()))).toBe(`${issuer}/ann`);
    expect(open.http.requests[0]?.reach).toBe("any");
  });

  test("by discovery, where the issuer is whom it says it is", async () => {
    const bench = await authBench(rules(`{issuer: "${issuer}"}`));
    const at = `${issuer}/.well-known/openid-configuration`;
    bench.http.put(at, JSON.stringify({ issuer: "https://other.example", jwks_uri: uri }));
    bench.http.put(uri, keySet(key));
    expect(await outcome(bench, bearer(await sign()))).toStartWith("503");
    bench.http.put(at, JSON.stringify({ issuer, jwks_uri: uri }));
    await bench.clock.advance(tokenLimits.retryMaxMs);
    expect(await outcome(bench, bearer(await sign()))).toBe(`${issuer}/ann`);
  });
});

describe("what is remembered", () => {
  test("costs a look-up, and is verified again when keys change", async () => {
    const uri = "https://issuer.example/keys";
    const bench = await authBench(rules(`{issuer: "${issuer}", jwksUri: "${uri}"}`));
    bench.http.put(uri, keySet(key));
    const token = await sign({ exp: undefined });
    const { exchange } = await bench.decide({ request: { fields: bearer(token) } });
    const again = await bench.decide({ request: { fields: bearer(token) } });
    expect(again.exchange.user).toBe(exchange.user);
    // Its key is withdrawn: the issuer is asked when its keys are old, and then the token is no good.
    bench.http.put(uri, keySet(other));
    await bench.clock.advance(tokenLimits.keysFreshMs + 1);
    await outcome(bench, bearer(token));
    await bench.clock.advance(1);
    expect(await outcome(bench, bearer(token))).toStartWith("401");
    const ended = exchange.permit?.recheck(bench.clock.wallMs());
    await bench.clock.advance(1);
    expect((ended ?? exchange.permit?.recheck(bench.clock.wallMs()))?.reason).toBe("token_withdrawn");
  });

  test("ends with the token", async () => {
    const bench = await authBench(rules(rule()));
    const token = await sign({ exp: seconds(startMs) + 10 });
    const { exchange } = await bench.decide({ request: { fields: bearer(token) } });
    expect(exchange.permit?.grounds.expiresAtMs).toBe(startMs + 10_000);
    await bench.clock.advance(9_999);
    expect(exchange.permit?.recheck(bench.clock.wallMs())).toBeNull();
    await bench.clock.advance(1);
    expect(exchange.permit?.recheck(bench.clock.wallMs())?.reason).toBe("token_expired");
    await bench.clock.advance(authLimits.clockSkewMs + 1);
    expect(await outcome(bench, bearer(token))).toBe("401 Jwt is expired");
  });
});
