import { beforeEach, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { Clock } from "../../host/host.ts";
import { Names } from "./names.ts";

const ip = (text: string): IpAddress => {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(text);
  return parsed;
};

let nowMs: number;
let timers: { readonly atMs: number; readonly callback: () => void }[];
let asked: { readonly name: string; answer(found: readonly IpAddress[] | MeshError): void }[];
let names: Names;

beforeEach(() => {
  nowMs = 0;
  timers = [];
  asked = [];
  const clock = {
    now: () => nowMs,
    setTimer: (delayMs: number, callback: () => void) => {
      const timer = { atMs: nowMs + delayMs, callback };
      timers.push(timer);
      return {
        cancel: () => {
          timers = timers.filter((other) => other !== timer);
        },
      };
    },
  } as Clock;
  names = new Names(clock, {
    resolve: (name) =>
      new Promise((resolve, reject) => {
        asked.push({
          name,
          answer: (found) => (found instanceof MeshError ? reject(found) : resolve(found)),
        });
      }),
  });
});

function wait(ms: number): void {
  nowMs += ms;
  for (const timer of timers.filter(({ atMs }) => atMs <= nowMs)) timer.callback();
}

const unknown = () => new MeshError("name_not_found", "upstream", "no such name");
const texts = (found: readonly IpAddress[]) => found.map(({ text }) => text);

test("all who ask at one time ask once, and what was found is kept for a while", async () => {
  const first = names.resolve("A.example");
  const second = names.resolve("a.example");
  expect(asked.map(({ name }) => name)).toEqual(["a.example"]);
  asked[0]?.answer([ip("192.0.2.1")]);
  expect([texts(await first), texts(await second)]).toEqual([["192.0.2.1"], ["192.0.2.1"]]);
  nowMs += proxyLimits.nameKeptMs - 1;
  const again = names.resolve("a.example");
  expect(asked.length).toBe(1);
  expect(texts(await again)).toEqual(["192.0.2.1"]);
  nowMs += 1;
  void names.resolve("a.example");
  expect(asked.length).toBe(2);
});

test("a name that leads nowhere can be asked for again at once", async () => {
  const first = names.resolve("a.example");
  asked[0]?.answer([ip("192.0.2.1")]);
  await first;
  names.forget("A.EXAMPLE");
  void names.resolve("a.example");
  expect(asked.length).toBe(2);
});

test.each([
  ["that there is no such name", unknown()],
  ["that it has no address", []],
])("%s is kept shortly", async (_what, answer) => {
  const first = names.resolve("nowhere.example");
  asked[0]?.answer(answer);
  expect(await rejectionOf(first)).toMatchObject({ code: "name_not_found" });
  const again = names.resolve("nowhere.example");
  expect(asked.length).toBe(1);
  expect(await rejectionOf(again)).toMatchObject({ code: "name_not_found" });
  nowMs += proxyLimits.nameFailureKeptMs;
  void names.resolve("nowhere.example").catch(() => {});
  expect(asked.length).toBe(2);
});

test("a resolver that does not answer is waited for so long and no longer", async () => {
  const first = names.resolve("slow.example");
  wait(proxyLimits.nameTimeoutMs - 1);
  wait(1);
  expect(await rejectionOf(first)).toMatchObject({
    code: "name_not_found",
    message: "slow.example was not resolved in 5 s",
  });
  asked[0]?.answer([ip("192.0.2.1")]);
});

test("so many are asked for at one time; one that no caller waits for counts until it is answered", async () => {
  for (let index = 0; index < proxyLimits.maxLookups; index++)
    names.resolve(`n${index}.example`).catch(() => {});
  expect(asked.length).toBe(proxyLimits.maxLookups);
  const one = names.resolve("more.example");
  expect(asked.length).toBe(proxyLimits.maxLookups);
  expect(await rejectionOf(one)).toMatchObject({ code: "limit_reached", blame: "local" });
  wait(proxyLimits.nameTimeoutMs);
  expect(await rejectionOf(names.resolve("more.example"))).toMatchObject({ code: "limit_reached" });
  asked[0]?.answer([ip("192.0.2.1")]);
  for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  const more = names.resolve("more.example");
  asked.at(-1)?.answer([ip("192.0.2.2")]);
  expect(texts(await more)).toEqual(["192.0.2.2"]);
});

test("so many names are kept, the oldest goes", async () => {
  for (let index = 0; index <= proxyLimits.maxNames; index++) {
    const found = names.resolve(`n${index}.example`);
    asked.at(-1)?.answer([ip("192.0.2.1")]);
    await found;
    asked.splice(0);
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  }
  void names.resolve("n1.example");
  expect(asked.length).toBe(0);
  void names.resolve("n0.example");
  expect(asked.length).toBe(1);
});
