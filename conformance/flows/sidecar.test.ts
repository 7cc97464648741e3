/** Sidecar mode (`--l7`): the waypoint's application inside the tunnel of one workload, beside ambient hosts. */
import { describe, expect, test } from "bun:test";
import type { SettingName } from "../../src/config/settings.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { keySet, signToken, testKey } from "../../src/pki/testing/token_issuer.ts";
import { FlowLab, type LabNode, strictMutualTls, withPort, workloadEntry } from "./lab.ts";
import { trackSignatures } from "./tracked_signatures.ts";
import { answering, bytes, ok, waypointEntry } from "./waypoint_lab.ts";

const worlds = trackSignatures();

interface SidecarLab {
  readonly lab: FlowLab;
  /** Ambient, calls `web.shop:80` by its port 8080. */
  readonly cart: LabNode;
  /** Has the application inside. */
  readonly web: LabNode;
  /** What the application of web has served. */
  readonly served: readonly Recorder[];
}

function service(name: string, vip: string, more: { labels?: string; protocol?: string } = {}): string {
  const { labels = "", protocol = "HTTP" } = more;
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop, labels: {${labels}}}
spec:
  hosts: [${name}.shop]
  addresses: [${vip}]
  ports: [{number: 80, name: port, protocol: ${protocol}, targetPort: 8080}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: ${name}}}
