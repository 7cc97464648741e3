/** Documents, and requests that a real Envoy and our stages must answer alike; where they do not, it is said why. */
import { keySet, signToken, type TestKey, testKey } from "../../../src/pki/testing/token_issuer.ts";
import { document, target } from "../../../src/waypoint/auth/testing/auth_bench.ts";
import { Dice } from "../../../src/waypoint/auth/testing/layer7_generator.ts";

export interface AuthRequest {
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  /** A SPIFFE URI. */
  readonly peer?: string;
  /** `Name: value`. */
  readonly headers?: readonly string[];
  /** In place of what it is. */
  readonly label?: string;
  /** Where we answer otherwise than Envoy, and mean to. */
  readonly ours?: number;
}

export interface AuthCase {
  readonly name: string;
  readonly documents: string;
  readonly requests: readonly AuthRequest[];
}

const policy = (name: string, spec: string) => document("AuthorizationPolicy", name, `{${target}, ${spec}}`);
const to = (fields: string) => `rules: [{to: [{operation: {${fields}}}]}]`;
const when = (key: string, values: string) => `rules: [{when: [{key: "${key}", ${values}}]}]`;
const paths = (...list: readonly string[]) => list.map((path) => ({ path }));

export async function authCases(): Promise<readonly AuthCase[]> {
  const key = await testKey("one");
  const second = await testKey("two", "RS256");
  return [...matching(), ...(await tokens(key, second)), ...(await randomCases(key))];
}

