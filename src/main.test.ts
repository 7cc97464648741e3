/** The program as a process: what an operator types, and what comes back. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostLimits } from "./base/limits/host.ts";

const main = join(import.meta.dir, "main.ts");
const ip = `127.${200 + (process.pid % 50)}.${process.pid % 250}.1`;
const admin = `${ip}:15000`;
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "fairlead-main-"));
  await Bun.write(join(folder, "mesh", "mesh.yaml"), documents);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const documents = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: ${ip}, serviceAccount: cart, labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.shop.mesh]
  addresses: [240.0.0.1]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: cart}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: typo, namespace: shop}
spec: {mtls: {mode: STRIKT}}
`;

function spawn(words: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  return Bun.spawn([process.execPath, main, ...words], {
    env: { PATH: process.env.PATH, HOME: folder, ...environment },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function run(words: readonly string[], environment: Readonly<Record<string, string>> = {}) {
  const child = spawn(words, environment);
  const [out, error] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, out, error };
}

function up(...more: readonly string[]) {
  const places = ["--admin", admin, "--metrics", `${ip}:15020`, "--readiness", `${ip}:15021`];
  return spawn(["up", "-f", join(folder, "mesh"), "--workload", "shop/cart", ...places, ...more]);
}

async function untilReady(): Promise<void> {
  for (const endMs = performance.now() + 60_000; performance.now() < endMs; await Bun.sleep(50)) {
    const response = await fetch(`http://${ip}:15021/healthz/ready`).catch(() => null);
    if (response?.status === 200) return;
  }
  throw new Error("the node does not become ready");
}

describe("a running node", () => {
  let node: ReturnType<typeof up>;
  beforeAll(async () => {
    node = up();
    await untilReady();
  });
  afterAll(() => node.kill("SIGKILL"));

  const shown: readonly (readonly [resource: string, expected: RegExp])[] = [
    ["workloads", new RegExp(`^shop +cart +${ip.replaceAll(".", "\\.")} +HBONE +cart `, "m")],
    ["services", /^shop +cart\.shop\.mesh +\S*240\.0\.0\.1 +80 +1$/m],
    ["policies", /^istio-system +istio_converted_static_strict +DENY +/im],
    ["certificates", /^spiffe:\/\/cluster\.local\/ns\/shop\/sa\/cart +Available +20\d\d-/m],
    ["documents", /^PeerAuthentication shop\/typo +\S+mesh\.yaml:\d+ +false +.*did you mean STRICT/m],
  ];
  for (const [resource, expected] of shown) {
    test(`fairlead get ${resource}`, async () => {
      const { code, out, error } = await run(["get", resource, "--admin", admin]);
      expect(error).toBe("");
      expect(out).toMatch(expected);
      expect(code).toBe(0);
    });
  }

  test("connections and traffic are empty, and say so to people alone", async () => {
    for (const resource of ["connections", "traffic"]) {
      const table = await run(["get", resource, "--admin", admin]);
      expect(table).toEqual({ code: 0, out: "", error: `no ${resource}\n` });
      expect((await run(["get", resource, "--admin", admin, "-o", "json"])).out).toBe("[]\n");
    }
  });

  test("no private key and no address as bytes is in the configuration dump", async () => {
    const text = await (await fetch(`http://${admin}/config_dump`)).text();
    expect(text).not.toContain("PRIVATE");
    expect(text).not.toContain(btoa("-----BEGIN PRIVATE KEY").slice(0, 24));
    expect(text).not.toContain('"bytes"');
    expect(JSON.parse(text).config.ports.hbone).toBe(15008);
  });

  test("metrics are served in both formats", async () => {
    const open = await fetch(`http://${ip}:15020/metrics`, {
      headers: { accept: "application/openmetrics-text" },
    });
    expect(await open.text()).toEndWith("# EOF\n");
    expect(await (await fetch(`http://${ip}:15020/stats/prometheus`)).text()).toContain("# TYPE istio_tcp_");
  });

  test("a second node on the same ports does not start, and says which port", async () => {
    const { code, error } = await run([
      "up",
      "-f",
      join(folder, "mesh"),
      "--workload",
      "shop/cart",
      "--admin",
      admin,
      "--metrics",
      "off",
      "--readiness",
      "off",
    ]);
    expect(code).toBe(1);
    expect(error).toMatch(/fairlead: .*127\..*:\d+.*\(address_in_use\)/);
  });

  test("it drains on SIGTERM and ends with 0", async () => {
    node.kill("SIGTERM");
    expect(await node.exited).toBe(0);
  });
});

test("fairlead drain ends a node in order; a POST to its port does not, nor changes its log level", async () => {
  const node = up("--log-format", "json");
  try {
    await untilReady();
    for (const path of ["quitquitquit", "logging?level=debug"]) {
      const refused = await fetch(`http://${admin}/${path}`, { method: "POST" });
      expect([refused.status, await refused.text()]).toEqual([
        403,
        expect.stringContaining("fairlead drain"),
      ]);
    }
    const level = await run(["log-level", "--admin", admin]);
    expect([level.code, level.out]).toEqual([0, "current log level is info\n"]);
    expect((await run(["log-level", "warn", "--admin", admin])).out).toBe("current log level is warn\n");
    expect((await run(["log-level", "info", "--admin", admin])).code).toBe(0);
    expect((await run(["drain", "--admin", admin])).code).toBe(0);
    expect(await node.exited).toBe(0);
    const lines = (await new Response(node.stdout).text()).trimEnd().split("\n");
    expect(lines.some((line) => JSON.parse(line).message === "asked to drain and stop")).toBe(true);
    for (const line of lines)
      expect(JSON.parse(line)).toMatchObject({ level: expect.any(String), scope: expect.any(String) });
    const gone = await run(["drain", "--admin", admin]);
    expect([gone.code, gone.error]).toEqual([1, expect.stringContaining("no node answers at")]);
  } finally {
    node.kill("SIGKILL");
  }
}, 300_000);

test("with --admin-reads socket, get asks by the socket, and the port tells nothing", async () => {
  const socket = join(folder, "own.sock");
  const node = up("--admin-reads", "socket", "--admin-socket", socket);
  try {
    await untilReady();
    expect((await fetch(`http://${admin}/config_dump`)).status).toBe(403);
    expect((await run(["get", "workloads", "--admin", `unix:${socket}`])).out).toContain("cart");
    const elsewhere = await run(["get", "workloads", "--admin", admin]);
    expect([elsewhere.code, elsewhere.error]).toEqual([1, expect.stringContaining(socket)]);
  } finally {
    node.kill("SIGTERM");
    await node.exited;
  }
}, 300_000);

test("a runtime told to trust anybody is not started", async () => {
  const { code, error } = await run(["up", "-f", folder], { NODE_TLS_REJECT_UNAUTHORIZED: "0" });
  expect(code).toBe(2);
  expect(error).toContain("NODE_TLS_REJECT_UNAUTHORIZED");
});

test("a path without documents is a wrong word, and nothing starts", async () => {
  const { code, error } = await run(["up", "-f", join(folder, "mehs")]);
  expect(code).toBe(1);
  expect(error).toMatch(/^fairlead: .*mehs does not exist \(io\)\n$/);
});

test("validate points at the line", async () => {
  const { code, out } = await run(["validate", join(folder, "mesh")]);
  expect(code).toBe(1);
  expect(out).toContain("mesh.yaml:24:21: error: PeerAuthentication shop/typo: ");
});

// The engine says with each beginning what it was told.
test.if(process.platform === "linux")(
  "what runs for long begins twice, and what carries traffic compiles later",
  async () => {
    const begins = async (...words: readonly string[]) => {
      const { out, error } = await run(words, { BUN_JSC_dumpOptions: "1" });
      const told = [...`${out}${error}`.matchAll(/^ *(dumpOptions|thresholdForJITAfterWarmUp)=(\d+) /gm)];
      const of = (name: string) =>
        told.filter(([, option]) => option === name).map(([, , value]) => Number(value));
      return { times: of("dumpOptions").length, compileAfter: of("thresholdForJITAfterWarmUp") };
    };
    const { compileAfter } = hostLimits;
    expect(await begins("up", "--help")).toEqual({ times: 2, compileAfter: [compileAfter] });
    expect(await begins("node", "--help")).toEqual({ times: 2, compileAfter: [compileAfter] });
    expect(await begins("control", "--help")).toEqual({ times: 2, compileAfter: [] });
    expect(await begins("run", "--help")).toEqual({ times: 1, compileAfter: [] });
  },
);