---
`;
}

function document(kind: string, name: string, spec: string, group = "security.istio.io"): string {
  return `apiVersion: ${group}/v1\nkind: ${kind}\nmetadata: {name: ${name}, namespace: shop}\nspec: ${spec}\n---\n`;
}

const ofWeb = "selector: {matchLabels: {app: web}}";
const policy = (name: string, spec: string) => document("AuthorizationPolicy", name, `{${spec}}`);
const base = workloadEntry("cart", "10.0.0.1") + workloadEntry("web", "10.0.0.3");

async function sidecarLab(
  documents: string,
  {
    onAccept = answering((head) => ok(head)),
    settings = {},
    services = service("web", "10.88.0.3"),
    listens = "10.0.0.3:8080",
  }: {
    readonly onAccept?: (peer: Recorder) => void;
    readonly settings?: Partial<Record<SettingName, string>>;
    readonly services?: string;
    readonly listens?: string;
  } = {},
): Promise<SidecarLab> {
  const lab = await FlowLab.create();
  worlds.add(lab);
  const mesh = base + services + documents;
  const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=web.shop:80" });
  const web = await lab.node("two", ["10.0.0.3"], mesh, { l7: "shop/web", ...settings });
  return { lab, cart, web, served: lab.application(web.host, listens, onAccept) };
}

function request(path: string, headers: readonly string[] = [], method = "GET"): Uint8Array {
  return bytes([`${method} ${path} HTTP/1.1`, "Host: web.shop", ...headers, "", ""].join("\r\n"));
}

async function say(lab: FlowLab, client: Recorder, said: Uint8Array): Promise<string> {
  client.socket.write(said);
  await lab.until(() => /\r\n\r\n/.test(client.text) || client.closes > 0, "an answer, or the end");
  await lab.run(20);
  client.socket.close();
  return client.text;
}

async function ask(
  { lab, cart }: Pick<SidecarLab, "lab" | "cart">,
  path: string,
  headers: readonly string[] = [],
  method = "GET",
): Promise<string> {
  return await say(lab, await lab.connect(cart.host, "10.0.0.1:8080"), request(path, headers, method));
}

const status = (answer: string): number => Number(answer.split(" ")[1]);

/** The requests that a node has on record, by one of their fields. */
function requests(node: LabNode, name: string): readonly unknown[] {
  return node.access().flatMap((line) => (line.message === "request complete" ? [line[name]] : []));
}

describe("in front of the workload", () => {
  test("policies by selector are enforced as they are written, methods and paths too, and no other host's change", async () => {
    const world = await sidecarLab(
      policy(
        "reads",
        `${ofWeb}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}], to: [{operation: {methods: [GET], paths: ["/items/*"]}}]}]`,
      ),
    );
    expect(status(await ask(world, "/items/1"))).toBe(200);
    expect(await ask(world, "/items/1", [], "POST")).toStartWith("HTTP/1.1 403");
    expect(status(await ask(world, "/items/%2e%2e/admin"))).toBe(403);
    await world.lab.run(100);
    expect(requests(world.web, "detail").slice(1)).toEqual([
      "not allowed by any rule of shop/reads (/mesh/base.yaml:30:1)",
      "not allowed by any rule of shop/reads (/mesh/base.yaml:30:1)",
    ]);
    expect(requests(world.web, "direction")).toEqual(["inbound", "inbound", "inbound"]);
    expect(requests(world.web, "dst.workload")[0]).toBe("web");
    // The same policy at an ambient host: what cannot be enforced there lets nothing pass.
    const lab = await FlowLab.create();
    const mesh =
      base +
      service("web", "10.88.0.3") +
      policy("reads", `${ofWeb}, rules: [{to: [{operation: {methods: [GET]}}]}]`);
    const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=web.shop:80" });
    const web = await lab.node("two", ["10.0.0.3"], mesh);
    lab.application(
      web.host,
      "10.0.0.3:8080",
      answering((head) => ok(head)),
    );
    expect(await ask({ lab, cart }, "/")).toBe("");
  });

  test("what denies by a path denies that path alone", async () => {
    const world = await sidecarLab(
      policy("admin", `${ofWeb}, action: DENY, rules: [{to: [{operation: {paths: ["/admin*"]}}]}]`),
    );
    expect(status(await ask(world, "/"))).toBe(200);
    expect(status(await ask(world, "/admin/x"))).toBe(403);
    expect(world.served.map(({ text }) => text.split(" ")[1])).toEqual(["/"]);
  });

  test("a policy of the namespace, and one of the root namespace, are for it too", async () => {
    const world = await sidecarLab(
      policy("all", 'action: DENY, rules: [{to: [{operation: {paths: ["/a"]}}]}]') +
        policy("mesh", 'action: DENY, rules: [{to: [{operation: {paths: ["/b"]}}]}]').replace(
          "namespace: shop",
          "namespace: istio-system",
        ) +
        policy("other", 'action: DENY, rules: [{to: [{operation: {paths: ["/c"]}}]}]').replace(
          "namespace: shop",
          "namespace: bank",
        ),
    );
    const answers = [await ask(world, "/a"), await ask(world, "/b"), await ask(world, "/c")];
    expect(answers.map(status)).toEqual([403, 403, 200]);
  });

  test("tokens of end users are checked by RequestAuthentications that select it; who calls is told in X-Forwarded-Client-Cert", async () => {
    const key = await testKey("one");
    const issuer = "https://issuer.example";
    const world = await sidecarLab(
      document(
        "RequestAuthentication",
        "tokens",
        `{${ofWeb}, jwtRules: [{issuer: "${issuer}", jwks: '${keySet(key)}', outputClaimToHeaders: [{header: x-user, claim: sub}]}]}`,
      ) + policy("users", `${ofWeb}, rules: [{from: [{source: {requestPrincipals: ["${issuer}/ann"]}}]}]`),
    );
    const token = (claims: Readonly<Record<string, unknown>>) =>
      signToken(key, world.web.host.clock.wallMs(), { iss: issuer, sub: "ann", ...claims });
    const good = await ask(world, "/", [
      `Authorization: Bearer ${await token({})}`,
      "x-forwarded-client-cert: URI=spiffe://a/b",
    ]);
    expect(status(good)).toBe(200);
    expect(good).toContain("x-user: ann");
    expect(good).toContain(
      "x-forwarded-client-cert: By=spiffe://cluster.local/ns/shop/sa/web;URI=spiffe://cluster.local/ns/shop/sa/cart\r\n",
    );
    expect(good).not.toContain("spiffe://a/b");
    expect(status(await ask(world, "/", [`Authorization: Bearer ${await token({ exp: 1 })}`]))).toBe(401);
    expect(status(await ask(world, "/", [`Authorization: Bearer ${await token({ sub: "bob" })}`]))).toBe(403);
    expect(status(await ask(world, "/"))).toBe(403);
  });

  test("a RequestAuthentication that was refused denies what it selects", async () => {
    const broken = (selector: string) =>
      document("RequestAuthentication", "broken", `{${selector}, jwtRules: [{isuer: x}]}`);
    expect(status(await ask(await sidecarLab(broken(ofWeb)), "/"))).toBe(403);
    expect(status(await ask(await sidecarLab(broken("selector: {matchLabels: {app: db}}")), "/"))).toBe(200);
  });

  test("what is for a service without a waypoint is enforced here; what has one had it there", async () => {
    const target = "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]";
    const denied = policy(
      "admin",
      `${target}, action: DENY, rules: [{to: [{operation: {paths: ["/admin"]}}]}]`,
    );
    const limited = document(
      "RateLimit",
      "two",
      `{${target}, rules: [{name: all, limit: {requests: 2, unit: HOUR}}]}`,
      "fairlead.dev",
    );
    const alone = await sidecarLab(denied + limited);
    expect(status(await ask(alone, "/admin"))).toBe(403);
    expect([await ask(alone, "/"), await ask(alone, "/"), await ask(alone, "/")].map(status)).toEqual([
      200, 200, 429,
    ]);
    // Behind a waypoint: the waypoint counts and denies, once.
    const mesh =
      base +
      waypointEntry +
      service("web", "10.88.0.3", { labels: "istio.io/use-waypoint: waypoint" }) +
      denied +
      limited;
    const lab = await FlowLab.create();
    const cart = await lab.node("one", ["10.0.0.1"], mesh, { localPorts: "10.0.0.1:8080=web.shop:80" });
    const waypoint = await lab.node("waypoint", ["10.0.0.9"], mesh, { waypoints: "shop/waypoint" });
    const web = await lab.node("two", ["10.0.0.3"], mesh, { l7: "shop/web" });
    lab.application(
      web.host,
      "10.0.0.3:8080",
      answering((head) => ok(head)),
    );
    const answers = [
      await ask({ lab, cart }, "/admin"),
      await ask({ lab, cart }, "/"),
      await ask({ lab, cart }, "/"),
      await ask({ lab, cart }, "/"),
    ];
    expect(answers.map(status)).toEqual([403, 200, 200, 429]);
    await lab.run(100);
    expect(requests(waypoint, "status")).toEqual([403, 200, 200, 429]);
    expect(requests(web, "status")).toEqual([200, 200]);
    // Around the waypoint the same documents are enforced nowhere else than where L4 policy says; the workload insists by one.
    expect(requests(web, "src.identity")).toEqual(
      Array(2).fill("spiffe://cluster.local/ns/shop/sa/waypoint"),
    );
  });

  test("a Telemetry that selects it says which requests have a line: as a server, and as a client", async () => {
    const telemetry = (app: string, mode: string) =>
      document(
        "Telemetry",
        app,
        `{selector: {matchLabels: {app: ${app}}}, accessLogging: [{match: {mode: ${mode}}, filter: {expression: "response.code >= 400"}}]}`,
        "telemetry.istio.io",
      );
    const denied = policy(
      "admin",
      `${ofWeb}, action: DENY, rules: [{to: [{operation: {paths: ["/admin"]}}]}]`,
    );
    const lines = async (documents: string) => {
      const world = await sidecarLab(denied + documents);
      await ask(world, "/");
      await ask(world, "/admin");
      await world.lab.run(100);
      return requests(world.web, "status");
    };
    expect(await lines(telemetry("web", "SERVER"))).toEqual([403]);
    expect(await lines(telemetry("web", "CLIENT"))).toEqual([200, 403]);
    expect(await lines(telemetry("cart", "SERVER"))).toEqual([200, 403]);
  });

  test("plain text is served where mutual TLS is not demanded, without an identity", async () => {
    const front = { applications: "10.0.0.3:8080=127.0.0.1:9090" };
    const byPeer = policy(
      "by-peer",
      `${ofWeb}, rules: [{to: [{operation: {paths: ["/open"]}}]}, {from: [{source: {namespaces: ["*"]}}]}, {from: [{source: {principals: ["*"]}}]}]`,
    );
    const open = (documents: string) => sidecarLab(documents, { settings: front, listens: "127.0.0.1:9090" });
    const permissive = await open(byPeer);
    const plain = async ({ lab, cart }: SidecarLab, path: string) =>
      await say(lab, await lab.connect(cart.host, "10.0.0.3:8080"), request(path));
    const answer = await plain(permissive, "/open");
    expect(status(answer)).toBe(200);
    expect(answer).not.toContain("x-forwarded-client-cert");
    expect(status(await plain(permissive, "/other"))).toBe(403);
    expect(status(await ask(permissive, "/other"))).toBe(200);
    const strict = await open(byPeer + strictMutualTls);
    expect(await plain(strict, "/open")).toBe("");
    expect(status(await ask(strict, "/open"))).toBe(200);
  });

  test("what is not HTTP goes by what can be said of it, and is decided again while it is open", async () => {
    const world = await sidecarLab("", {
      services: service("web", "10.88.0.3", { protocol: "TCP" }),
      onAccept: (peer) => peer.socket.write(bytes("hello")),
    });
    const client = await world.lab.connect(world.cart.host, "10.0.0.1:8080");
    await world.lab.until(() => client.text === "hello", "the server's word");
    world.web.machine.disk.write(
      "/mesh/late.yaml",
      policy("late", `${ofWeb}, action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]`),
    );
    await world.lab.until(() => client.closes === 1, "its end", 2_500);
    const refused = await world.lab.connect(world.cart.host, "10.0.0.1:8080");
    await world.lab.until(() => refused.closes === 1, "the end of another");
    expect(refused.text).toBe("");
  });

  test("an open request ends when its policy goes, and requests share connections to the application", async () => {
    let answers = 0;
    const world = await sidecarLab("", {
      onAccept: answering((head) => {
        answers++;
        return head.startsWith("GET /slow") ? "" : ok("x");
      }),
    });
    await ask(world, "/a");
    await ask(world, "/b");
    expect(answers).toBe(2);
    expect(world.served.length).toBe(1);
    const client = await world.lab.connect(world.cart.host, "10.0.0.1:8080");
    client.socket.write(request("/slow"));
    await world.lab.until(() => answers === 3, "the request");
    world.web.machine.disk.write(
      "/mesh/late.yaml",
      policy("late", `${ofWeb}, action: DENY, rules: [{to: [{operation: {paths: ["/slow"]}}]}]`),
    );
    await world.lab.until(() => client.text !== "" || client.closes > 0, "the refusal", 2_500);
    await world.lab.run(100);
    expect(String(requests(world.web, "detail").at(-1))).toContain("denied by shop/late rule 0");
  });
});

describe("after the workload", () => {
  const versions = (name: string, version: string, address: string) =>
    `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: shop
  labels: {app: web, version: ${version}}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {address: ${address}, serviceAccount: web}
