import { describe, expect, test } from "bun:test";
import { Hono } from "hono";
import { middlewareLimits } from "../../base/limits/middleware.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import type { MiddlewareDocument } from "../../mesh/documents/document.ts";
import type { Exchange } from "../exchange.ts";
import type { OnDone } from "../stages.ts";
import { exchangeOf } from "../testing/exchanges.ts";
import type { Middleware, MiddlewareFactory } from "./middleware_api.ts";
import { Middlewares } from "./middlewares.ts";

const folder = "/etc/fairlead/middleware";

function documentOf(name: string, fields: Partial<MiddlewareDocument> = {}): MiddlewareDocument {
  const location = { file: "mesh.yaml", line: 3, column: 1 };
  return {
    kind: "Middleware",
    metadata: {
      key: `Middleware shop/${name}`,
      name,
      namespace: "shop",
      labels: new Map(),
      annotations: new Map(),
      createdMs: null,
    },
    location,
    warnings: [],
    targetRefs: [],
    file: { value: `${name}.ts`, at: location },
    order: 0,
    timeoutMs: 1000,
    onFailure: "Deny",
    config: new Map(),
    ...fields,
  };
}

async function scene(modules: Readonly<Record<string, MiddlewareFactory>>) {
  const world = new MemoryWorld(1);
  const log: string[] = [];
  const loads: string[] = [];
  const current = { ...modules };
  const host = world.host("waypoint", {
    addresses: ["10.0.0.1"],
    modules: Object.fromEntries(
      Object.keys(modules).map((name) => [
        `${folder}/${name}.ts`,
        () => {
          loads.push(name);
          return { default: current[name] };
        },
      ]),
    ),
  });
  const settle = async (promise: Promise<unknown>) => {
    let isDone = false;
    promise.then(() => {
      isDone = true;
    });
    await world.runUntil(() => isDone, world.nowMs + 100_000);
  };
  await settle(host.files.makeDirectory(folder, 0o755));
  const write = (name: string, text: string) =>
    settle(host.files.writeAtomic(`${folder}/${name}.ts`, new TextEncoder().encode(text), 0o644));
  for (const name of Object.keys(modules)) await write(name, "one");
  const metrics = new MetricRegistry();
  const made = new Middlewares({
    clock: host.clock,
    files: host.files,
    process: host.process,
    logger: {
      log: (_level, _target, message, fields) => log.push(`${message} ${JSON.stringify(fields ?? {})}`),
    },
    metrics,
    folder,
    reply: (c, reply) => c.text(reply.detail, 500),
    traceId: () => "t",
  });
  /** The answer of a chain in front of an application that says "app". */
  const ask = async (exchange: Exchange = exchangeOf()) => {
    const app = new Hono<{ Bindings: Exchange }>();
    for (const stage of made.chain(exchange, { isFor: () => true, scope: () => exchange }))
      app.use(
        (c, next) =>
          new Promise<void>((resolve, reject) => {
            const pass = (onDone: OnDone) => {
              next().then(
                () => onDone(null),
                (thrown: unknown) => onDone({ thrown }),
              );
            };
            stage(c, pass, (error) => (error === null ? resolve() : reject(error.thrown)));
          }),
      );
    let reached = 0;
    app.all("*", (c) => {
      reached++;
      return c.text("app");
    });
    let response: Response | null = null;
    Promise.resolve(app.fetch(new Request("http://cart/"), exchange)).then((value) => {
      response = value;
    });
    await world.runUntil(() => response !== null, world.nowMs + 100_000);
    return { text: await (response as Response | null)?.text(), reached };
  };
  const update = (...documents: MiddlewareDocument[]) => settle(made.update(documents));
  return { world, made, log, loads, current, write, ask, update, metrics, clock: host.clock };
}

const pass: MiddlewareFactory = () => (_c, next) => next();

