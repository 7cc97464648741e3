/** A crew of workers that do what a test says, on simulated sockets and time. */
import { expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { workerLimits } from "../base/limits/host.ts";
import type { Logger } from "../base/log.ts";
import { rejectionOf } from "../base/testing/rejection.ts";
import type { Socket } from "../host/host.ts";
import { MemoryWorld } from "../host/memory/world.ts";
import { SpiffeId } from "../mesh/identity.ts";
import { policy } from "../policy/testing/policy_fixtures.ts";
import { Crew } from "./crew.ts";
import { writeFrame } from "./frames.ts";
import { NodeLink } from "./link.ts";
import type { Told } from "./messages.ts";

type Take = (told: Told, index: number) => unknown;

/** One process, as the crew and the test have it. */
interface Started {
  readonly index: number;
  readonly link: NodeLink;
  readonly socket: Socket;
  readonly taken: Told[];
  killed: boolean;
  die(how: string): void;
}

function scene(count: number, take: Take = () => null) {
  const world = new MemoryWorld(1);
  const host = world.host("node", { addresses: ["10.0.0.1"] });
  const started: Started[] = [];
  const logged: { readonly message: string; readonly how: unknown }[] = [];
  const logger: Logger = {
    log: (_level, _target, message, fields) => void logged.push({ message, how: fields?.how }),
  };
  const wanted: string[] = [];
  const ended: number[] = [];
  let state: readonly Told[] = [];
  /** Killing takes until a test says so, where it wants to see between. */
  let holdsKills = false;
  const crew = new Crew({
    clock: host.clock,
    random: { float: () => 0.5 },
    logger,
    count,
    start: async () => {
      const [near, far] = await host.net.socketPair();
      const { promise, resolve } = Promise.withResolvers<string>();
      const index = started.length;
      const taken: Told[] = [];
      const link = new NodeLink(far, {
        take: (told) => {
          taken.push(told);
          return take(told, index);
        },
        lost: () => {},
      });
      const one: Started = { index, link, socket: far, taken, killed: false, die: resolve };
      started.push(one);
      return {
        pid: 100 + index,
        socket: near,
        ended: promise,
        kill: () => {
          one.killed = true;
          if (!holdsKills) resolve("by SIGKILL");
        },
      };
    },
    state: (worker) => [{ kind: "begin", worker, of: count, settings: null }, ...state],
    onWant: (id, worker) => {
      wanted.push(id.uri);
      worker.tell({ kind: "no svid", id, reason: "none" });
    },
    onRecord: () => {},
    onEnd: (worker) => void ended.push(worker),
  });
  return {
    ...{ world, host, crew, started, logged, wanted, ended },
    setState: (told: readonly Told[]) => {
      state = told;
    },
    holdKills: () => {
      holdsKills = true;
    },
    at: (index: number): Started => started[index] ?? never(),
    kinds: (index: number) => started[index]?.taken.map(({ kind }) => kind),
  };
}

function never(): never {
  throw new Error("no such worker");
}

const level = (name: "debug" | "warn"): Told => ({ kind: "log level", level: name });
const newPolicy: Told = { kind: "mesh", change: { policies: { upsert: [policy({ name: "new" })] } } };

test("each gets the whole state, serves then, and hears of every change in order", async () => {
  const { world, crew, kinds, setState } = scene(2);
  setState([level("warn")]);
  await world.settle(crew.serving);
  await world.settle(crew.tell(newPolicy));
  for (const index of [0, 1]) expect(kinds(index)).toEqual(["begin", "log level", "serve", "mesh"]);
});

test("what changes before one serves is ahead of serving, and is not waited for", async () => {
  const state = Promise.withResolvers<null>();
  const { world, crew, kinds } = scene(1, (told) => (told.kind === "begin" ? state.promise : null));
  await world.run(1);
  await world.settle(crew.tell(newPolicy));
  expect(kinds(0)).toEqual(["begin"]);
  state.resolve(null);
  await world.settle(crew.serving);
  expect(kinds(0)).toEqual(["begin", "mesh", "serve"]);
});

test("a change is in force in all of them before it is said to be", async () => {
  const slow = Promise.withResolvers<null>();
  const { world, crew } = scene(2, (told, index) =>
    told.kind === "mesh" && index === 1 ? slow.promise : null,
  );
  await world.settle(crew.serving);
  let isInForce = false;
  void crew.tell(newPolicy).then(() => {
    isInForce = true;
  });
  await world.run(world.nowMs + workerLimits.confirmMs / 2);
  expect(isInForce).toBe(false);
  slow.resolve(null);
  await world.run(world.nowMs + 1);
  expect(isInForce).toBe(true);
});

test("one that does not confirm in time is killed, and the change is in force once it is gone; another takes its place", async () => {
  const { world, crew, at, started, kinds, holdKills, logged, ended } = scene(2, (told, index) =>
    told.kind === "mesh" && index === 1 ? new Promise(() => {}) : null,
  );
  await world.settle(crew.serving);
  holdKills();
  let isInForce = false;
  void crew.tell(newPolicy).then(() => {
    isInForce = true;
  });
  await world.run(world.nowMs + workerLimits.confirmMs - 1);
  expect(at(1).killed).toBe(false);
  await world.run(world.nowMs + 2);
  expect([at(1).killed, isInForce]).toEqual([true, false]);
  // Until the process is gone it may still let somebody in.
  let isSecondInForce = false;
  void crew.tell(level("debug")).then(() => {
    isSecondInForce = true;
  });
  await world.run(world.nowMs + 1_000);
  expect([isInForce, isSecondInForce]).toEqual([false, false]);
  at(1).die("by SIGKILL");
  await world.run(world.nowMs + 1);
  expect([isInForce, isSecondInForce]).toEqual([true, true]);
  await world.run(world.nowMs + 1_000);
  expect(started).toHaveLength(3);
  expect(kinds(2)).toEqual(["begin", "serve"]);
  expect(crew.states.map(({ pid, serves }) => [pid, serves])).toEqual([
    [100, true],
    [102, true],
  ]);
  expect(ended).toEqual([1]);
  expect(logged.map(({ how }) => how)).toEqual(["by SIGKILL: it did not confirm in time what it was told"]);
});

test("one that gets on is not killed for a long queue: each has its time from when all before it was in force", async () => {
  const slow: PromiseWithResolvers<null>[] = [];
  const { world, crew, at } = scene(1, (told) => {
    if (told.kind !== "mesh") return null;
    const one = Promise.withResolvers<null>();
    slow.push(one);
    return one.promise;
  });
  await world.settle(crew.serving);
  for (let count = 0; count < 3; count++) void crew.tell(newPolicy);
  for (let taken = 0; taken < 2; taken++) {
    await world.run(world.nowMs + workerLimits.confirmMs - 1);
    slow[taken]?.resolve(null);
    await world.run(world.nowMs);
  }
  await world.run(world.nowMs + workerLimits.confirmMs - 1);
  expect([slow.length, at(0).killed]).toEqual([3, false]);
  await world.run(world.nowMs + 2);
  expect(at(0).killed).toBe(true);
});

test("one that ends takes nothing along: the others go on, and what was told is over with it", async () => {
  const { world, crew, at, kinds } = scene(2, (told, index) =>
    told.kind === "mesh" && index === 0 ? new Promise(() => {}) : null,
  );
  await world.settle(crew.serving);
  const told = crew.tell(newPolicy);
  await world.run(world.nowMs + 1);
  at(0).die("with exit code 1");
  await world.settle(told);
  expect(crew.states.map(({ serves }) => serves)).toEqual([false, true]);
  await world.settle(crew.tell(level("warn")));
  expect(kinds(1)).toEqual(["begin", "serve", "mesh", "log level"]);
});

test("one that ends again and again comes later each time, and at once when it had served for long", async () => {
  const { world, crew, at, started } = scene(1);
  await world.settle(crew.serving);
  const died: number[] = [];
  for (let round = 0; round < 3; round++) {
    at(started.length - 1).die("with exit code 1");
    const before = started.length;
    const fromMs = world.nowMs;
    await world.runUntil(() => started.length > before, 60_000);
    died.push(Math.round(world.nowMs - fromMs));
    await world.run(world.nowMs + 1);
  }
  await world.run(world.nowMs + workerLimits.steadyMs);
  at(started.length - 1).die("with exit code 1");
  const fromMs = world.nowMs;
  const before = started.length;
  await world.runUntil(() => started.length > before, 60_000);
  const { backoffStartMs } = workerLimits;
  expect([...died, Math.round(world.nowMs - fromMs)]).toEqual([
    backoffStartMs,
    2 * backoffStartMs,
    4 * backoffStartMs,
    backoffStartMs,
  ]);
});

test("what one says that cannot be read, or was not asked, ends it", async () => {
  for (const [bytes, how] of [
    [new Uint8Array([0xff, 0xff, 0xff, 0xff]), "cannot be read"],
    [writeFrame({ kind: "done", seq: 77, answer: null }), "confirms what it was not told"],
    [writeFrame({ kind: "sing" }), "cannot be read"],
    [
      writeFrame({ kind: "record", wallMs: 1, level: "info", message: "m", fields: { a: [] } }),
      "cannot be read",
    ],
  ] as const) {
    const { world, crew, at, logged } = scene(1);
    await world.settle(crew.serving);
    at(0).socket.write(bytes);
    await world.run(world.nowMs + 10);
    expect([at(0).killed, `${logged[0]?.how}`]).toEqual([true, expect.stringContaining(how)]);
  }
});

test("one that confirms the second of two things before the first has not understood, and is ended", async () => {
  const { world, crew, at, logged } = scene(1, (told) =>
    told.kind === "log level" ? new Promise(() => {}) : null,
  );
  await world.settle(crew.serving);
  // Its state was one thing, and to serve the second.
  const told = [level("warn"), level("debug")].map((each) => crew.tell(each));
  at(0).socket.write(writeFrame({ kind: "done", seq: 4, answer: null }));
  await world.run(world.nowMs + 10);
  expect(at(0).killed).toBe(true);
  expect(`${logged[0]?.how}`).toContain("confirms what it was not told");
  await world.settle(Promise.all(told));
});

test("a worker that cannot begin says why, and whoever waits for it hears it", async () => {
  const { world, crew } = scene(1, (told) => {
    if (told.kind === "serve") throw new MeshError("address_in_use", "local", "listen on 10.0.0.1:1: in use");
    return null;
  });
  const error = await world.settle(rejectionOf(crew.serving));
  expect(error).toMatchObject({ code: "address_in_use", message: "listen on 10.0.0.1:1: in use" });
});

test("answers are by worker; one that ends instead has none", async () => {
  const { world, crew, at } = scene(2, (told, index) => {
    if (told.kind !== "ask") return null;
    return index === 0 ? { total: 7 } : new Promise(() => {});
  });
  await world.settle(crew.serving);
  const asked = crew.ask("connections");
  await world.run(world.nowMs + 1);
  at(1).die("by SIGSEGV");
  expect(await world.settle(asked)).toEqual(new Map([[0, { total: 7 }]]));
});

test("a wish is answered to who has it", async () => {
  const { world, crew, at, kinds, wanted } = scene(2);
  await world.settle(crew.serving);
  at(0).link.say({ kind: "want", id: new SpiffeId("mesh", "shop", "cart") });
  await world.run(world.nowMs + 1);
  expect(wanted).toEqual(["spiffe://mesh/ns/shop/sa/cart"]);
  expect([kinds(0)?.at(-1), kinds(1)?.at(-1)]).toEqual(["no svid", "serve"]);
});

test("a drain is over when each has ended; one that does not end is killed a little after the deadline", async () => {
  const { world, crew, at, started } = scene(2);
  await world.settle(crew.serving);
  let isOver = false;
  void crew.drain(5_000).then(() => {
    isOver = true;
  });
  await world.run(world.nowMs + 1_000);
  at(0).die("with exit code 0");
  await world.run(world.nowMs + 4_000 + workerLimits.lastMs - 100);
  expect([isOver, at(1).killed]).toEqual([false, false]);
  await world.run(world.nowMs + 200);
  expect([isOver, at(1).killed]).toEqual([true, true]);
  await world.run(world.nowMs + 60_000);
  expect(started).toHaveLength(2);
});

test("one that does not serve yet carries nothing, and no drain waits for it", async () => {
  const { world, crew, at } = scene(1, () => new Promise(() => {}));
  crew.serving.catch(() => {});
  await world.run(1);
  const startedMs = world.nowMs;
  await world.settle(crew.drain(60_000));
  expect([at(0).killed, world.nowMs - startedMs < 1_000]).toEqual([true, true]);
});

test("stopped before they serve, whoever waits for it hears so", async () => {
  const { world, crew, at } = scene(1, () => new Promise(() => {}));
  await world.run(1);
  await world.settle(crew.stop());
  expect(await world.settle(rejectionOf(crew.serving))).toMatchObject({ code: "stopped" });
  expect(at(0).killed).toBe(true);
});

test("a worker that reads nothing is ended at the bound of what waits for it", async () => {
  const { world, crew, at } = scene(1);
  await world.settle(crew.serving);
  at(0).socket.pause();
  const { maxQueuedFrames } = workerLimits;
  const long: Told = { kind: "log level", level: "x".repeat(60_000) as "warn" };
  let told = 0;
  while (!at(0).killed && told <= 2 * maxQueuedFrames) {
    void crew.tell(long);
    told++;
  }
  expect(told).toBeGreaterThan(maxQueuedFrames);
  expect(told).toBeLessThan(maxQueuedFrames + 200);
  await world.run(world.nowMs + 1);
});

test("there are at most so many", () => {
  expect(() => scene(workerLimits.maxWorkers + 1)).toThrow("a number of workers");
  expect(() => scene(workerLimits.maxWorkers)).not.toThrow();
});
