/** Rate limits that waypoints share, against a real Redis server: the same verdicts as the algorithm's own, and one count for all. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UpstreamTlsDial } from "../../src/app/node/upstream_tls.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import type { UpstreamTls } from "../../src/mesh/traffic/destination_policy.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { encodePem } from "../../src/pki/der/pem.ts";
import { Forge, type Forged } from "../../src/pki/testing/forge.ts";
import { judge } from "../../src/waypoint/guard/gcra.ts";
import { RedisClient } from "../../src/waypoint/guard/redis_client.ts";
import { takeFromRedis } from "../../src/waypoint/guard/redis_limits.ts";
import { NamedFiles } from "../../src/waypoint/named_files.ts";
import { freePort } from "../control/free_port.ts";
import { eventually, hangMs } from "../peer/lab/eventually.ts";

const program = Bun.which("redis-server");
if (program === null)
  console.log("skipped: rate limits against a real Redis (redis-server is not installed)");

const host = createBunHost();
const directory = mkdtempSync(join(tmpdir(), "fairlead-redis-"));
const port = freePort();
let server: Bun.Subprocess | null = null;

const clients: RedisClient[] = [];
function client(password: string | null = "secret"): RedisClient {
  const made = new RedisClient(host, {
    address: { host: "127.0.0.1", port },
    secure: null,
    password: async () => password,
    database: 1,
    timeoutMs: hangMs,
  });
  clients.push(made);
  return made;
}

async function start(): Promise<void> {
  const options = [
    "--port",
    `${port}`,
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--requirepass",
    "secret",
    "--dir",
    directory,
  ];
  server = Bun.spawn([program ?? "", ...options], { stdout: "ignore", stderr: "ignore" });
  const answers = () =>
    client()
      .command(["PING"])
      .then(
        () => true,
        () => false,
      );
  await eventually("redis-server answers", answers);
}

afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe.skipIf(program === null)("a real Redis", () => {
  beforeAll(start);
  afterAll(async () => {
    for (const each of clients) each.close();
    server?.kill();
    await server?.exited;
  });

  test("two waypoints share one count", async () => {
    const [one, two] = [client(), client()];
    const rate = { requests: 5, periodMs: 600_000, burst: 5 };
    const verdicts = await Promise.all(
      Array.from({ length: 12 }, (_, i) => takeFromRedis(i % 2 === 0 ? one : two, "shared", rate)),
    );
    expect(verdicts.filter(({ allowed }) => allowed)).toHaveLength(5);
    const [refused] = verdicts.filter(({ allowed }) => !allowed);
    expect(refused?.retryAfterMs).toBeGreaterThan(100_000);
    expect(refused?.retryAfterMs).toBeLessThanOrEqual(120_000);
  });

  test("its verdicts are the algorithm's, call by call", async () => {
    const one = client();
    for (const rate of [
      { requests: 1, periodMs: 3_600_000, burst: 1 },
      { requests: 7, periodMs: 3_600_000, burst: 3 },
      { requests: 100, periodMs: 3_600_000, burst: 20 },
    ]) {
      let wholeAt = 0;
      for (let i = 0; i < rate.burst + 3; i++) {
        const judged = judge(rate, wholeAt, 0);
        wholeAt = judged.wholeAt;
        const { allowed, remaining } = await takeFromRedis(one, `same ${rate.requests}`, rate);
        expect({ allowed, remaining }).toEqual({
          allowed: judged.verdict.allowed,
          remaining: judged.verdict.remaining,
        });
      }
    }
  });

  test("a key goes when its allowance is whole", async () => {
    const one = client();
    await takeFromRedis(one, "short", { requests: 10, periodMs: 1_000, burst: 1 });
    const lives = await one.command(["PTTL", "short"]);
    // -1 would be a key that stays for ever; -2 is one that is gone, which a machine that is busy enough may find already.
    expect(lives.kind === "integer" ? lives.value : -1).not.toBe(-1);
    await eventually("the key is gone", async () => {
      const left = await one.command(["EXISTS", "short"]);
      return left.kind === "integer" && left.value === 0;
    });
  });

  test("a wrong password, and a server that goes away, are failures; it is used again when it is back", async () => {
    expect(await message(client("wrong").command(["PING"]))).toContain("refused AUTH");
    const one = client();
    await one.command(["PING"]);
    server?.kill(9);
    await server?.exited;
    expect(await message(one.command(["PING"]))).not.toBe("");
    await start();
    await eventually("the server is used again", async () => (await message(one.command(["PING"]))) === "");
  });
});

describe.skipIf(program === null)("a real Redis that speaks TLS alone", () => {
  const securePort = freePort();
  const { clock, net, files } = host;
  const tlsDial = new UpstreamTlsDial(
    { clock, net, files },
    new NamedFiles(files, directory),
    runtimeProvider(),
  );
  let redis: Bun.Subprocess | null = null;

  const secured = (tls: Partial<UpstreamTls>, name = "127.0.0.1"): RedisClient => {
    const asked: UpstreamTls = {
      ...{ namespace: "shop", mode: "simple", sni: "", caCertificates: "ca.pem", caCrl: null },
      ...{ clientCertificate: null, privateKey: null, subjectAltNames: [], insecureSkipVerify: false },
      location: { file: "limit.yaml", line: 1, column: 1 },
      ...tls,
    };
    const made = new RedisClient(host, {
      address: { host: "127.0.0.1", port: securePort },
      secure: (socket) => tlsDial.secure(socket, asked, name, null),
      password: async () => null,
      database: 0,
      timeoutMs: hangMs,
    });
    clients.push(made);
    return made;
  };
  const mutual = { mode: "mutual", clientCertificate: "client.pem", privateKey: "client-key.pem" } as const;

  beforeAll(async () => {
    const folder = join(directory, "shop");
    mkdirSync(folder, { recursive: true });
    const forge = new Forge(runtimeProvider(), Date.now());
    const [ca, other] = [await forge.ca(), await forge.ca({ subject: "CN=other root" })];
    const put = async (name: string, made: Forged) => {
      const key = new Uint8Array(await crypto.subtle.exportKey("pkcs8", made.keys.privateKey));
      writeFileSync(join(folder, `${name}.pem`), made.pem);
      writeFileSync(join(folder, `${name}-key.pem`), encodePem("PRIVATE KEY", key));
    };
    await put("ca", ca);
    await put("other", other);
    await put("server", await forge.leaf(ca, { uris: [], ipAddresses: ["127.0.0.1"] }));
    await put("client", await forge.leaf(ca));
    const file = (name: string) => join(folder, `${name}.pem`);
    const options = ["--port", "0", "--tls-port", `${securePort}`, "--bind", "127.0.0.1", "--save", ""];
    options.push("--tls-cert-file", file("server"), "--tls-key-file", file("server-key"));
    options.push("--tls-ca-cert-file", file("ca"), "--tls-auth-clients", "yes", "--dir", directory);
    redis = Bun.spawn([program ?? "", ...options], { stdout: "ignore", stderr: "ignore" });
    const answers = async () => (await message(secured(mutual).command(["PING"]))) === "";
    await eventually("redis-server answers", answers);
  });
  afterAll(async () => {
    redis?.kill();
    await redis?.exited;
  });

  test("two waypoints share one count over it", async () => {
    const [one, two] = [secured(mutual), secured(mutual)];
    const rate = { requests: 5, periodMs: 600_000, burst: 5 };
    const verdicts = await Promise.all(
      Array.from({ length: 12 }, (_, i) => takeFromRedis(i % 2 === 0 ? one : two, "shared", rate)),
    );
    expect(verdicts.filter(({ allowed }) => allowed)).toHaveLength(5);
  });

  test("who is not who it should be is not asked, and who shows no certificate gets no answer", async () => {
    expect(await message(secured({ ...mutual, caCertificates: "other.pem" }).command(["PING"]))).toContain(
      "is not trusted as the destination",
    );
    expect(await message(secured(mutual, "redis.example").command(["PING"]))).toContain(
      "its certificate is for",
    );
    expect(await message(secured({}).command(["PING"]))).not.toBe("");
    expect(await message(secured({ ...mutual, caCertificates: "none.pem" }).command(["PING"]))).toContain(
      "none.pem",
    );
  });
});

async function message(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