describe("what a middleware can do", () => {
  test("answer, see who calls, count and log, and change what is sent on", async () => {
    const factory: MiddlewareFactory = (config) => async (c, next) => {
      const { mesh } = c.var;
      mesh.count("seen", 2);
      mesh.log("info", "hello", { from: mesh.peer?.serviceAccount ?? null });
      mesh.setRequestHeader("X-Owner", config.owner ?? "");
      mesh.setRequestHeader("x-secret", null);
      if (mesh.peer?.serviceAccount === "other") return c.text(`no ${mesh.service}`, 403);
      await next();
    };
    const { update, ask, metrics, log } = await scene({ one: factory });
    await update(documentOf("one", { config: new Map([["owner", "ann"]]) }));
    const exchange = exchangeOf({ request: { fields: ["x-secret", "1", "a", "b"] } });
    expect(await ask(exchange)).toEqual({ text: "app", reached: 1 });
    expect(exchange.request.fields).toEqual(["a", "b", "x-owner", "ann"]);
    expect(writeMetrics(metrics, "prometheus")).toContain(
      'fairlead_middleware_events_total{middleware="shop/one",event="seen"} 2',
    );
    expect(log.join()).toContain('hello {"from":"web","name":"shop/one"}');
  });

  test("headers that frame a message, or are none, are refused", async () => {
    for (const [name, value] of [
      ["content-length", "1"],
      ["Host", "x"],
      ["a b", "1"],
      ["a", "1\r\nb: 2"],
    ] as const) {
      const { update, ask } = await scene({
        one: () => async (c, next) => {
          c.var.mesh.setRequestHeader(name, value);
          await next();
        },
      });
      await update(documentOf("one"));
      expect((await ask()).text).toContain("TypeError");
    }
  });

  test("the lower order is the outer one; then the name", async () => {
    const mark =
      (name: string): MiddlewareFactory =>
      () =>
      async (c, next) => {
        order.push(name);
        await next();
        void c;
      };
    const order: string[] = [];
    const { update, ask } = await scene({ a: mark("a"), b: mark("b"), c: mark("c") });
    await update(documentOf("b"), documentOf("a"), documentOf("c", { order: -1 }));
    await ask();
    expect(order).toEqual(["c", "a", "b"]);
  });

  test("counters' names are bounded", async () => {
    const { update, ask, metrics } = await scene({
      one: () => async (c, next) => {
        for (let i = 0; i < middlewareLimits.maxCounters + 10; i++) c.var.mesh.count(`e${i}`);
        await next();
      },
    });
    await update(documentOf("one"));
    await ask();
    const lines = writeMetrics(metrics, "prometheus").split("\n");
    expect(lines.filter((line) => line.startsWith("fairlead_middleware_events_total{"))).toHaveLength(
      middlewareLimits.maxCounters,
    );
  });
});

