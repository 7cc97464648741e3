import { beforeAll, describe, expect, test } from "bun:test";
import { keySet, signToken, type TestKey, testKey } from "../../src/pki/testing/token_issuer.ts";
import { H2Client, serveH2 } from "./h2_ends.ts";
import type { FlowLab } from "./lab.ts";
import { trackSignatures } from "./tracked_signatures.ts";
import { answering, bytes, ok, type WaypointLab, waypointLab, webService } from "./waypoint_lab.ts";

const issuer = "https://issuer.example";
let key: TestKey;

const worlds = trackSignatures();

beforeAll(async () => {
  key = await testKey("one");
});

async function started(made: Promise<WaypointLab>): Promise<WaypointLab> {
  const mesh = await made;
  worlds.add(mesh.lab);
  return mesh;
}

function document(kind: string, name: string, spec: string, group = "security.istio.io"): string {
  return `apiVersion: ${group}/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: shop}\nspec: ${spec}\n---\n`;
}

const target = "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]";
const tokens = (more = "") =>
  document(
    "RequestAuthentication",
    "tokens",
    `{${target}, jwtRules: [{issuer: "${issuer}", audiences: [shop], jwks: '${keySet(key)}'${more}}]}`,
  );
const policy = (name: string, spec: string) => document("AuthorizationPolicy", name, `{${target}, ${spec}}`);

async function token(lab: WaypointLab, claims: Readonly<Record<string, unknown>> = {}): Promise<string> {
  return await signToken(key, lab.waypoint.host.clock.wallMs(), {
    aud: "shop",
    iss: issuer,
    sub: "ann",
    ...claims,
  });
}

/** One request of a client of its own. @returns status line and the rest of the answer. */
async function ask(mesh: WaypointLab, path = "/", ...headers: readonly string[]): Promise<string> {
  const client = await mesh.call();
  client.socket.write(bytes([`GET ${path} HTTP/1.1`, "Host: web.shop", ...headers, "", ""].join("\r\n")));
  await mesh.lab.until(() => /\r\n\r\n/.test(client.text), "the answer");
  await mesh.lab.run(20);
  client.socket.close();
  return client.text;
}

/** What the operator is told of requests that were refused or cut, in their order. */
function details({ waypoint }: Pick<WaypointLab, "waypoint">): readonly string[] {
  return waypoint
    .access()
    .flatMap(({ message, detail }) =>
      message === "request complete" && typeof detail === "string" ? [detail] : [],
    );
}

const status = (answer: string): number => Number(answer.split(" ")[1]);

async function mesh(documents: string): Promise<WaypointLab> {
  return await started(
    waypointLab(
      webService("HTTP", documents),
      answering((head) => ok(head)),
    ),
  );
}

describe("tokens of end users at a waypoint", () => {
  test("none passes, a good one is taken away, a bad one is 401 with Envoy's words", async () => {
    const world = await mesh(tokens(", outputClaimToHeaders: [{header: x-user, claim: sub}]"));
    const none = await ask(world, "/", "x-user: root", "x-forwarded-client-cert: URI=spiffe://a/b");
    expect(status(none)).toBe(200);
    expect(none).not.toContain("root");
    expect(none).not.toContain("x-forwarded-client-cert");
    const good = await ask(world, "/", `Authorization: Bearer ${await token(world)}`);
    expect(status(good)).toBe(200);
    expect(good).toContain("x-user: ann");
    expect(good).not.toContain("uthorization");
    for (const [claims, words] of [
      [{ exp: 1 }, "Jwt is expired"],
      [{ iss: "https://other.example" }, "Jwt issuer is not configured"],
    ] as const) {
      const bad = await ask(world, "/a?b=c", `Authorization: Bearer ${await token(world, claims)}`);
      expect(status(bad)).toBe(401);
      expect(bad).toContain(words);
      expect(bad).toContain('www-authenticate: Bearer realm="http://web.shop/a", error="invalid_token"');
    }
    expect(
      status(await ask(world, "/", `Authorization: Bearer ${await token(world, { aud: "bank" })}`)),
    ).toBe(403);
    expect(status(await ask(world, `/?access_token=${await token(world)}x`))).toBe(401);
    const param = await ask(world, `/p?a=1&access_token=${await token(world)}&b=2`);
    expect(param).toContain("GET /p?a=1&b=2 HTTP/1.1");
  });

  test("peer and end user are decided together", async () => {
    const world = await mesh(
      tokens() +
        policy(
          "both",
          `rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart], requestPrincipals: ["${issuer}/ann"]}}]}]`,
        ),
    );
    const good = `Authorization: Bearer ${await token(world)}`;
    expect(status(await ask(world, "/", good))).toBe(200);
    const without = await ask(world);
    expect(without).toStartWith("HTTP/1.1 403");
    expect(without).toEndWith("RBAC: access denied");
    expect(status(await ask(world, "/", `Authorization: Bearer ${await token(world, { sub: "bob" })}`))).toBe(
      403,
    );
    // The right user, by a wrong peer.
    world.waypoint.machine.disk.write(
      "/mesh/deny.yaml",
      policy("deny", "action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]"),
    );
    await world.lab.run(1_000);
    expect(status(await ask(world, "/", good))).toBe(403);
    await world.lab.run(100);
    expect(details(world)).toEqual([
      "not allowed by any rule of shop/both (/mesh/base.yaml:44:1)",
      "not allowed by any rule of shop/both (/mesh/base.yaml:44:1)",
      "denied by shop/deny rule 0 (/mesh/deny.yaml:4:105)",
    ]);
  });
});

