import { describe, expect, test } from "bun:test";
import { parseSocketAddress } from "../../base/ip.ts";
import { adminLimits } from "../../base/limits/admin.ts";
import { upgradeLimits } from "../../base/limits/host.ts";
import type { LogLevel } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { createMetricsApp, createReadinessApp } from "../probes.ts";
import { createAdminApp, createSocketAdminApp, type PortAccess } from "./app.ts";
import type { AdminSources, ConnectionEntry } from "./sources.ts";

const open: PortAccess = { reads: "anyone", socketPath: "/run/fairlead/admin.sock" };

const connection: ConnectionEntry = {
  id: 7,
  direction: "inbound",
  source: {
    address: "10.0.0.1:4000",
    workload: "shop/frontend",
    identity: "spiffe://cluster.local/ns/shop/sa/frontend",
  },
  destination: {
    address: "10.0.0.2:80",
    workload: "shop/backend",
    identity: null,
    hboneAddress: "10.0.0.2:80",
    service: null,
  },
  ageMs: 12,
  bytesSent: 1,
  bytesReceived: 2,
  policy: "shop/only-frontend",
};

const noUpgrades: AdminSources["upgrades"] = {
  status: async () => ({ version: "1.2.3", pid: 7, executable: "/usr/local/bin/fairlead", step: null }),
  run: () => Promise.reject(new Error("not asked for")),
};

function sources(changes: Partial<AdminSources> = {}): AdminSources & { readonly drains: number } {
  let level: LogLevel = "info";
  let drains = 0;
  return {
    meshDump: () => ({ workloads: [{ uid: "w" }], services: [], policies: [] }),
    localWorkloads: () => [
      { uid: "w", name: "backend", namespace: "shop", trustDomain: "cluster.local", serviceAccount: "sa" },
    ],
    config: () => ({ nodeName: "a", admin: parseSocketAddress("127.0.0.1:1") }),
    version: () => ({ version: "1.2.3" }),
    certificates: () => [
      { identity: "spiffe://b", state: "unavailable", error: "no signer", chain: [], roots: [] },
      {
        identity: "spiffe://a",
        state: "available",
        error: null,
        chain: [{ pem: "P", serialNumber: "ff", notBeforeMs: 0, notAfterMs: 86_400_999 }],
        roots: [],
      },
    ],
    connections: () => [connection],
    openConnections: () => 1,
    documents: () => ({ documents: [], errors: [] }),
    explain: async (question) =>
      "connection" in question
        ? { kind: "unclear", message: `connection ${question.connection} is not known` }
        : { kind: "answer", answer: question },
    control: () => null,
    identitySocket: () => null,
    metrics: new MetricRegistry(),
    pending: () => [],
    logLevel: () => level,
    setLogLevel: (wanted) => {
      level = wanted;
    },
    watchRecords: () => () => {},
    confirmCapture: async () => null,
    drain: () => {
      drains++;
    },
    upgrades: noUpgrades,
    get drains() {
      return drains;
    },
    ...changes,
  };
}

function ask(
  app: { request: (path: string, init?: RequestInit) => Response | Promise<Response> },
  path: string,
  init: RequestInit = {},
) {
  return app.request(path, { ...init, headers: { host: "127.0.0.1:15000", ...init.headers } });
}