describe("what a middleware can do wrong", () => {
  const wrong: Readonly<Record<string, Middleware>> = {
    throws: () => {
      throw new Error("oops");
    },
    rejects: async () => {
      throw new Error("oops");
    },
    "does nothing": async () => {},
    hangs: () => new Promise<void>(() => {}),
    "throws behind next": async (_c, next) => {
      await next();
      throw new Error("oops");
    },
    "hangs behind next": async (_c, next) => {
      await next();
      await new Promise<void>(() => {});
    },
    "calls next twice": async (_c, next) => {
      await next();
      await next();
    },
  };
  for (const [what, middleware] of Object.entries(wrong))
    test(`${what}: it is refused or passes without it, as the document says, and is said`, async () => {
      const { update, ask, log, metrics } = await scene({ one: () => middleware });
      await update(documentOf("one"));
      const denied = await ask();
      expect(denied.text).toContain("Middleware shop/one: it ");
      expect(denied.reached).toBeLessThanOrEqual(1);
      await update(documentOf("one", { onFailure: "Continue" }));
      expect(await ask()).toEqual({ text: "app", reached: 1 });
      expect(log.filter((line) => line.startsWith("middleware failed"))).toHaveLength(2);
      expect(writeMetrics(metrics, "prometheus")).toContain('event="failure"} 2');
    });

  test("one that never ends, a hundred times: nothing of those requests is kept", async () => {
    const { update, ask, world } = await scene({ one: () => () => new Promise<void>(() => {}) });
    await update(documentOf("one", { timeoutMs: 10 }));
    const asked: WeakRef<Exchange>[] = [];
    const leave = async () => {
      const exchange = exchangeOf();
      asked.push(new WeakRef(exchange));
      await ask(exchange);
    };
    for (let i = 0; i < 100; i++) await leave();
    await world.run(world.nowMs + 1_000);
    const kept = () => asked.filter((one) => one.deref() !== undefined).length;
    for (let turn = 0; turn < 20 && kept() > 5; turn++) {
      await new Promise<void>((resolve) => setTimeout(resolve, 1));
      Bun.gc(true);
    }
    // Whatever the machine's stack still shows of the last few.
    expect(kept()).toBeLessThanOrEqual(5);
  });

  test("what it does after its time changes nothing", async () => {
    let late: () => void = () => {};
    const { update, ask, world } = await scene({
      one: () => (_c, next) =>
        new Promise<void>((resolve) => {
          late = () => void next().then(resolve);
        }),
    });
    await update(documentOf("one", { onFailure: "Continue" }));
    const answered = await ask();
    late();
    await world.run(world.nowMs + 10);
    expect(answered).toEqual({ text: "app", reached: 1 });
  });

  test("its time is its own: what is behind next may take longer", async () => {
    const { update, ask, clock } = await scene({
      outer: () => async (_c, next) => {
        await next();
      },
      slow: () => async (_c, next) => {
        await new Promise<void>((resolve) => void clock.setTimer(5000, resolve));
        await next();
      },
    });
    await update(
      documentOf("outer", { order: -1, timeoutMs: 100 }),
      documentOf("slow", { timeoutMs: 10_000 }),
    );
    expect(await ask()).toEqual({ text: "app", reached: 1 });
  });
});

describe("files", () => {
  test("one that changed is loaded again, one that did not is not", async () => {
    const { update, ask, loads, current, write, world } = await scene({
      one: () => (c) => c.text("first") as never,
      two: pass,
    });
    await update(documentOf("one"), documentOf("two"));
    expect(await ask()).toMatchObject({ text: "first" });
    current.one = () => (c) => c.text("second") as never;
    await write("one", "two");
    await world.run(world.nowMs + 5000);
    expect(await ask()).toMatchObject({ text: "second" });
    expect(loads).toEqual(["one", "two", "one"]);
  });

  test("a good one that is spoilt stays in force, and its log says so", async () => {
    const { update, ask, current, write, world, log, made } = await scene({
      one: () => (c) => c.text("first") as never,
    });
    await update(documentOf("one"));
    current.one = "no function" as never;
    await write("one", "bad");
    await world.run(world.nowMs + 5000);
    expect(await ask()).toMatchObject({ text: "first" });
    expect(log.join()).toContain("stays in force");
    expect(made.status).toEqual([{ name: "shop/one", error: null }]);
  });

  test("one that never was good refuses, or lets pass", async () => {
    const { update, ask, made } = await scene({ bad: "no function" as never });
    await update(documentOf("bad"));
    expect((await ask()).text).toContain("no default export that is a function");
    await update(documentOf("bad", { onFailure: "Continue" }));
    expect((await ask()).text).toBe("app");
    await update(documentOf("gone"));
    expect((await ask()).reached).toBe(0);
    expect(made.status[0]?.error).not.toBeNull();
  });

  test("no more of one namespace than the bound, one past it refuses rather than being skipped, and another namespace has its own", async () => {
    const names = Array.from(
      { length: middlewareLimits.maxPerNamespace + 1 },
      (_, i) => `m${String(i).padStart(2, "0")}`,
    );
    const { update, ask } = await scene(Object.fromEntries(names.map((name) => [name, pass])));
    const within = names.slice(0, -1).map((name) => documentOf(name));
    const [last = ""] = names.slice(-1);
    const other = documentOf(last, { order: 1 });
    await update(...within, { ...other, metadata: { ...other.metadata, namespace: "bank" } });
    expect((await ask()).text).toBe("app");
    await update(...names.map((name) => documentOf(name)));
    expect((await ask()).text).toContain("are in force already");
  });
});
