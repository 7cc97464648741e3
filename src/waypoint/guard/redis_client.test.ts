import { describe, expect, test } from "bun:test";
import { redisLimits } from "../../base/limits/redis.ts";
import type { Socket } from "../../host/host.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { RedisClient } from "./redis_client.ts";
import { takeFromRedis } from "./redis_limits.ts";

const serverAddress = { ip: "10.0.0.2", port: 6379 };

/** A server that answers each command by `answer`; "" leaves it unanswered. */
function redis(world: MemoryWorld, answer: (command: string) => string) {
  const machine = world.machine("redis", { addresses: [serverAddress.ip] });
  const host = machine.start();
  const sockets: Socket[] = [];
  const commands: string[] = [];
  const listener = host.net.listen({ address: machine.at(serverAddress.port) }, (socket) => {
    sockets.push(socket);
    socket.setHandler({
      onData: (bytes) => {
        const text = new TextDecoder().decode(bytes);
        for (const command of text.split("*").filter((each) => each !== "")) {
          commands.push(command);
          const reply = answer(command);
          if (reply !== "") socket.write(new TextEncoder().encode(reply));
        }
      },
      onDrain: () => {},
      onEnd: () => {},
      onClose: () => {},
    });
  });
  return { sockets, commands, close: () => listener.close() };
}

function scene(answer: (command: string) => string, password: string | null = null) {
  const world = new MemoryWorld(3);
  const server = redis(world, answer);
  const host = world.host("waypoint", { addresses: ["10.0.0.1"] });
  const client = new RedisClient(host, {
    address: { host: serverAddress.ip, port: serverAddress.port },
    secure: null,
    password: async () => password,
    database: password === null ? 0 : 3,
    timeoutMs: 100,
  });
  /** How a command ended, in words. */
  const ask = async (...parts: string[]): Promise<string> => {
    const done = client.command(parts).then(
      (reply) => JSON.stringify(reply),
      (error: Error) => error.message,
    );
    let result: string | null = null;
    done.then((value) => {
      result = value;
    });
    await world.runUntil(() => result !== null, world.nowMs + 60_000);
    return result ?? "nothing";
  };
  return { world, server, client, ask };
}

