import { expect, test } from "bun:test";
import { rejectionOf } from "../src/base/testing/rejection.ts";
import { maxAtATime, nextSuite, runQueue } from "./suite_queue.ts";

const suite = (name: string, cores: number) => ({ name, cores });

test("what there is room for runs beside others, the first of them first", () => {
  const waiting = [suite("whole", 2), suite("half", 1), suite("small", 0.5)];
  expect(nextSuite(waiting, [], 2)?.name).toBe("whole");
  expect(nextSuite(waiting, [suite("another", 2)], 2)).toBeNull();
  expect(nextSuite(waiting, [suite("another", 1)], 2)?.name).toBe("half");
  expect(nextSuite(waiting, [suite("another", 1.5)], 2)?.name).toBe("small");
  const most = Array.from({ length: maxAtATime }, (_, index) => suite(`${index}`, 0.1));
  expect(nextSuite(waiting, most, 2)).toBeNull();
  expect(nextSuite([suite("tenth", 0.1)], [suite("a", 0.7), suite("b", 0.2)], 1)?.name).toBe("tenth");
});

test("on a machine that is too small for one, it runs alone", () => {
  expect(nextSuite([suite("whole", 2)], [], 1)?.name).toBe("whole");
  expect(nextSuite([suite("small", 0.5)], [suite("whole", 2)], 1)).toBeNull();
});

test("all run once, no two in one lane, and never more than there is room for", async () => {
  const all = [0.5, 2, 1, 0.5, 0.5, 0.2, 0.2, 0.2, 1, 2, 0.5].map((cores, index) => suite(`${index}`, cores));
  const running = new Map<string, { readonly cores: number; readonly lane: number }>();
  const ran: string[] = [];
  let together = 0;
  await runQueue(all, 2, async ({ name, cores }, lane) => {
    expect([...running.values()].map((other) => other.lane)).not.toContain(lane);
    expect(lane).toBeLessThan(maxAtATime);
    running.set(name, { cores, lane });
    const sum = [...running.values()].reduce((total, other) => total + other.cores, 0);
    expect(sum).toBeLessThanOrEqual(2);
    together = Math.max(together, running.size);
    await Bun.sleep(Number(name) % 3);
    running.delete(name);
    ran.push(name);
  });
  expect(ran.sort()).toEqual(all.map(({ name }) => name).sort());
  expect(together).toBe(maxAtATime);
});

test("one that throws is told", async () => {
  const run = runQueue([suite("a", 1), suite("b", 1)], 2, ({ name }) =>
    name === "b" ? Promise.reject(new Error("broken")) : Promise.resolve(),
  );
  expect(await rejectionOf(run)).toMatchObject({ message: "broken" });
});
