import { describe, expect, test } from "bun:test";
import schemas from "../../docs/schemas/fairlead.json" with { type: "json" };
import { readControlDocument } from "../app/command/control_documents.ts";
import { MeshError } from "../base/errors.ts";
import type { Config } from "../config/node/config.ts";
import { expressionFlaw } from "../waypoint/auth/conditions.ts";
import type { CliBindings, RunRequest, StartedNode } from "./bindings.ts";
import { runCli } from "./program.ts";
import { FakeLive } from "./testing/live.ts";
import { noCapture } from "./testing/no_capture.ts";
import { noControl } from "./testing/no_control.ts";
import { noNames } from "./testing/no_names.ts";
import { noSystem } from "./testing/no_system.ts";

const good = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-frontend, namespace: shop}
spec:
  rules:
  - from:
    - source: {principals: ["cluster.local/ns/shop/sa/frontend"]}
`;

interface Run {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}

interface World {
  readonly environment?: Readonly<Record<string, string>>;
  readonly files?: Readonly<Record<string, string>>;
  /** What the node was asked. */
  readonly asked?: string[];
  readonly answers?: Readonly<Record<string, string>>;
  /** Of each answer; 200 where it is left out. */
  readonly status?: number;
  readonly isTerminal?: boolean;
  readonly startNode?: (config: Config) => Promise<StartedNode>;
  readonly runProgram?: (request: RunRequest) => Promise<number>;
  readonly signals?: { fire: () => void };
}

async function run(words: string, world: World = {}): Promise<Run> {
  let out = "";
  let error = "";
  const bindings: CliBindings = {
    arguments: words.split(" ").filter((word) => word !== ""),
    environment: { HOME: "/h", ...world.environment },
    terminal: {
      isTerminal: world.isTerminal ?? false,
      out: (text) => {
        out += text;
      },
      error: (text) => {
        error += text;
      },
    },
    version: { version: "1.2.3", commit: "abc", runtime: "bun" },
    readText: async (path) => read(world, path),
    readMeshFiles: async (paths) => paths.map((path) => ({ path, text: read(world, path) })),
    readControlDocument: async (part, rootNamespace) => readControlDocument(part, rootNamespace),
    expressionFlaw: async (text) => expressionFlaw(text),
    schemas: async () => schemas,
    startNode: world.startNode ?? (() => Promise.reject(new Error("not to be started"))),
    runProgram: world.runProgram ?? (() => Promise.reject(new Error("no program is to be run"))),
    askAdmin: async (_, method, path) => {
      world.asked?.push(`${method} ${path}`);
      const text = world.answers?.[path];
      if (text === undefined) throw new MeshError("connect_refused", "upstream", "nothing answers");
      return { status: world.status ?? 200, text };
    },
    control: noControl,
    live: new FakeLive(),
    capture: noCapture,
    names: noNames,
    system: noSystem,
    onStopSignal: (listener) => {
      if (world.signals !== undefined) world.signals.fire = listener;
      return () => {};
    },
  };
  return { code: await runCli(bindings), out, error };
}

function read(world: World, path: string): string {
  const text = world.files?.[path];
  if (text === undefined) throw new MeshError("io", "local", `${path}: no such file`);
  return text;
}

describe("fairlead", () => {
  test("without a command it teaches", async () => {
    const { code, out } = await run("");
    expect(code).toBe(0);
    for (const word of ["fairlead up -f mesh/", "validate", "get", "node", "version"])
      expect(out).toContain(word);
  });

  test("every command has help with an example, and colours are for a terminal alone", async () => {
    for (const command of ["up", "node", "validate", "get"]) {
      const { code, out } = await run(`${command} --help`);
      expect(code).toBe(0);
      expect(out).toContain("Examples:");
      expect(out).not.toContain("\u001b[");
    }
    expect((await run("up --help", { isTerminal: true })).out).toContain("\u001b[1m");
  });

  test("help names every setting with its default and its environment name", async () => {
    // How wide the columns are depends on the longest option.
    const out = (await run("up --help")).out.replace(/\s+/g, " ");
    expect(out).toMatch(
      /--hbone-port <PORT> the port by which peers reach this host, and this host reaches them \(default 15008\)/,
    );
    expect(out).toContain("env NODE_NAME");
    expect(out).toContain("-f, --file <PATH...>");
  });

  test("only a command that joins teaches how, and the other says where to", async () => {
    const [up, node] = [(await run("up --help")).out, (await run("node --help")).out];
    for (const words of ["--join-token", "Control plane:"])
      expect([up.includes(words), node.includes(words)]).toEqual([false, true]);
    expect(node).toContain("fairlead node --control https://control.example:15012 --join-token");
    const { code, error } = await run("up -f mesh.yaml --control https://c:1");
    expect(code).toBe(2);
    expect(error).not.toContain("unknown option");
  });

  test("a mistyped command, option or value is an error with a suggestion", async () => {
    const option = await run("up --fiel mesh.yaml");
    expect([option.code, option.error]).toEqual([
      2,
      "error: unknown option '--fiel'\n(Did you mean --file?)\n(--help shows all commands and options)\n",
    ]);
    expect((await run("ups")).code).toBe(2);
    expect((await run("validate a b", {})).error).toContain("no such file");
    const value = await run("up -f mesh.yaml --capture redirct");
    expect([value.code, value.error]).toEqual([
      2,
      '--capture: "redirct" is not one of off, redirect, tproxy; did you mean redirect?\n',
    ]);
  });

  test("version", async () => {
    expect((await run("version")).out).toBe("fairlead 1.2.3 (commit abc, runtime bun)\n");
    expect(JSON.parse((await run("version --json")).out)).toEqual({
      name: "fairlead",
      version: "1.2.3",
      commit: "abc",
      runtime: "bun",
    });
  });
});

describe("fairlead validate", () => {
  test("good documents", async () => {
    const { code, out } = await run("validate good.yaml", { files: { "good.yaml": good } });
    expect([code, out]).toEqual([0, "valid: 1 document in 1 file, 0 errors, 0 warnings\n"]);
  });

  test("an error says file, line, column, the wrong word and the right one, and shows the line", async () => {
    const { code, out } = await run("validate bad.yaml", {
      files: { "bad.yaml": good.replace("{principals", "{namespaces: [shop], princpals") },
    });
    expect(code).toBe(1);
    expect(out).toContain("bad.yaml:7:36: error: AuthorizationPolicy shop/only-frontend: ");
    expect(out).toContain("did you mean principals?");
    expect(out).toContain(
      '     7 |     - source: {namespaces: [shop], princpals: ["cluster.local/ns/shop/sa/frontend"]}\n',
    );
    expect(out).toContain(`       | ${" ".repeat(35)}^^^^^^^^^\n`);
    expect(out).toEndWith("not valid: 1 document in 1 file, 1 error, 0 warnings\n");
  });

  test("what is ignored at layer 4 is a warning, not an error", async () => {
    const layer7 = good.replace("  - from:", "  - to:\n    - operation: {methods: [GET]}\n    from:");
    const { code, out } = await run("validate l7.yaml", { files: { "l7.yaml": layer7 } });
    expect(code).toBe(0);
    expect(out).toContain("warning: AuthorizationPolicy shop/only-frontend: ");
    expect(out).toEndWith("1 warning\n");
  });

  test("an expression in CEL that no waypoint could use is an error at its place", async () => {
    const condition = `apiVersion: fairlead.dev/v1