function matching(): readonly AuthCase[] {
  return [
    {
      name: "paths, exact, prefix, suffix, any",
      documents: policy("p", to('paths: ["/exact", "/pre*", "*.html"]')),
      requests: paths(
        "/exact",
        "/exact?q=/pre",
        "/exact/",
        "/pre",
        "/prefix/x?y",
        "/a.html",
        "/a.html?b",
        "/a.htm",
        "/EXACT",
      ),
    },
    {
      name: "path templates",
      documents: policy("p", to('paths: ["/a/{*}", "/b/{**}", "/c/{*}/d/{**}", "/e/{**}/end"]')),
      requests: paths(
        ...[
          "/a/x",
          "/a/",
          "/a",
          "/a/x/y",
          "/a/x?y=/z",
          "/b/",
          "/b",
          "/b/x/y",
          "/c/x/d/",
          "/c/x/d",
          "/c//d/",
          "/c/x/d/y/z",
        ],
        ...["/e/end", "/e//end", "/e/x/y/end", "/a/x%2fy", "/a/x~y", "/a/x'y", "/b/x=y"],
      ),
    },
    {
      name: "paths are normalised before they are matched",
      documents: policy("p", `action: DENY, ${to('paths: ["/admin*"]')}`),
      requests: paths(
        "/admin",
        "/./admin",
        "/x/../admin",
        "/%61dmin",
        "/admin/../x",
        "/x/%2e%2e/admin",
        "//admin",
        "/x/..//admin",
      ),
    },
    {
      name: "methods and hosts",
      documents: policy("p", to('methods: [GET, "P*"], hosts: [web.shop, "*.example", "api*"]')),
      requests: [
        ...[{ method: "GET" }, { method: "PUT" }, { method: "DELETE" }],
        ...[
          { host: "WEB.shop" },
          { host: "web.shop:80" },
          { host: "a.EXAMPLE" },
          { host: "api.b" },
          { host: "b.api" },
        ],
      ],
    },
    {
      name: "not methods and not paths",
      documents: policy("p", `action: DENY, ${to('notMethods: [GET], notPaths: ["/open*"]')}`),
      requests: [{}, { path: "/open" }, { method: "PUT" }, { method: "PUT", path: "/open/x" }],
    },
    {
      name: "headers, joined and missing",
      documents: policy("p", when("request.headers[X-A]", 'values: [a, "b*", "*c"]')),
      requests: [
        ...[
          [],
          ["x-a: a"],
          ["X-A: bb"],
          ["x-a: xc"],
          ["x-a: A"],
          ["x-a: a", "x-a: z"],
          ["x-a: z", "x-a: xc"],
          ["x-a:"],
        ],
      ].map((headers) => ({ headers })),
    },
    {
      name: "a header that is there, an empty one too",
      documents: policy("p", when("request.headers[x-a]", 'values: ["*"]')),
      requests: [[], ["x-a: a"], ["x-a:"]].map((headers) => ({ headers })),
    },
    {
      name: "a header that must not be",
      documents: policy("p", `action: DENY, ${when("request.headers[x-a]", "notValues: [a]")}`),
      requests: [[], ["x-a: a"], ["x-a: b"]].map((headers) => ({ headers })),
    },
    {
      name: "peers",
      documents: policy(
        "p",
        'rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}, {source: {namespaces: [bank, "edge*"]}}, {source: {serviceAccounts: [ops/root]}}, {source: {trustDomains: ["*.partner"]}}]}]',
      ),
      requests: [
        ...["cluster.local/ns/shop/sa/web", "cluster.local/ns/shop/sa/webx", "cluster.local/ns/bank/sa/a"],
        ...[
          "cluster.local/ns/edge-1/sa/a",
          "cluster.local/ns/xedge/sa/a",
          "cluster.local/ns/ops/sa/root",
          "cluster.local/ns/ops/sa/roots",
        ],
        ...["a.partner/ns/x/sa/y", "partner/ns/x/sa/y", "other/ns/shop/sa/web"],
      ].map((peer) => ({ peer: `spiffe://${peer}` })),
    },
    {
      name: "aliases of the trust domain",
      documents:
        document("MeshConfig", "default", "{trustDomainAliases: [old.example]}") +
        policy("p", "rules: [{from: [{source: {principals: [old.example/ns/shop/sa/web]}}]}]"),
      requests: ["cluster.local", "old.example", "new.example"].map((name) => ({
        peer: `spiffe://${name}/ns/shop/sa/web`,
      })),
    },
    {
      name: "the client's address behind one proxy",
      documents:
        document("MeshConfig", "default", "{defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}}") +
        policy("p", 'rules: [{from: [{source: {remoteIpBlocks: ["198.51.100.0/24", "2001:db8::/32"]}}]}]'),
      requests: [
        ...[[], ["X-Forwarded-For: 198.51.100.7"], ["X-Forwarded-For: 198.51.100.7, 203.0.113.1"]],
        ...[
          ["X-Forwarded-For: 203.0.113.1,198.51.100.7"],
          ["X-Forwarded-For: 2001:db8::7"],
          ["X-Forwarded-For: nonsense"],
        ],
      ].map((headers) => ({ headers })),
    },
    {
      name: "DENY before ALLOW, an ALLOW without rules, and one for all",
      documents:
        policy("a", to('paths: ["/a*"]')) +
        policy("b", "{}").replace(", {}}", "}") +
        policy("d", `action: DENY, ${to('paths: ["/ab"]')}`),
      requests: paths("/a", "/ab", "/b"),
    },
  ];
}

const issuer = "https://issuer.example";

