import { expect, test } from "bun:test";
import { hostLimits } from "../../base/limits/host.ts";
import type { FollowEvents, Host } from "../host.ts";
import { MemoryWorld } from "../memory/world.ts";
import { RuleMonitor } from "./rule_monitor.ts";

class Lab {
  readonly world = new MemoryWorld(1);
  readonly host = this.world.machine("vm", { addresses: ["10.0.0.1"] }).start();
  readonly started: FollowEvents[] = [];
  stopped = 0;
  told = 0;
  isInstalled = true;
  readonly monitor: RuleMonitor;

  constructor(isInstalled = true) {
    this.isInstalled = isInstalled;
    const process = {
      follow: (_program: string, _args: readonly string[], events: FollowEvents) => {
        if (!this.isInstalled) throw new Error("no such program");
        this.started.push(events);
        return { stop: () => void this.stopped++ };
      },
    };
    const host = { clock: this.host.clock, process } as unknown as Host;
    this.monitor = new RuleMonitor(host, () => void this.told++);
  }

  wait(ms: number): Promise<unknown> {
    return this.world.run(this.world.nowMs + ms);
  }
}

test("what the program writes is told, each time", () => {
  const lab = new Lab();
  lab.started[0]?.onOutput();
  lab.started[0]?.onOutput();
  expect(lab.told).toBe(2);
});

test("it is started again when it ended, or could not be started, and not after the end", async () => {
  const lab = new Lab();
  lab.started[0]?.onEnd();
  await lab.wait(hostLimits.captureMonitorAgainMs - 1);
  expect(lab.started.length).toBe(1);
  await lab.wait(2);
  expect(lab.started.length).toBe(2);
  lab.monitor.stop();
  expect(lab.stopped).toBe(1);
  lab.started[1]?.onEnd();
  await lab.wait(hostLimits.captureMonitorAgainMs * 3);
  expect(lab.started.length).toBe(2);

  const late = new Lab(false);
  await late.wait(hostLimits.captureMonitorAgainMs * 2.5);
  expect(late.started.length).toBe(0);
  late.isInstalled = true;
  await late.wait(hostLimits.captureMonitorAgainMs);
  expect(late.started.length).toBe(1);
  late.monitor.stop();
});
