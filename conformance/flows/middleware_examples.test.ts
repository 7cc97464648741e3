/** The examples of `examples/middleware`, as they stand there. What carries middleware is tried in `src/waypoint/extend`. */
import { Database } from "bun:sqlite";
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hono } from "hono";
import apiKey from "../../examples/middleware/api_key.ts";
import dailyQuota from "../../examples/middleware/daily_quota.ts";
import signResponse from "../../examples/middleware/sign_response.ts";
import type { MeshRequest, Middleware, MiddlewareEnv } from "../../src/waypoint/extend/middleware_api.ts";

const directory = mkdtempSync(join(tmpdir(), "fairlead-middleware-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const peerOf = (namespace: string): MeshRequest["peer"] => ({
  uri: `spiffe://cluster.local/ns/${namespace}/sa/web`,
  trustDomain: "cluster.local",
  namespace,
  serviceAccount: "web",
});
const userOf = (subject: string): MeshRequest["user"] => ({
  issuer: "i",
  subject,
  audiences: [],
  claims: {},
});

interface Asked {
  readonly headers?: Readonly<Record<string, string>>;
  readonly peer?: MeshRequest["peer"];
  readonly user?: MeshRequest["user"];
}

function app(middleware: Middleware, content = "hello") {
  const counts: string[] = [];
  const sent: (readonly [string, string | null])[] = [];
  let reached = 0;
  const ask = async ({ headers = {}, peer = peerOf("shop"), user = null }: Asked = {}) => {
    const mesh: MeshRequest = {
      ...{ peer, user, service: "shop/web.shop.mesh", port: 80, sourceAddress: "10.0.0.1" },
      ...{ traceId: null, requestId: null, log: () => {} },
      setRequestHeader: (name, value) => sent.push([name, value]),
      count: (event) => counts.push(event),
    };
    const hono = new Hono<MiddlewareEnv>();
    hono.use(async (c, next) => {
      c.set("mesh", mesh);
      await next();
    });
    hono.use(middleware);
    hono.get("/", () => {
      reached++;
      return new Response(content, { headers: { "content-length": String(content.length) } });
    });
    return await hono.request("/", { headers });
  };
  return { ask, counts, sent, reached: () => reached };
}

describe("api_key.ts", () => {
  const database = join(directory, "keys.sqlite");
  const keys = new Database(database);
  keys.run(
    "CREATE TABLE api_keys (sha256 TEXT PRIMARY KEY, owner TEXT NOT NULL, withdrawn INTEGER NOT NULL)",
  );
  const add = (key: string, owner: string, withdrawn: number) =>
    keys.run("INSERT INTO api_keys VALUES (?, ?, ?)", [
      ...[new Bun.CryptoHasher("sha256").update(key).digest("hex"), owner, withdrawn],
    ]);
  add("good", "ann", 0);
  add("old", "bob", 1);

  test("lets pass who has a key that is not withdrawn, and hides the key from the application", async () => {
    const { ask, counts, sent, reached } = app(await apiKey({ database }));
    for (const headers of [{}, { "x-api-key": "bad" }, { "x-api-key": "old" }, { "x-api-key": "" }])
      expect((await ask({ headers })).status).toBe(401);
    expect(reached()).toBe(0);
    expect((await ask({ headers: { "x-api-key": "good" } })).status).toBe(200);
    expect(sent).toEqual([
      ["x-api-key", null],
      ["x-api-key-owner", "ann"],
    ]);
    expect(counts).toEqual(["refused", "refused", "refused", "refused", "passed"]);
  });

  test("a key that is withdrawn counts no more, at once", async () => {
    const { ask } = app(await apiKey({ database, header: "x-key" }));
    add("brief", "eve", 0);
    expect((await ask({ headers: { "x-key": "brief" } })).status).toBe(200);
    keys.run("UPDATE api_keys SET withdrawn = 1 WHERE owner = 'eve'");
    expect((await ask({ headers: { "x-key": "brief" } })).status).toBe(401);
  });

  test("with namespaces: a caller of another one, or in plain text, is refused whatever key it has", async () => {
    const { ask, reached } = app(await apiKey({ database, namespaces: "shop, tools" }));
    const headers = { "x-api-key": "good" };
    for (const peer of [peerOf("other"), null]) expect((await ask({ headers, peer })).status).toBe(403);
    expect(reached()).toBe(0);
    for (const peer of [peerOf("shop"), peerOf("tools")])
      expect((await ask({ headers, peer })).status).toBe(200);
  });

  test("without its database it is not made, so that its document's failure mode decides", () => {
    expect(() => apiKey({ database: join(directory, "none.sqlite") })).toThrow();
  });
});

describe("daily_quota.ts", () => {
  test("counts each user by itself, tells what is left, and forgets nothing at a restart", async () => {
    const config = { database: join(directory, "quota.sqlite"), requests: "2" };
    const first = app(await dailyQuota(config));
    const left = async (made: typeof first, user: MeshRequest["user"]) => {
      const answer = await made.ask({ user });
      return answer.status === 200 ? answer.headers.get("x-quota-left") : answer.status;
    };
    expect([await left(first, userOf("ann")), await left(first, userOf("ann"))]).toEqual(["1", "0"]);
    expect(await left(first, userOf("bob"))).toBe("1");
    const second = app(await dailyQuota(config));
    expect(await left(second, userOf("ann"))).toBe(429);
    expect(second.counts).toEqual(["over"]);
    expect(await left(second, null)).toBeNull();
  });
});

describe("sign_response.ts", () => {
  const keyFile = join(directory, "signing.key");
  writeFileSync(keyFile, `${"0b".repeat(32)}\n`);

  test("who has the key can tell that status, date and content are the service's", async () => {
    const { ask } = app(await signResponse({ keyFile }));
    const answer = await ask();
    const text = await answer.text();
    const signed = `${answer.status}\n${answer.headers.get("date")}\n${text}`;
    const hmac = new Bun.CryptoHasher("sha256", Buffer.alloc(32, 0x0b)).update(signed).digest("base64");
    expect([text, answer.headers.get("x-signature")]).toEqual(["hello", `hmac-sha256=${hmac}`]);
  });

  test.each([8, 9])("of %d bytes, 8 being the most", async (length) => {
    const { ask } = app(await signResponse({ keyFile, maxBytes: "8" }), "x".repeat(length));
    const answer = await ask();
    expect([(await answer.text()).length, answer.headers.has("x-signature")]).toEqual([length, length <= 8]);
  });
});
