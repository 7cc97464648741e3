/** Rate limits that waypoints share, against a real Redis server: the same verdicts as the algorithm's own, and one count for all. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createBunHost } from "../../src/host/bun/host.ts";
import { judge } from "../../src/waypoint/guard/gcra.ts";
import { RedisClient } from "../../src/waypoint/guard/redis_client.ts";
import { takeFromRedis } from "../../src/waypoint/guard/redis_limits.ts";

const program = Bun.which("redis-server");
if (program === null)
  console.log("skipped: rate limits against a real Redis (redis-server is not installed)");

const host = createBunHost();
const directory = mkdtempSync(join(tmpdir(), "fairlead-redis-"));
const port = 20_000 + (process.pid % 20_000);
let server: Bun.Subprocess | null = null;

const clients: RedisClient[] = [];
function client(password: string | null = "secret"): RedisClient {
  const made = new RedisClient(host, {
    address: { host: "127.0.0.1", port },
    password: async () => password,
    database: 1,
    timeoutMs: 5_000,
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
  for (let i = 0; i < 200; i++) {
    const answered = await client()
      .command(["PING"])
      .then(
        () => true,
        () => false,
      );
    if (answered) return;
    await Bun.sleep(50);
  }
  throw new Error("redis-server did not start");
}

describe.skipIf(program === null)("a real Redis", () => {
  beforeAll(start);
  afterAll(() => {
    for (const each of clients) each.close();
    server?.kill();
    rmSync(directory, { recursive: true, force: true });
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
    expect(lives.kind === "integer" ? lives.value : 0).toBeGreaterThan(0);
    for (let i = 0; i < 250; i++) {
      const left = await one.command(["EXISTS", "short"]);
      if (left.kind === "integer" && left.value === 0) return;
      await Bun.sleep(20);
    }
    expect.unreachable("the key is still there");
  });

  test("a wrong password, and a server that goes away, are failures; it is used again when it is back", async () => {
    expect(await message(client("wrong").command(["PING"]))).toContain("refused AUTH");
    const one = client();
    await one.command(["PING"]);
    server?.kill(9);
    await server?.exited;
    expect(await message(one.command(["PING"]))).not.toBe("");
    await start();
    for (let i = 0; i < 200; i++) {
      if ((await message(one.command(["PING"]))) === "") return;
      await Bun.sleep(50);
    }
    expect.unreachable("the server is not used again");
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
