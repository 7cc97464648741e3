import { expect, test } from "bun:test";
import { silentLogger } from "../base/log.ts";
import type { Host } from "../host/host.ts";
import { MemoryWorld } from "../host/memory/world.ts";
import { notifySystemd } from "./sd_notify.ts";

function world(environment: Readonly<Record<string, string>>) {
  const w = new MemoryWorld(1);
  const host = w.host("node", { addresses: ["10.0.0.1"] });
  const said: string[] = [];
  const net = {
    openDatagrams: (to: string) => {
      said.push(`to ${to}`);
      return {
        send: (bytes: Uint8Array) =>
          said.push(new TextDecoder().decode(bytes).trim().replaceAll("\n", " ")) > 0,
        close: () => {},
      };
    },
  };
  const seen = {
    clock: host.clock,
    net,
    process: { ...host.process, environment, pid: 42 },
  } as unknown as Host;
  return { w, seen, said };
}

test("readiness, status and the end are told, each when it is so", async () => {
  const { w, seen, said } = world({ NOTIFY_SOCKET: "/run/systemd/notify" });
  let pending = ["certificate of shop/cart"];
  const notifier = notifySystemd(seen, silentLogger, () => pending);
  await w.run(w.nowMs + 2_000);
  expect(said).toEqual(["to /run/systemd/notify", "STATUS=waits for certificate of shop/cart"]);
  pending = [];
  await w.run(w.nowMs + 2_000);
  expect(said.at(-1)).toBe("READY=1 STATUS=ready");
  pending = ["capture rules"];
  await w.run(w.nowMs + 2_000);
  expect(said.at(-1)).toBe("STATUS=waits for capture rules");
  pending = [];
  await w.run(w.nowMs + 2_000);
  // A service becomes ready once; what comes and goes after that is its status.
  expect(said.at(-1)).toBe("STATUS=ready");
  expect(said.filter((line) => line.includes("READY=1")).length).toBe(1);
  notifier.stopping();
  expect(said.at(-1)).toStartWith("STOPPING=1");
  notifier.close();
  const count = said.length;
  await w.run(w.nowMs + 2_000);
  expect(said.length).toBe(count);
});

test("a start that takes long is not held up for ever: ready after half a minute, with what is missing", async () => {
  const { w, seen, said } = world({ NOTIFY_SOCKET: "/n" });
  notifySystemd(seen, silentLogger, () => ["mesh from the control plane"]);
  await w.run(w.nowMs + 29_000);
  expect(said.some((line) => line.includes("READY=1"))).toBe(false);
  await w.run(w.nowMs + 2_000);
  expect(said.at(-1)).toBe("READY=1 STATUS=waits for mesh from the control plane");
});

test("the watchdog hears often enough, and only where it is this process's", async () => {
  for (const [pid, isOurs] of [
    ["42", true],
    ["43", false],
  ] as const) {
    const { w, seen, said } = world({ NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "3000000", WATCHDOG_PID: pid });
    notifySystemd(seen, silentLogger, () => []);
    await w.run(w.nowMs + 10_000);
    const count = said.filter((line) => line === "WATCHDOG=1").length;
    expect(isOurs ? count >= 6 : count === 0).toBe(true);
  }
});

test("a process that gives its place away names the other one, and says no more", async () => {
  const { w, seen, said } = world({ NOTIFY_SOCKET: "/n", WATCHDOG_USEC: "3000000" });
  const notifier = notifySystemd(seen, silentLogger, () => []);
  await w.run(w.nowMs + 2_000);
  notifier.handOver(77);
  expect(said.at(-1)).toBe("MAINPID=77");
  const count = said.length;
  notifier.stopping();
  notifier.close();
  await w.run(w.nowMs + 10_000);
  expect(said.length).toBe(count);
});

test("without systemd nothing is told", async () => {
  const { w, seen, said } = world({});
  notifySystemd(seen, silentLogger, () => []).stopping();
  await w.run(w.nowMs + 2_000);
  expect(said).toEqual([]);
});