---
`;
  const rules = (namespace: string, match: string) => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web.shop
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: ${namespace}}
spec:
  hosts: [web.shop]
  http:
  - match: [${match}]
    route: [{destination: {host: web.shop, subset: v2}}]
  - route: [{destination: {host: web.shop, subset: v1}}]
    retries: {attempts: 2, retryOn: "5xx"}
---
`;
  const mesh = (extra: string, labels = "") =>
    workloadEntry("cart", "10.0.0.1") +
    versions("one", "v1", "10.0.0.3") +
    versions("two", "v2", "10.0.0.4") +
    service("web", "10.88.0.3", { labels }) +
    extra;

  async function clientLab(
    documents: string,
    onAccept: Readonly<Record<string, (peer: Recorder) => void>> = {},
    waypoint = false,
  ) {
    const lab = await FlowLab.create();
    const cart = await lab.node("one", ["10.0.0.1"], documents, {
      localPorts: "10.0.0.1:8080=web.shop:80",
      l7: "shop/cart",
    });
    const through = waypoint
      ? await lab.node("waypoint", ["10.0.0.9"], documents, { waypoints: "shop/waypoint" })
      : null;
    const servers: LabNode[] = [];
    for (const address of ["10.0.0.3", "10.0.0.4"]) {
      const node = await lab.node(`at ${address}`, [address], documents);
      servers.push(node);
      lab.application(
        node.host,
        withPort(address, 8080),
        onAccept[address] ?? answering(() => ok(`by ${address}`)),
      );
    }
    return { lab, cart, through, servers };
  }

  test("requests are routed by their headers, retried, and counted as their sender's", async () => {
    let tries = 0;
    const world = await clientLab(mesh(rules("shop", "{headers: {x-tester: {exact: 'yes'}}}")), {
      "10.0.0.3": answering(() =>
        ++tries % 2 === 1 ? "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n" : ok("by 10.0.0.3"),
      ),
    });
    expect(await ask(world, "/", ["x-tester: yes"])).toEndWith("by 10.0.0.4");
    expect(await ask(world, "/")).toEndWith("by 10.0.0.3");
    expect(tries).toBe(2);
    await world.lab.run(100);
    expect(requests(world.cart, "direction")).toEqual(["outbound", "outbound"]);
    expect(requests(world.cart, "attempts")).toEqual([1, 2]);
    const inbound = world.servers.flatMap(({ node }) =>
      [...node.context.connections].map(({ record }) => record.parties.source.identity?.uri),
    );
    expect(new Set(inbound)).toEqual(new Set(["spiffe://cluster.local/ns/shop/sa/cart"]));
  });

  test("labels of the caller are known; what another namespace says of a service is not its callers' route", async () => {
    const own = await clientLab(mesh(rules("shop", "{sourceLabels: {app: cart}}")));
    expect(await ask(own, "/")).toEndWith("by 10.0.0.4");
    const others = await clientLab(mesh(rules("shop", "{sourceLabels: {app: other}}")));
    expect(await ask(others, "/")).toEndWith("by 10.0.0.3");
    const foreign = await clientLab(
      mesh(rules("bank", "{uri: {prefix: /}}").replace("subset: v1}}]", "subset: v2}}]")),
    );
    const seen = new Set<string>();
    for (let i = 0; i < 12; i++) seen.add((await ask(foreign, "/")).slice(-8));
    expect(seen.size).toBe(2);
  });

  test("a service that has a waypoint is routed there, and there alone", async () => {
    const documents = mesh(
      waypointEntry + rules("shop", "{headers: {x-tester: {exact: 'yes'}}}"),
      "istio.io/use-waypoint: waypoint",
    );
    const world = await clientLab(documents, {}, true);
    expect(await ask(world, "/", ["x-tester: yes"])).toEndWith("by 10.0.0.4");
    await world.lab.run(100);
    expect(requests(world.cart, "status")).toEqual([]);
    expect(world.through === null ? [] : requests(world.through, "status")).toEqual([200]);
  });

  test("a route that leads to a service with a waypoint goes through it", async () => {
    const documents =
      mesh(
        waypointEntry +
          workloadEntry("shelf", "10.0.0.8") +
          service("shelf", "10.88.0.8") +
          `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shelf, namespace: shop}
spec:
  hosts: [shelf.shop]
  http: [{route: [{destination: {host: web.shop}}]}]
---
`,
        "istio.io/use-waypoint: waypoint",
      ) +
      policy(
        "no-post",
        "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}], action: DENY, rules: [{to: [{operation: {methods: [POST]}}]}]",
      );
    const lab = await FlowLab.create();
    const cart = await lab.node("one", ["10.0.0.1"], documents, {
      localPorts: "10.0.0.1:8080=shelf.shop:80",
      l7: "shop/cart",
    });
    const waypoint = await lab.node("waypoint", ["10.0.0.9"], documents, { waypoints: "shop/waypoint" });
    for (const address of ["10.0.0.3", "10.0.0.4"]) {
      const node = await lab.node(`at ${address}`, [address], documents);
      lab.application(
        node.host,
        withPort(address, 8080),
        answering(() => ok("by web")),
      );
    }
    expect(await ask({ lab, cart }, "/")).toEndWith("by web");
    expect(status(await ask({ lab, cart }, "/", [], "POST"))).toBe(403);
    await lab.run(100);
    expect(requests(cart, "status")).toEqual([200, 403]);
    expect(requests(waypoint, "status")).toEqual([200, 403]);
  });

  test("no policy is asked about its own calls, and its tokens go on as they are", async () => {
    const heads: string[] = [];
    const world = await clientLab(
      mesh(
        policy("nothing", "selector: {matchLabels: {app: cart}}") +
          document("RequestAuthentication", "tokens", "{jwtRules: [{issuer: x, jwks: '{\"keys\": []}'}]}"),
      ),
      Object.fromEntries(
        ["10.0.0.3", "10.0.0.4"].map((address) => [
          address,
          answering((head) => {
            heads.push(head);
            return ok("x");
          }),
        ]),
      ),
    );
    expect(status(await ask(world, "/", ["Authorization: Bearer a.b.c"]))).toBe(200);
    expect(heads[0]).toContain("uthorization: Bearer a.b.c");
  });
});
