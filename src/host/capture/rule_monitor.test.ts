import { expect, test } from "bun:test";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostLimits } from "../../base/limits/host.ts";
import { createBunHost } from "../bun/host.ts";
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

  // Nor where it was to be started again.
  const waiting = new Lab();
  waiting.started[0]?.onEnd();
  waiting.monitor.stop();
  await waiting.wait(hostLimits.captureMonitorAgainMs * 3);
  expect(waiting.started.length).toBe(1);

  const late = new Lab(false);
  await late.wait(hostLimits.captureMonitorAgainMs * 2.5);
  expect(late.started.length).toBe(0);
  late.isInstalled = true;
  await late.wait(hostLimits.captureMonitorAgainMs);
  expect(late.started.length).toBe(1);
  late.monitor.stop();
});

/** In the place of `nft`: waits for ever, as the kernel's words may, and says who it is. */
const waitingProgram = (then: string): string => `#!/bin/sh
echo $$ >> "$NFT_STARTED"
${then}
exec sleep 1000
`;

test.each([
  ["at any time after its start", ""],
  // Its shell is told to end while it still starts.
  ["while it is being started", "kill $PPID"],
])(
  "a monitor that is stopped %s leaves no program behind",
  async (_, then) => {
    const folder = mkdtempSync(join(tmpdir(), "fairlead-monitor-"));
    const started = join(folder, "started");
    const before = { PATH: process.env.PATH, NFT_STARTED: process.env.NFT_STARTED };
    try {
      writeFileSync(join(folder, "nft"), waitingProgram(then));
      chmodSync(join(folder, "nft"), 0o755);
      process.env.PATH = `${folder}:${process.env.PATH}`;
      process.env.NFT_STARTED = started;
      const host = createBunHost();
      for (let round = 0; round < 40; round++) {
        const monitor = new RuleMonitor(host, () => {});
        await Bun.sleep(round / 4);
        monitor.stop();
      }
      const isThere = (pid: string): boolean => {
        const status = `/proc/${pid}/stat`;
        return existsSync(status) && !/\) Z /.test(readFileSync(status, "utf8"));
      };
      const left = (): readonly string[] =>
        existsSync(started) ? readFileSync(started, "utf8").split("\n").filter(Boolean).filter(isThere) : [];
      // Whoever has only just been told is given time to end; what no shell tells never does.
      for (let look = 0; look < 250 && (look < 20 || left().length > 0); look++) await Bun.sleep(20);
      const remaining = left();
      for (const pid of remaining) process.kill(Number(pid), "SIGKILL");
      expect(remaining).toEqual([]);
    } finally {
      Object.assign(process.env, before);
      if (before.NFT_STARTED === undefined) delete process.env.NFT_STARTED;
      rmSync(folder, { recursive: true });
    }
  },
  30_000,
);