describe("administration", () => {
  test("a control plane and an identity socket have pages, which are empty without one", async () => {
    const socket = { path: "/s", rules: [], openStreams: 1, secrets: [] };
    const alone = createAdminApp(sources(), open);
    const app = createAdminApp(sources({ identitySocket: () => socket }), open);
    expect(await (await ask(alone, "/control")).json()).toEqual({ control: [] });
    expect(await (await ask(alone, "/identity_socket")).json()).toEqual({ sockets: [] });
    expect(await (await ask(app, "/identity_socket")).json()).toEqual({ sockets: [socket] });
  });

  test("/explain hands on what is asked, and says what is not clear", async () => {
    const app = createAdminApp(sources(), open);
    expect(await (await ask(app, "/explain?from=shop/a&to=shop/b")).json()).toEqual({
      from: "shop/a",
      to: "shop/b",
      port: null,
    });
    expect(await (await ask(app, "/explain?from=a&to=b&port=80")).json()).toEqual({
      from: "a",
      to: "b",
      port: 80,
    });
    const past = await ask(app, "/explain?connection=7");
    expect([past.status, await past.text()]).toEqual([422, "connection 7 is not known\n"]);
    for (const query of ["", "?from=a", "?from=a&to=b&port=x", "?connection=-1"])
      expect((await ask(app, `/explain${query}`)).status).toBe(400);
  });

  test("/config_dump has ztunnel's keys and its form of certificates", async () => {
    const response = await ask(createAdminApp(sources(), open), "/config_dump");
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(await response.json()).toEqual({
      workloads: [{ uid: "w" }],
      services: [],
      policies: [],
      stagedServices: {},
      staticConfig: { workloads: [], policies: [], services: [] },
      version: { version: "1.2.3" },
      config: { nodeName: "a", admin: { ip: "127.0.0.1", port: 1 } },
      certificates: [
        {
          identity: "spiffe://a",
          state: "Available",
          certChain: [
            {
              pem: "UA==",
              serialNumber: "255",
              validFrom: "1970-01-01T00:00:00Z",
              expirationTime: "1970-01-02T00:00:00Z",
            },
          ],
          rootCerts: [],
        },
        { identity: "spiffe://b", state: "Unavailable: no signer", certChain: [], rootCerts: [] },
      ],
      workloadState: {
        w: {
          state: "Up",
          connections: {
            inbound: [
              { src: "10.0.0.1:4000", originalDst: null, actualDst: "10.0.0.2:80", protocol: "HBONE" },
            ],
            outbound: [],
          },
          info: { name: "backend", namespace: "shop", trustDomain: "cluster.local", serviceAccount: "sa" },
        },
      },
    });
  });

  test("/connections lists up to its bound and says how many there are", async () => {
    const openConnections = () => adminLimits.maxListedConnections + 5;
    let looked = 0;
    function* connections() {
      for (; looked < openConnections(); looked++) yield connection;
    }
    const given = sources({ connections, openConnections });
    const body: { total: number; connections: ConnectionEntry[] } = JSON.parse(
      await (await ask(createAdminApp(given, open), "/connections")).text(),
    );
    expect([body.total, looked]).toEqual([openConnections(), adminLimits.maxListedConnections]);
    expect(body.connections).toHaveLength(adminLimits.maxListedConnections);
    expect(body.connections[0]).toEqual(connection);
  });

  const askSocket = (app: ReturnType<typeof createSocketAdminApp>, path: string, init?: RequestInit) =>
    app.fetch(new Request(`http://localhost${path}`, init), { caller: "uid=0,gid=0", isOwner: true });

  describe("/upgrade", () => {
    const done = {
      result: "done",
      from: "1",
      to: "2",
      program: "/p",
      sha256: null,
      pid: 8,
      reason: null,
    } as const;

    function upgradable(step: string | null = null) {
      const asked: unknown[] = [];
      const upgrades: AdminSources["upgrades"] = {
        status: async () => ({ version: "1", pid: 7, executable: "/bin/fairlead", step }),
        run: async (request) => {
          asked.push(request);
          return done;
        },
      };
      const app = createSocketAdminApp(sources({ upgrades }));
      const post = (query: string, isOwner = true) =>
        app.fetch(new Request(`http://localhost/upgrade${query}`, { method: "POST" }), {
          caller: "uid=1000,gid=1000",
          isOwner,
        });
      return { app, asked, post };
    }

    test("gives the place away by POST, and says on the last line how it came out", async () => {
      const { app, asked, post } = upgradable();
      const answer = await post("?program=/p&ready=2000&deadline=5000");
      expect(JSON.parse((await answer.text()).trim().split("\n").at(-1) ?? "")).toEqual(done);
      await (await post("?check=1")).text();
      expect(asked).toEqual([
        { program: "/p", by: "uid=1000,gid=1000", checkOnly: false, readyMs: 2_000, deadlineMs: 5_000 },
        {
          program: null,
          by: "uid=1000,gid=1000",
          checkOnly: true,
          readyMs: upgradeLimits.readyMs,
          deadlineMs: upgradeLimits.drainDeadlineMs,
        },
      ]);
      const shown = await app.fetch(new Request("http://localhost/upgrade"), {
        caller: "uid=1000,gid=1000",
        isOwner: false,
      });
      expect(await shown.json()).toEqual({ version: "1", pid: 7, executable: "/bin/fairlead", step: null });
    });

    test("is for root and the node's own user: a member of the group runs no program as the node", async () => {
      const { asked, post } = upgradable();
      const answer = await post("?program=/p", false);
      expect([answer.status, await answer.text()]).toEqual([
        403,
        "only root and the user of the node may replace it, not uid=1000,gid=1000\n",
      ]);
      expect(asked).toEqual([]);
    });

    test("takes whole paths, and a deadline up to its bound", async () => {
      const { asked, post } = upgradable();
      const longest = upgradeLimits.maxDrainDeadlineMs;
      const latest = upgradeLimits.maxReadyMs;
      for (const query of [
        "?program=p",
        "?deadline=1h",
        "?deadline=-1",
        `?deadline=${longest + 1}`,
        `?ready=${latest + 1}`,
      ])
        expect((await post(query)).status).toBe(400);
      expect(asked).toEqual([]);
      expect((await post(`?deadline=${longest}&ready=${latest}`)).status).toBe(200);
    });

    test("a second one is refused by the name of the first", async () => {
      const { asked, post } = upgradable("an upgrade to /p waits");
      const answer = await post("?program=/q");
      expect([answer.status, await answer.text()]).toEqual([
        409,
        "an upgrade to /p waits; wait for its end\n",
      ]);
      expect(asked).toEqual([]);
    });

    test("what cannot be begun is an outcome too", async () => {
      const upgrades = { ...noUpgrades, run: () => Promise.reject(new Error("from source")) };
      const answer = await askSocket(createSocketAdminApp(sources({ upgrades })), "/upgrade", {
        method: "POST",
      });
      expect(JSON.parse((await answer.text()).trim())).toMatchObject({ result: "refused" });
    });
  });

  test("/logging shows and changes the level on the socket, by POST alone", async () => {
    const app = createSocketAdminApp(sources());
    expect(await (await askSocket(app, "/logging", { method: "POST" })).text()).toBe(
      "current log level is info\n",
    );
    expect(await (await askSocket(app, "/logging?level=debug", { method: "POST" })).text()).toBe(
      "current log level is debug\n",
    );
    const wrong = await askSocket(app, "/logging?level=loud", { method: "POST" });
    expect([wrong.status, await wrong.text()]).toEqual([
      400,
      'invalid level "loud": use debug, info, warn, error\n',
    ]);
    const got = await askSocket(app, "/logging");
    expect([got.status, got.headers.get("allow")]).toEqual([405, "POST"]);
  });

  test("/quitquitquit drains on the socket, by POST alone", async () => {
    const given = sources();
    const app = createSocketAdminApp(given);
    expect((await askSocket(app, "/quitquitquit")).status).toBe(405);
    expect(given.drains).toBe(0);
    expect((await askSocket(app, "/quitquitquit", { method: "POST" })).status).toBe(200);
    expect(given.drains).toBe(1);
  });

  test("/capture/confirm keeps capture on the socket, by POST alone, and says why it cannot", async () => {
    const callers: string[] = [];
    const confirmCapture = async (caller: string) => {
      callers.push(caller);
      return callers.length === 1 ? null : "it is too late";
    };
    const app = createSocketAdminApp(sources({ confirmCapture }));
    expect((await askSocket(app, "/capture/confirm")).status).toBe(405);
    expect((await askSocket(app, "/capture/confirm", { method: "POST" })).status).toBe(200);
    const late = await askSocket(app, "/capture/confirm", { method: "POST" });
    expect([late.status, await late.text()]).toEqual([409, "it is too late\n"]);
    expect(callers.length).toBe(2);
  });

  test("the port changes nothing, and says where changes are made", async () => {
    const given = sources();
    for (const path of ["/quitquitquit", "/logging?level=debug", "/logging", "/capture/confirm"]) {
      for (const method of ["POST", "GET", "PUT"]) {
        const answer = await ask(createAdminApp(given, open), path, { method });
        expect([answer.status, await answer.text()]).toEqual([
          403,
          expect.stringContaining(
            "ask at /run/fairlead/admin.sock (fairlead drain, fairlead log-level, fairlead tap)",
          ),
        ]);
      }
    }
    const without = createAdminApp(given, { ...open, socketPath: null });
    expect(await (await ask(without, "/quitquitquit", { method: "POST" })).text()).toContain(
      "--admin-socket",
    );
    expect([given.drains, given.logLevel()]).toEqual([0, "info"]);
  });

  test("with --admin-reads socket the port tells metrics alone, and the socket everything", async () => {
    const port = createAdminApp(sources(), { ...open, reads: "socket" });
    const socket = createSocketAdminApp(sources());
    const pages = ["/status", "/config_dump", "/connections", "/documents", "/control", "/identity_socket"];
    for (const path of pages) {
      expect([path, (await ask(port, path)).status]).toEqual([path, 403]);
      expect([path, (await ask(port, path, { method: "HEAD" })).status]).toEqual([path, 403]);
      expect([path, (await askSocket(socket, path)).status]).toEqual([path, 200]);
      expect([path, (await ask(createAdminApp(sources(), open), path)).status]).toEqual([path, 200]);
    }
    for (const path of ["/", "/stats/prometheus"]) expect((await ask(port, path)).status).toBe(200);
  });

  test("a web page is refused, by its origin and by the name it used", async () => {
    const given = sources();
    const app = createAdminApp(given, open);
    const page = { method: "POST", headers: { origin: "http://evil.example" } };
    expect((await ask(app, "/quitquitquit", page)).status).toBe(403);
    expect((await ask(app, "/config_dump", { headers: { host: "evil.example:15000" } })).status).toBe(403);
    expect(given.drains).toBe(0);
    // A page that is read changes nothing, and is no business of another page either.
    for (const origin of ["http://evil.example", "null"])
      expect((await ask(app, "/config_dump", { headers: { origin } })).status).toBe(403);
    for (const host of ["localhost:15000", "[::1]:15000", "10.0.0.1:15000", "localhost"])
      expect((await ask(app, "/config_dump", { headers: { host } })).status).toBe(200);
  });

  test.each(["/status", "/config_dump", "/connections", "/stats/prometheus"])(
    "%s tells what workers say now, not what they said last",
    async (path) => {
      let asked = 0;
      const refresh = async () => {
        await Promise.resolve();
        asked++;
      };
      const metrics = new MetricRegistry();
      const gauge = metrics.gauge("asked", "Asked.", []).with({});
      metrics.onCollect(() => gauge.set(asked));
      const given = sources({
        metrics,
        openConnections: () => asked,
        version: () => ({ version: `v${asked}` }),
      });
      const text = await (await ask(createAdminApp({ ...given, refresh }, open), path)).text();
      expect(asked).toBe(1);
      expect(text).toMatch(/"(version|total)": "?v?1"?|^asked 1$/m);
    },
  );

  test("/ lists the paths, anything else is not there", async () => {
    const app = createAdminApp(sources(), open);
    expect(await (await ask(app, "/")).text()).toContain('<a href="config_dump">');
    expect((await ask(app, "/nothing")).status).toBe(404);
  });
});

describe("probes", () => {
  test("metrics come in the format that Accept names, on both of ztunnel's paths", async () => {
    const metrics = new MetricRegistry();
    metrics.counter("opened", "Opened.", []).with({}).add(2);
    const app = createMetricsApp({ metrics });
    const plain = await app.request("/stats/prometheus");
    expect(plain.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await plain.text()).toBe(
      "# HELP opened_total Opened.\n# TYPE opened_total counter\nopened_total 2\n",
    );
    const open = await app.request("/metrics", { headers: { accept: "application/openmetrics-text" } });
    expect(open.headers.get("content-type")).toBe(
      "application/openmetrics-text; version=1.0.0; charset=utf-8",
    );
    expect(await open.text()).toEndWith("opened_total 2\n# EOF\n");
  });

  test("readiness names what it waits for", async () => {
    const waiting = ["documents", "certificates"];
    const app = createReadinessApp({ pending: () => waiting });
    const before = await app.request("/healthz/ready");
    expect([before.status, await before.text()]).toEqual([
      500,
      "not ready, pending: documents, certificates\n",
    ]);
    waiting.length = 0;
    const after = await app.request("/healthz/ready");
    expect([after.status, await after.text()]).toEqual([200, "ready\n"]);
  });
});