async function tokens(key: TestKey, second: TestKey): Promise<readonly AuthCase[]> {
  const now = Date.now();
  const seconds = Math.floor(now / 1000);
  const sign = (claims: Readonly<Record<string, unknown>> = {}, by = key, header = {}) =>
    signToken(
      by,
      now,
      { iss: issuer, aud: "shop", sub: "ann", ...claims } as Parameters<typeof signToken>[2],
      header,
    );
  const bearer = (token: string) => [`Authorization: Bearer ${token}`];
  const rule = (more = "", iss = issuer, keys = keySet(key)) => `{issuer: "${iss}", jwks: '${keys}'${more}}`;
  const rules = (...list: readonly string[]) =>
    document("RequestAuthentication", "t", `{${target}, jwtRules: [${list.join(", ")}]}`);
  const good = await sign();
  const [head = "", body = "", signature = ""] = good.split(".");
  const claims = async (
    label: string,
    said: Readonly<Record<string, unknown>>,
    by = key,
    header = {},
  ): Promise<AuthRequest> => ({
    label,
    headers: bearer(await sign(said, by, header)),
  });
  const text = (label: string, token: string): AuthRequest => ({ label, headers: bearer(token) });
  return [
    {
      name: "a token of one issuer",
      documents: rules(rule(", audiences: [shop]")),
      requests: [
        { label: "no token" },
        text("a good token", good),
        { label: "a good token in the query", path: `/?access_token=${good}` },
        await claims("expired, within the skew", { exp: seconds - 50 }),
        await claims("expired", { exp: seconds - 70 }),
        await claims("not yet valid", { nbf: seconds + 70 }),
        await claims("valid soon, within the skew", { nbf: seconds + 50 }),
        await claims("without an end", { exp: undefined }),
        await claims("another audience", { aud: "bank" }),
        await claims("an audience with a scheme and a slash", { aud: "https://shop/" }),
        await claims("several audiences", { aud: ["a", "shop"] }),
        await claims("another issuer", { iss: "https://other.example" }),
        await claims("another key under the same name", {}, await testKey("one")),
        await claims("a key that is not there", {}, key, { kid: "none" }),
        text("a signature cut short", `${head}.${body}.${signature.slice(0, -8)}`),
        text("without a signature", `${head}.${body}.`),
        text("two parts", `${head}.${body}`),
        text("a word", "word"),
        {
          label: "a preflight with a bad token",
          method: "OPTIONS",
          headers: ["Origin: https://a", "Access-Control-Request-Method: PUT", ...bearer("bad")],
        },
        { label: "another scheme", headers: [`Authorization: Basic ${good}`] },
        { label: "two tokens, one bad", path: `/?access_token=${good}x`, headers: bearer(good), ours: 401 },
      ],
    },
    {
      name: "two issuers",
      documents: rules(rule(), rule("", "https://second.example", keySet(second))),
      requests: [
        { label: "no token" },
        text("of the first", good),
        await claims("of the second", { iss: "https://second.example" }, second),
        {
          ...(await claims("of the second by the first's key", { iss: "https://second.example" })),
          ours: 401,
        },
      ],
    },
    {
      name: "who may, by token",
      documents:
        rules(rule()) +
        policy(
          "p",
          `rules: [{from: [{source: {requestPrincipals: ["${issuer}/ann", "*/root"]}}]}, {when: [{key: "request.auth.claims[org][team]", values: [a]}]}, {when: [{key: "request.auth.claims[scope]", values: [write]}]}, {when: [{key: "request.auth.claims[groups]", values: ["op*"]}, {key: "request.auth.presenter", values: [app]}]}]`,
        ),
      requests: [
        { label: "no token" },
        text("ann", good),
        await claims("bob", { sub: "bob" }),
        await claims("root", { sub: "root" }),
        await claims("of the team", { sub: "x", org: { team: "a" } }),
        await claims("of two teams", { sub: "x", org: { team: ["b", "a"] } }),
        await claims("of another team", { sub: "x", org: { team: "b" } }),
        await claims("a scope among others", { sub: "x", scope: "read write" }),
        await claims("a scope that only looks like it", { sub: "x", scope: "readwrite" }),
        await claims("groups and presenter", { sub: "x", groups: ["dev", "ops"], azp: "app" }),
        await claims("groups without presenter", { sub: "x", groups: ["ops"] }),
        await claims("a number where a text is", { sub: "x", org: { team: 7 } }),
      ],
    },
    {
      name: "no token, no entry",
      documents:
        rules(rule()) +
        policy("p", 'action: DENY, rules: [{from: [{source: {notRequestPrincipals: ["*"]}}]}]'),
      requests: [
        { label: "no token" },
        text("a good token", good),
        await claims("without a subject", { sub: undefined }),
      ],
    },
  ];
}