describe("what is open is decided again", () => {
  async function open(documents: string, authorization: string) {
    let lab: FlowLab | null = null;
    const opening = waypointLab(webService("GRPC", documents), (peer) => {
      if (lab !== null)
        serveH2(made.web.host, peer.socket, ({ stream }) => stream.sendHeaders([":status", "200"], false));
    });
    const made = await started(opening);
    ({ lab } = made);
    const client = new H2Client(made.cart.host, await made.call());
    const call = client.request(
      [
        ...[":method", "POST", ":scheme", "http", ":authority", "web.shop", ":path", "/s/m"],
        ...["content-type", "application/grpc", "te", "trailers"],
        ...(authorization === "" ? [] : ["authorization", authorization]),
      ],
      false,
    );
    await made.lab.until(() => call.said.status === "200", "the stream");
    return { ...made, open: call, wall: () => made.waypoint.host.clock.wallMs() };
  }

  test("a stream ends within a second of its user's token, and not before", async () => {
    const first = await mesh(tokens());
    const start = Math.floor(first.waypoint.host.clock.wallMs() / 1000);
    const made = await open(tokens(), `Bearer ${await token(first, { exp: start + 30 })}`);
    const over = () => made.open.said.resetCode !== null || made.open.said.ended;
    await made.lab.run((start + 30) * 1000 - made.wall() - 50);
    expect(over()).toBe(false);
    await made.lab.run(1_050);
    expect(over()).toBe(true);
    expect(details(made).join()).toContain("the end user's token has expired");
  });

  test("a WebSocket over HTTP/1.1 ends within a second of its user's token", async () => {
    const first = await mesh(tokens());
    const start = Math.floor(first.waypoint.host.clock.wallMs() / 1000);
    const upgraded = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    const made = await started(
      waypointLab(
        webService("HTTP", tokens()),
        answering(() => upgraded),
      ),
    );
    const client = await made.call();
    const head = ["GET /ws HTTP/1.1", "Host: web.shop", "Connection: Upgrade", "Upgrade: websocket"];
    const authorization = `Authorization: Bearer ${await token(first, { exp: start + 30 })}`;
    client.socket.write(bytes([...head, authorization, "", ""].join("\r\n")));
    await made.lab.until(() => client.text.startsWith("HTTP/1.1 101"), "the upgrade");
    client.socket.write(bytes("frame"));
    await made.lab.until(() => made.served[0]?.text.endsWith("frame") === true, "a frame");
    await made.lab.run((start + 30) * 1000 - made.waypoint.host.clock.wallMs() - 50);
    expect(client.closes).toBe(0);
    await made.lab.run(1_050);
    expect(client.closes).toBe(1);
    expect(details(made).join()).toContain("the end user's token has expired");
  });

  test("a stream whose policy goes ends within a second; one that is not touched goes on", async () => {
    const made = await open("", "");
    const over = () => made.open.said.resetCode !== null || made.open.said.ended;
    const write = (spec: string) => made.waypoint.machine.disk.write("/mesh/more.yaml", policy("more", spec));
    write('action: DENY, rules: [{to: [{operation: {paths: ["/other"]}}]}]');
    await made.lab.run(2_000);
    expect(over()).toBe(false);
    write('action: DENY, rules: [{to: [{operation: {paths: ["/s/*"]}}]}]');
    await made.lab.run(1_200);
    expect(over()).toBe(true);
    expect(details(made).join()).toContain("denied by shop/more rule 0 (/mesh/more.yaml:4:");
  });

  test("a stream whose issuer is not believed any more ends", async () => {
    const first = await mesh(tokens());
    const made = await open("", "");
    made.waypoint.machine.disk.write("/mesh/tokens.yaml", tokens());
    await made.lab.run(1_000);
    const client = new H2Client(made.cart.host, await made.call());
    const call = client.request(
      [
        ...[":method", "POST", ":scheme", "http", ":authority", "web.shop", ":path", "/s/m"],
        ...["content-type", "application/grpc", "authorization", `Bearer ${await token(first)}`],
      ],
      false,
    );
    await made.lab.until(() => call.said.status === "200", "the stream with a token");
    made.waypoint.machine.disk.write("/mesh/tokens.yaml", "# nothing\n");
    await made.lab.run(1_500);
    expect(call.said.resetCode !== null || call.said.ended).toBe(true);
    expect(details(made).join()).toContain(`its issuer ${issuer} is not believed here any more`);
    expect(made.open.said.resetCode).toBeNull();
  });
});

