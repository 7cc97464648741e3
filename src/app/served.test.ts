import { beforeEach, describe, expect, test } from "bun:test";
import { hostLimits } from "../base/limits/host.ts";
import { MetricRegistry } from "../base/metrics.ts";
import type { Host } from "../host/host.ts";
import { LogWriter } from "../host/log_writer.ts";
import { MemoryWorld } from "../host/memory/world.ts";
import { type Served, serveProgram } from "./served.ts";

let world: MemoryWorld;
let machines: number;
let givenBack: number;
let isIdle: boolean;
let uncaught: ((thrown: unknown) => void)[];
let lines: string[];

beforeEach(() => {
  world = new MemoryWorld(1);
  machines = 0;
  givenBack = 0;
  isIdle = true;
  uncaught = [];
  lines = [];
});

/** @param started when it has started; now when left out. */
function serve(
  started?: Promise<unknown>,
  more: { readonly isIdle?: () => boolean } = { isIdle: () => isIdle },
) {
  const machine = world.machine(`vm${++machines}`, { addresses: [`10.0.0.${machines}`] }).start();
  const process = {
    ...machine.process,
    giveBackMemory: () => void givenBack++,
    onUncaught: (listener: (thrown: unknown) => void) => {
      uncaught.push(listener);
      return () => void uncaught.splice(uncaught.indexOf(listener), 1);
    },
  };
  const host: Host = { ...machine, process };
  return serveProgram({
    ...{ host, unit: "connection", open: () => {}, ...(started === undefined ? {} : { started }) },
    logger: new LogWriter(host.clock, (text) => lines.push(text) > 0, "text", "error"),
    program: {
      ...{ ...more, metrics: new MetricRegistry(), pending: () => [] },
      ...{ drain: () => Promise.resolve(), stop: () => Promise.resolve() },
    },
    serveHttp: () => {
      throw new Error("it has no ports");
    },
  });
}

const pass = (ms: number) => world.run(world.nowMs + ms);

describe("what only a start needed is given back", () => {
  test("once, when there is nothing to do for the first time", async () => {
    isIdle = false;
    const served = await serve();
    await pass(5 * hostLimits.settledMs);
    expect(givenBack).toBe(0);
    isIdle = true;
    await pass(hostLimits.settledMs + 1);
    expect(givenBack).toBe(1);
    await pass(5 * hostLimits.settledMs);
    expect(givenBack).toBe(1);
    served.stop();
  });

  test("not before the start is over", async () => {
    const started = Promise.withResolvers<void>();
    const served = await serve(started.promise);
    await pass(5 * hostLimits.settledMs);
    expect(givenBack).toBe(0);
    started.resolve();
    await pass(hostLimits.settledMs + 1);
    expect(givenBack).toBe(1);
    served.stop();
  });

  test("not of a program that always has something to do, nor after the end", async () => {
    await serve(undefined, {});
    await pass(5 * hostLimits.settledMs);
    isIdle = false;
    const served: Served = await serve();
    await pass(2.5 * hostLimits.settledMs);
    served.stop();
    await world.settle(served.ended);
    isIdle = true;
    await pass(5 * hostLimits.settledMs);
    expect(givenBack).toBe(0);
  });
});

test("a bug of ours is told with what it ended, as long as the program is there", async () => {
  const served = await serve();
  for (const listener of [...uncaught]) listener(new TypeError("no such thing"));
  await pass(hostLimits.logDelayMs + 1);
  expect(lines.join("")).toMatch(
    /please report this bug of fairlead: it ended one connection.*no such thing/s,
  );
  served.drain();
  await world.settle(served.ended);
  expect(uncaught).toEqual([]);
});