/** Rules and requests by chance, of words that both can be told. */
async function randomCases(key: TestKey): Promise<readonly AuthCase[]> {
  const now = Date.now();
  const identity = document(
    "RequestAuthentication",
    "t",
    `{${target}, jwtRules: [{issuer: i, jwks: '${keySet(key)}'}]}`,
  );
  const claimSets = [
    { sub: "a", aud: ["a", "b"], azp: "ab", group: "a" },
    { sub: "b", aud: "c", group: ["aa", "b"] },
    { sub: "a*", group: 5 },
  ];
  const signed = await Promise.all(
    claimSets.map((claims) =>
      signToken(key, now, { iss: "i", ...claims } as Parameters<typeof signToken>[2]),
    ),
  );
  return Array.from({ length: 30 }, (_, seed) => {
    const dice = new Dice(seed + 100);
    const rule = () => randomRule(dice);
    const list = () => Array.from({ length: 1 + dice.below(3) }, rule).join(", ");
    const documents = `${identity}${policy("allow", `rules: [${list()}]`)}${dice.next() < 0.5 ? "" : policy("deny", `action: DENY, rules: [${list()}]`)}`;
    const requests = Array.from({ length: 25 }, (): AuthRequest => {
      const token = dice.next() < 0.3 ? null : dice.pick(signed);
      return {
        method: dice.pick(["GET", "POST", "PUT"]),
        path: dice.pick(["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/aa", "/a//c", "/a?b=/c", "/x/y/"]),
        host: dice.pick(["a.example", "b.example:80", "ab"]),
        peer: `spiffe://${dice.pick(["cluster.local", "other"])}/ns/${dice.pick(["a", "b", "ab"])}/sa/${dice.pick(["a", "b", "c"])}`,
        headers: [
          ...(dice.next() < 0.5 ? [] : [`x-a: ${dice.pick(["a", "ab", "b", ""])}`]),
          ...(dice.next() < 0.7 ? [] : [`x-a: ${dice.pick(["a", "b"])}`]),
          ...(token === null ? [] : [`Authorization: Bearer ${token}`]),
        ],
      };
    });
    return { name: `by chance, seed ${seed + 100}`, documents, requests };
  });
}

const sources: Readonly<Record<string, readonly string[]>> = {
  principals: ["cluster.local/ns/a/sa/a", "*/sa/b", "cluster.local/*", "*", "other/ns/b/sa/a"],
  namespaces: ["a", "ab", "a*", "*b", "*"],
  requestPrincipals: ["i/a", "i/*", "*/b", "*", "i*", "*a", "j/a", "i/a*"],
  trustDomains: ["other", "*.local", "*", "cluster*"],
};
const operations: Readonly<Record<string, readonly string[]>> = {
  methods: ["GET", "P*", "*T", "*"],
  paths: ["/", "/a", "/a*", "*b", "*", "/a/{*}", "/a/{**}", "/{*}/b", "/a/{**}/c", "/{**}"],
  hosts: ["a.example", "*.EXAMPLE:80", "A*", "*"],
};
const conditions: Readonly<Record<string, readonly string[]>> = {
  "request.headers[x-a]": ["a", "a*", "*b", "*", "a,b"],
  "request.auth.claims[group]": ["a", "a*", "*b", "*"],
  "request.auth.audiences": ["a", "c", "*"],
  "request.auth.presenter": ["ab", "*"],
};

function randomRule(dice: Dice): string {
  const parts = [
    ...(dice.next() < 0.5 ? [] : [`from: [${someFields(dice, sources, "source")}]`]),
    ...(dice.next() < 0.4 ? [] : [`to: [${someFields(dice, operations, "operation")}]`]),
    ...(dice.next() < 0.6 ? [] : [`when: [${condition(dice)}]`]),
  ];
  return `{${(parts.length === 0 ? [`to: [${someFields(dice, operations, "operation")}]`] : parts).join(", ")}}`;
}

function someFields(dice: Dice, fields: Readonly<Record<string, readonly string[]>>, name: string): string {
  return Array.from({ length: 1 + dice.below(2) }, () => {
    const said = new Map<string, string>();
    for (let count = 1 + dice.below(2); count > 0; count--) {
      const field = dice.pick(Object.keys(fields));
      const not = `not${field[0]?.toUpperCase()}${field.slice(1)}`;
      said.set(dice.next() < 0.25 ? not : field, list(dice, fields[field] ?? []));
    }
    return `{${name}: {${[...said].map(([field, values]) => `${field}: ${values}`).join(", ")}}}`;
  }).join(", ");
}

function condition(dice: Dice): string {
  const key = dice.pick(Object.keys(conditions));
  return `{key: "${key}", ${dice.next() < 0.25 ? "notValues" : "values"}: ${list(dice, conditions[key] ?? [])}}`;
}

function list(dice: Dice, words: readonly string[]): string {
  return JSON.stringify([...new Set(dice.some(words, 2))]);
}