describe("what is in doubt is closed", () => {
  test("a policy that was refused denies what it may have been about", async () => {
    const world = await mesh(policy("broken", "acton: DENY"));
    const answer = await ask(world);
    expect(status(answer)).toBe(403);
    expect(world.served.length).toBe(0);
  });

  test("an authorizer that the mesh does not have denies what is to be asked of it, and no more", async () => {
    const world = await mesh(
      policy("ask", 'action: CUSTOM, provider: {name: opa}, rules: [{to: [{operation: {paths: ["/ask"]}}]}]'),
    );
    expect(status(await ask(world, "/ask"))).toBe(403);
    expect(status(await ask(world, "/free"))).toBe(200);
  });

  test("a condition that does not hold, or cannot be worked out, denies", async () => {
    const condition = (expression: string) =>
      document(
        "AccessCondition",
        "c",
        `{${target}, conditions: [{expression: '${expression}'}]}`,
        "fairlead.dev",
      );
    const posture = 'request.headers["x-posture"] == "healthy" && source.service_account == "cart"';
    const world = await mesh(condition(posture));
    expect(status(await ask(world, "/", "x-posture: healthy"))).toBe(200);
    expect(status(await ask(world, "/", "x-posture: ill"))).toBe(403);
    expect(status(await ask(world))).toBe(403);
  });

  test("a connection that is not HTTP goes by what can be said of it", async () => {
    const deny = policy(
      "tcp",
      'action: DENY, rules: [{from: [{source: {principals: ["*/sa/cart"]}}], to: [{operation: {methods: [GET]}}]}]',
    );
    const closed = await waypointLab(webService("TCP", deny), (peer) => peer.socket.write(bytes("hello")));
    const client = await closed.call();
    await closed.lab.until(() => client.closes === 1, "the end");
    expect(client.text).toBe("");
    expect(closed.served.length).toBe(0);
    const allow = policy("tcp", 'rules: [{from: [{source: {principals: ["*/sa/cart"]}}]}]');
    const open = await waypointLab(webService("TCP", allow), (peer) => peer.socket.write(bytes("hello")));
    const other = await open.call();
    await open.lab.until(() => other.text === "hello", "the server's word");
    // It is decided again while it is open.
    open.waypoint.machine.disk.write("/mesh/deny.yaml", deny.replaceAll("name: tcp", "name: late"));
    await open.lab.until(() => other.closes === 1, "its end", 2_500);
  });
});