kind: AccessCondition
metadata: {name: hours, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: api}]
  conditions:
  - expression: request.method == "GET"
  - expression: request.method ==
`;
    const telemetry = (filter: string) => `apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: lines, namespace: shop}
spec:
  accessLogging:
  - filter: {expression: '${filter}'}
`;
    const files = {
      "a.yaml": condition,
      "b.yaml": telemetry("response.code >"),
      "c.yaml": telemetry("true"),
    };
    const { code, out } = await run("validate a.yaml b.yaml c.yaml", { files });
    expect(code).toBe(1);
    expect(out).toContain("a.yaml:8:17: error: AccessCondition shop/hours: the expression cannot be read: ");
    expect(out).toContain("b.yaml:6:26: error: Telemetry shop/lines: the expression cannot be read: ");
    expect(out).not.toContain("c.yaml:6");
  });

  test("--json says the same to a program", async () => {
    const files = { "bad.yaml": good.replace("{principals", "{namespaces: [shop], princpals") };
    const { code, out } = await run("validate --json bad.yaml", { files });
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      valid: false,
      errors: 1,
      findings: [
        {
          severity: "error",
          location: { file: "bad.yaml", line: 7, column: 36 },
          word: "princpals",
          suggestion: "principals",
        },
      ],
    });
  });

  test("--json names every document, and counts count documents: a refused one once", async () => {
    const entry = (name: string) =>
      `---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}, namespace: shop}\nspec: {address: 10.0.0.1}\n`;
    const foreign =
      "---\napiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: web, namespace: shop}\ndata: {}\n";
    const files = { "m.yaml": `${good}${entry("a")}${entry("b")}${foreign}---\n{a: [\n` };
    const { code, out } = await run("validate --json m.yaml", { files });
    expect(code).toBe(1);
    const report: unknown = JSON.parse(out);
    expect(report).toMatchObject({ documents: 5, errors: 3, valid: false });
    expect(report).toMatchObject({
      resources: [
        { resource: "AuthorizationPolicy shop/only-frontend", accepted: true },
        { resource: "WorkloadEntry shop/a", accepted: true, location: { file: "m.yaml" } },
        { resource: "WorkloadEntry shop/b", accepted: false },
        { resource: "Certificate shop/web", accepted: false },
        { resource: null, accepted: false },
      ],
      findings: [
        { resource: "WorkloadEntry shop/b" },
        { resource: "Certificate shop/web" },
        { resource: null },
      ],
    });
    const text = await run("validate m.yaml", { files });
    expect(text.out).toEndWith("not valid: 5 documents in 1 file, 3 errors, 0 warnings\n");
  });

  test("the control plane's own kinds are known: Administrator, TokenIssuer, Grant", async () => {
    const administrator = (role: string) =>
      `---\napiVersion: fairlead.dev/v1\nkind: Administrator\nmetadata: {name: ada}\nspec:\n  role: ${role}\n  subjects: [{identity: "spiffe://cluster.local/ns/shop/sa/ada"}]\n`;
    const issuer = (audiences: string) =>
      `---\napiVersion: fairlead.dev/v1\nkind: TokenIssuer\nspec: {issuer: "https://id.example", audiences: ${audiences}, jwksFile: keys.json}\n`;
    const grant =
      "---\napiVersion: fairlead.dev/v1\nkind: Grant\nmetadata: {name: shop}\nspec: {namespaces: [shop], nodes: [edge-1]}\n";
    const fine = { "m.yaml": `${good}${administrator("mesh-admin")}${issuer("[istio-ca]")}${grant}` };
    const { code, out } = await run("validate --json m.yaml", { files: fine });
    expect(JSON.parse(out)).toMatchObject({
      valid: true,
      documents: 4,
      resources: [
        { resource: "AuthorizationPolicy shop/only-frontend", accepted: true },
        { resource: "Administrator ada", accepted: true },
        { resource: "TokenIssuer https://id.example", accepted: true },
        { resource: expect.stringContaining("Grant"), accepted: true },
      ],
    });
    expect(code).toBe(0);
    const bad = { "m.yaml": `${good}${administrator("emperor")}${issuer("[]")}` };
    const refused = await run("validate m.yaml", { files: bad });
    expect(refused.code).toBe(1);
    expect(refused.out).toContain('m.yaml:13:9: error: Administrator ada: "emperor" is not a role');
    expect(refused.out).toContain("error: TokenIssuer https://id.example: needs an audience\n");
    expect(refused.out).toEndWith("not valid: 3 documents in 1 file, 2 errors, 0 warnings\n");
  });

  test("no document at all is not valid; a missing path is a failure", async () => {
    expect((await run("validate empty.yaml", { files: { "empty.yaml": "" } })).code).toBe(1);
    const missing = await run("validate nowhere");
    expect([missing.code, missing.error]).toEqual([1, "fairlead: nowhere: no such file (io)\n"]);
    expect((await run("validate")).code).toBe(2);
  });
});

const shop = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: frontend, namespace: shop, labels: &a {app: frontend, networking.istio.io/tunnel: http}}
spec: {address: 10.0.0.1, serviceAccount: frontend, labels: *a}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: backend, namespace: shop, labels: &b {app: backend, networking.istio.io/tunnel: http}}
spec: {address: 10.0.0.2, serviceAccount: backend, labels: *b}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: reports, namespace: shop, labels: &c {app: reports, networking.istio.io/tunnel: http}}
spec: {address: 10.0.0.3, serviceAccount: reports, labels: *c}
---
${good}`;

const policyTest = `---
apiVersion: fairlead.dev/v1
kind: PolicyTest
metadata: {name: callers, namespace: shop}
spec:
  tests:
  - to: shop/backend:80
    allowed: [shop/frontend]
    denied: [shop/reports]
`;

describe("fairlead explain", () => {
  test("by documents: who, which policy and rule, where, and what would have to change", async () => {
    const files = { "mesh.yaml": shop };
    const denied = await run("explain -f mesh.yaml --from shop/reports --to shop/backend --port 80", {
      files,
    });
    expect([denied.code, denied.error]).toEqual([1, ""]);
    expect(denied.out).toBe(`denied: shop/reports → shop/backend:80
  identity  spiffe://cluster.local/ns/shop/sa/reports
  route     HBONE (mutual TLS) to the workload
  at        shop/backend 10.0.0.2:80
            denied: no rule of the ALLOW policy shop/only-frontend matches (mesh.yaml:16:1)
  change    rule 0 of shop/only-frontend (mesh.yaml:21:5) would allow it if principals listed "cluster.local/ns/shop/sa/reports" (it has "cluster.local/ns/shop/sa/frontend")
`);
    const allowed = await run("explain -f mesh.yaml --from shop/frontend --to shop/backend:80 --json", {
      files,
    });
    expect([allowed.code, JSON.parse(allowed.out).verdict]).toEqual([0, "allowed"]);
  });

  test("by a node: the question as it is, and the node's words", async () => {
    const asked: string[] = [];
    const answers = {
      "/explain?from=shop%2Fx&to=b.shop&port=80": JSON.stringify({
        verdict: "denied",
        from: "shop/x",
        to: "b.shop:80",
      }),
      "/explain?connection=7": JSON.stringify({
        connection: {
          id: 7,
          direction: "inbound",
          error: "policy_denied: y",
          endedAtMs: 0,
          source: {},
          destination: {},
        },
        now: { because: "allowed by rule 0 of shop/p", change: [], dryRuns: [] },
      }),
    };
    const found = await run("explain --from shop/x --to b.shop --port 80", { asked, answers });
    expect([found.code, found.out.split("\n")[0]]).toEqual([1, "denied: shop/x → b.shop:80"]);
    const past = await run("explain --connection 7", { asked, answers });
    expect([
      past.code,
      past.out.includes("policy_denied: y"),
      past.out.includes("allowed by rule 0 of shop/p"),
    ]).toEqual([0, true, true]);
    expect(asked).toEqual(["GET /explain?from=shop%2Fx&to=b.shop&port=80", "GET /explain?connection=7"]);
  });

  for (const [words, message] of [
    ["explain", "give --from and --to"],
    ["explain --from a/b", "give --from and --to"],
    ["explain --connection 7 --from a/b", "takes no other words"],
    ["explain -f mesh.yaml --from shop/x --to shop/backend:80", "no workload of the mesh is called shop/x"],
    ["explain -f mesh.yaml --from shop/reports --to shop/backend", "give --port"],
    ["explain -f mesh.yaml --control https://c:1 --from a/b --to c/d", "exclude each other"],
    ["explain --from a/b --to c/d --port 65536", "is not a number from 1 to 65535"],
    ["explain --connection x", "is not a number"],
  ] as const)
    test(`${words} is a wrong call`, async () => {
      const found = await run(words, { files: { "mesh.yaml": shop } });
      expect([found.code, found.out]).toEqual([2, ""]);
      expect(found.error).toContain(message);
    });
});

describe("policy tests", () => {
  test("pass, and are counted; without any it is a failure", async () => {
    const good = await run("policy test mesh.yaml", { files: { "mesh.yaml": shop + policyTest } });
    expect([good.code, good.out.endsWith("2 passed, 0 failed\n")]).toEqual([0, true]);
    const none = await run("policy test mesh.yaml", { files: { "mesh.yaml": shop } });
    expect([none.code, none.error]).toEqual([1, "there is no PolicyTest in these files\n"]);
  });

  test("one that fails says where it is and where the policy is; validate refuses it as well", async () => {
    const files = {
      "mesh.yaml":
        shop + policyTest.replace("denied: [shop/reports]", "").replace("[shop/frontend]", "[shop/reports]"),
    };
    for (const words of ["policy test mesh.yaml", "validate mesh.yaml"]) {
      const found = await run(words, { files });
      expect(found.code).toBe(1);
      expect(found.out).toMatch(
        /mesh\.yaml:30:15.*PolicyTest shop\/callers: shop\/reports → shop\/backend:80 must be allowed, and is denied.*mesh\.yaml:16:1/,
      );
    }
    const json = JSON.parse((await run("policy test --json mesh.yaml", { files })).out);
    expect([json.passed, json.failed, json.calls[0].passed]).toEqual([0, 1, false]);
  });

  test("policies that are refused deny, and say so", async () => {
    const files = { "mesh.yaml": shop.replace("principals:", "princpals:") + policyTest };
    const found = await run("policy test mesh.yaml", { files });
    expect([found.code, found.error.includes("princpals")]).toEqual([1, true]);
  });
});

describe("fairlead get", () => {
  const dump = JSON.stringify({
    workloads: [
      {
        namespace: "shop",
        name: "cart",
        workloadIps: ["10.0.0.1", "::1"],
        protocol: "HBONE",
        serviceAccount: "cart",
        status: "Healthy",
      },
      { namespace: "other", name: "evil\u001b[31m", workloadIps: [] },
    ],
  });

  test("a table with columns that line up; a missing field is a dash, and no name moves the cursor", async () => {
    const { code, out } = await run("get workloads", { answers: { "/config_dump": dump } });
    expect(code).toBe(0);
    expect(out.split("\n")).toEqual([
      "NAMESPACE  NAME       ADDRESS       PROTOCOL  SERVICE ACCOUNT  NODE  STATUS   POLICIES",
      "shop       cart       10.0.0.1,::1  HBONE     cart             -     Healthy  -",
      "other      evil?[31m  -             -         -                -     -        -",
      "",
    ]);
  });

  test("an endpoint by name shows its name, and a service its ranges", async () => {
    const named = JSON.stringify({
      workloads: [{ namespace: "shop", name: "db", workloadIps: [], hostname: "db.example" }],
      services: [
        {
          namespace: "shop",
          hostname: "wide",
          vips: ["/10.0.0.9"],
          cidrVips: [{ network: "", cidr: "10.1.0.0/16" }],
        },
      ],
    });
    const answers = { "/config_dump": named };
    expect((await run("get workloads", { answers })).out).toContain("db.example");
    expect((await run("get services", { answers })).out).toContain("/10.0.0.9,10.1.0.0/16");
  });

  test("one namespace, as JSON", async () => {
    const { out } = await run("get workloads -n shop -o json", { answers: { "/config_dump": dump } });
    expect(JSON.parse(out)).toMatchObject([{ name: "cart" }]);
  });

  test("the control plane: is it there, and is the mesh of now", async () => {
    const type = { resources: 3, refused: [{ name: "shop/w", reason: "bad" }] };
    const xds = {
      connected: false,
      attempts: 4,
      sinceMs: 0,
      ready: true,
      current: false,
      error: "refused",
      types: [type, type],
    };
    const node = { identity: "spiffe://td/ns/fairlead-nodes/sa/a", error: null };
    const answers = {
      "/control": JSON.stringify({ control: [{ server: "c:15012", credential: "token", node, xds }] }),
    };
    expect((await run("get control", { answers })).out.split("\n")[1]?.split(/ {2,}/)).toEqual([
      ...["c:15012", "lost", "1970-01-01T00:00:00.000Z", "as last known", node.identity, "6", "2", "refused"],
    ]);
    const none = await run("get control", { answers: { "/control": '{"control":[]}' } });
    expect([none.code, none.out, none.error]).toEqual([0, "", "no control\n"]);
    const joining = {
      "/control": '{"control":[{"server":"c:1","credential":"token","node":null,"xds":null}]}',
    };
    expect((await run("get control", { answers: joining })).out).toMatch(
      /c:1 +opening +- +none yet +token +0 +0/,
    );
  });

  test("the identity socket: for whom, and which", async () => {
    const rules = [
      { uid: 1001, gid: null, identity: "spiffe://a" },
      { uid: 0, gid: 7, identity: "spiffe://b" },
    ];
    const answers = {
      "/identity_socket": JSON.stringify({ sockets: [{ path: "/s", openStreams: 2, rules }] }),
    };
    expect((await run("get identity-socket", { answers })).out).toMatch(
      /^\/s +2 +uid=1001; uid=0,gid=7 +spiffe:\/\/a; spiffe:\/\/b$/m,
    );
  });

  test("traffic is summed over everything but the parties", async () => {
    const labels = (flags: string, version: string) =>
      `reporter="destination",source_workload="frontend",source_workload_namespace="shop",source_version="${version}",destination_workload="backend",destination_workload_namespace="shop",response_flags="${flags}",connection_security_policy="mutual_tls"`;
    const metrics = [
      "# TYPE istio_tcp_connections_opened_total counter",
      `istio_tcp_connections_opened_total{${labels("-", "v1")}} 3`,
      `istio_tcp_connections_opened_total{${labels("-", "v2")}} 4`,
      `istio_tcp_connections_failed_total{${labels("DENY", "v1")}} 2`,
      `istio_tcp_connections_failed_total{${labels("CONNECT", "v1")}} 1`,
      `istio_tcp_received_bytes_total{${labels("-", "v1")}} 100`,
      "process_open_fds 9",
    ].join("\n");
    const { out } = await run("get traffic -o json", { answers: { "/stats/prometheus": metrics } });
    expect(JSON.parse(out)).toEqual([
      {
        reporter: "destination",
        source: "shop/frontend",
        destination: "shop/backend",
        security: "mutual_tls",
        opened: 7,
        denied: 2,
        failed: 1,
        bytesToDestination: 100,
        bytesToSource: 0,
      },
    ]);
  });

  test("no node, no such resource, a wrong address", async () => {
    const refused = await run("get connections");
    expect([refused.code, refused.error]).toEqual([1, "fairlead: nothing answers (connect_refused)\n"]);
    expect((await run("get pods")).code).toBe(2);
    expect((await run("get workloads --admin here")).code).toBe(2);
    expect((await run("get workloads", { answers: { "/config_dump": "<html>" } })).error).toContain(
      "did not answer with JSON",
    );
  });
});

describe("what is asked of a running node", () => {
  test("drain and log-level post what they say", async () => {
    const asked: string[] = [];
    const answers = {
      "/quitquitquit": "shutdown now\n",
      "/logging": "current log level is info\n",
      "/logging?level=debug": "current log level is debug\n",
    };
    const drained = await run("drain", { asked, answers });
    expect([drained.code, drained.out]).toEqual([
      0,
      "the node waits for open connections to finish, then stops\n",
    ]);
    expect((await run("log-level", { asked, answers })).out).toBe("current log level is info\n");
    expect((await run("log-level debug", { asked, answers })).out).toBe("current log level is debug\n");
    expect(asked).toEqual(["POST /quitquitquit", "POST /logging", "POST /logging?level=debug"]);
    expect((await run("log-level loud", { asked, answers })).code).toBe(2);
    expect(asked.length).toBe(3);
  });

  test("a refusal is a failure, with the node's words", async () => {
    const answers = { "/quitquitquit": "not for you\n", "/logging": "not for you\n" };
    for (const [status, code] of [
      [403, "permission_denied"],
      [500, "io"],
    ] as const)
      for (const words of ["drain", "log-level"]) {
        const refused = await run(words, { answers, status });
        expect([refused.code, refused.out, refused.error]).toEqual([
          1,
          "",
          `fairlead: not for you (${code})\n`,
        ]);
      }
  });
});

describe("fairlead up", () => {
  function startable() {
    const asked: string[] = [];
    const configs: Config[] = [];
    const { promise: ended, resolve } = Promise.withResolvers<void>();
    const startNode = async (config: Config): Promise<StartedNode> => {
      configs.push(config);
      return {
        createdAuthority: true,
        trustDomain: "cluster.local",
        control: null,
        localWorkloads: [{ name: "shop/frontend", addresses: ["127.0.1.1"] }],
        ended,
        drain: () => void asked.push("drain"),
        stop: () => {
          asked.push("stop");
          resolve();
        },
      };
    };
    return { asked, configs, startNode };
  }

  test("the first signal drains, the second cuts; the exit code is 0 when it ends in order", async () => {
    const { asked, configs, startNode } = startable();
    const signals = { fire: () => {} };
    const running = run("up -f a.yaml b.yaml --socks5 127.0.0.1:1080", { startNode, signals });
    await Promise.resolve();
    while (configs.length === 0) await Promise.resolve();
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    signals.fire();
    signals.fire();
    expect(await running).toEqual({ code: 0, out: "", error: "" });
    expect(asked).toEqual(["drain", "stop"]);
    expect(configs[0]?.meshPaths).toEqual(["a.yaml", "b.yaml"]);
    expect(configs[0]?.ca).toEqual({ kind: "local", stateDirectory: "/h/.local/state/fairlead" });
  });

  test("a node that cannot start says why", async () => {
    const startNode = () =>
      Promise.reject(new MeshError("address_in_use", "local", "127.0.0.1:15000 is taken"));
    expect(await run("up -f a.yaml", { startNode })).toEqual({
      code: 1,
      out: "",
      error: "fairlead: 127.0.0.1:15000 is taken (address_in_use)\n",
    });
  });

  test("settings come from --config too, and its errors have a place", async () => {
    const files = { "f.yaml": "mesh: [a.yaml]\nnodeNmae: x\n" };
    const { code, error } = await run("up --config f.yaml", { files });
    expect([code, error]).toEqual([2, 'f.yaml:2:1: unknown setting "nodeNmae"; did you mean "nodeName"?\n']);
  });

  test("node joins a mesh that has a CA, and does not make one by accident", async () => {
    const { code, error } = await run("node -f a.yaml");
    expect(code).toBe(2);
    expect(error).toContain("--ca-cert");
  });
});

describe("run", () => {
  const words = "run -f mesh.yaml --as shop/reports";

  test("the program's words are its own, its code is ours, and no port of administration is opened unasked", async () => {
    const requests: RunRequest[] = [];
    const runProgram = async (request: RunRequest) => {
      requests.push(request);
      return 42;
    };
    const ran = await run(`${words} --no-inbound --user www -- curl -s --as x http://backend.shop/`, {
      runProgram,
    });
    expect([ran.code, ran.error]).toEqual([42, ""]);
    expect(requests[0]).toMatchObject({
      as: "shop/reports",
      command: ["curl", "-s", "--as", "x", "http://backend.shop/"],
      inbound: false,
      user: "www",
      config: { admin: null, adminSocket: null, metrics: null, readiness: null, log: { level: "error" } },
    });
    await run(`${words} --admin 127.0.0.1:15999 --log-level info -- true`, { runProgram });
    expect(requests[1]).toMatchObject({
      inbound: true,
      user: null,
      config: { metrics: null, log: { level: "info" } },
    });
    expect(requests[1]?.config.admin?.port).toBe(15999);
  });

  test("what keeps it from starting is 125, which no program is likely to mean, with a way out for a port in use", async () => {
    const failing = (code: "address_in_use" | "permission_denied") => ({
      runProgram: () => Promise.reject(new MeshError(code, "local", "it is so")),
    });
    const inUse = await run(`${words} -- true`, failing("address_in_use"));
    expect([inUse.code, inUse.error]).toEqual([
      125,
      "fairlead run: it is so (address_in_use); with --no-inbound the program runs without being reached by peers\n",
    ]);
    const refused = await run(`${words} -- true`, failing("permission_denied"));
    expect([refused.code, refused.error]).toEqual([125, "fairlead run: it is so (permission_denied)\n"]);
    expect((await run("run --as shop/reports -- true")).code).toBe(125);
    expect((await run("run -f mesh.yaml --as reports -- true")).code).toBe(2);
    expect((await run("run -f mesh.yaml -- true")).code).toBe(2);
    expect((await run(words)).code).toBe(2);
  });
});