describe("the Redis client", () => {
  test("commands share a connection, and answers come to whom they belong", async () => {
    const { ask, server } = scene((command) => `+${command.split("\r\n")[2]}\r\n`);
    expect(await Promise.all([ask("A"), ask("B"), ask("C")])).toEqual([
      '{"kind":"text","text":"A"}',
      '{"kind":"text","text":"B"}',
      '{"kind":"text","text":"C"}',
    ]);
    expect(server.sockets).toHaveLength(1);
  });

  test("password and database come first", async () => {
    const { ask, server } = scene(() => "+OK\r\n", "secret");
    await ask("PING");
    expect(server.commands.map((command) => command.split("\r\n")[2])).toEqual(["AUTH", "SELECT", "PING"]);
  });

  test("a wrong password is no answer to a command", async () => {
    const { ask } = scene(
      (command) => (command.includes("AUTH") ? "-WRONGPASS no\r\n" : "-NOAUTH\r\n"),
      "bad",
    );
    expect(await ask("PING")).toContain("refused AUTH: WRONGPASS no");
  });

  test("one that does not answer costs its time once, then nothing until it is tried again", async () => {
    let isSilent = true;
    const { ask, world } = scene(() => (isSilent ? "" : "+OK\r\n"));
    const begun = world.nowMs;
    expect(await ask("PING")).toContain("did not answer within 100 ms");
    expect(world.nowMs - begun).toBeLessThan(110);
    const later = world.nowMs;
    expect(await ask("PING")).toContain("failed a moment ago");
    expect(world.nowMs).toBe(later);
    isSilent = false;
    await world.run(world.nowMs + redisLimits.backoffMaxMs * 2);
    expect(await ask("PING")).toContain("OK");
  });

  for (const [how, go] of [
    ["breaks off", (socket: Socket) => socket.reset()],
    ["ends its side", (socket: Socket) => socket.end()],
  ] as const)
    test(`one that ${how} in the middle fails all that wait at once, and is dialled again later`, async () => {
      const { ask, world, server } = scene((command) => (command.includes("HANG") ? "" : "+OK\r\n"));
      await ask("PING");
      const begun = world.nowMs;
      const hanging = ask("HANG");
      await world.run(world.nowMs + 10);
      const [socket] = server.sockets;
      if (socket !== undefined) go(socket);
      expect(await hanging).toMatch(/closed|reset/);
      // Not by the time that a command has.
      expect(world.nowMs - begun).toBeLessThan(50);
      await world.run(world.nowMs + 10_000);
      expect(await ask("PING")).toContain("OK");
      expect(server.sockets).toHaveLength(2);
    });

  test("nonsense ends the connection", async () => {
    const { ask } = scene(() => "HTTP/1.1 400 Bad Request\r\n\r\n");
    expect(await ask("PING")).toContain("a reply of no known type");
  });

  test("a server that is not there", async () => {
    const { ask, server } = scene(() => "+OK\r\n");
    server.close();
    expect(await ask("PING")).not.toContain("OK");
    expect(await ask("PING")).toContain("failed a moment ago");
  });

  test("commands beyond the bound are refused at once", async () => {
    const { client, world } = scene(() => "");
    const first = client.command(["PING"]).catch(() => {});
    await world.run(world.nowMs + 10);
    const all = Array.from({ length: redisLimits.maxPending }, () =>
      client.command(["PING"]).catch((error: Error) => error.message),
    );
    await world.run(world.nowMs + 1000);
    await first;
    const refused = (await Promise.all(all)).filter((message) => String(message).includes("too many"));
    expect(refused).toHaveLength(1);
  });
});

test("what a broken connection did not take is not said on the next one", async () => {
  const { ask, server, world } = scene((command) => (command.includes("PING") ? "+PONG\r\n" : ""));
  // A server that reads no more: the socket takes a part of it.
  await ask("PING");
  server.sockets[0]?.pause();
  expect(await ask("SET", "x".repeat(4 * 1024 * 1024))).toContain("did not answer within");
  await world.run(world.nowMs + 60_000);
  const before = server.commands.length;
  expect(await ask("PING")).toBe('{"kind":"text","text":"PONG"}');
  expect(server.commands.slice(before)).toEqual(["1\r\n$4\r\nPING\r\n"]);
});

test("a client that is closed says so, and dials no more", async () => {
  const { ask, server, client } = scene(() => "+PONG\r\n");
  await ask("PING");
  client.close();
  expect(await ask("PING")).toContain("closed");
  expect(server.sockets.length).toBe(1);
});

test("a verdict's times are told in microseconds, each in its place", async () => {
  const { client, world, server } = scene(() => "*4\r\n:0\r\n:7\r\n:1500000\r\n:2750000\r\n");
  const verdict = takeFromRedis(client, "k", { requests: 4, periodMs: 1_000, burst: 9 });
  await world.run(world.nowMs + 50);
  expect(await verdict).toEqual({ allowed: false, remaining: 7, retryAfterMs: 1_500, resetMs: 2_750 });
  expect(server.commands.join("*").split("\r\n").slice(-6)).toEqual(["k", "$6", "250000", "$1", "9", ""]);
});

test("an answer that is no verdict is a fault of the server, not a yes", async () => {
  const { client, world } = scene(() => "+OK\r\n");
  let message = "";
  takeFromRedis(client, "k", { requests: 1, periodMs: 1000, burst: 1 }).catch((error: Error) => {
    message = error.message;
  });
  await world.run(world.nowMs + 1000);
  expect(message).toContain("answer to a rate limit is none");
});
