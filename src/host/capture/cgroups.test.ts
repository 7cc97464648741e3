/** Rules that go by cgroups which come and go. */
import { describe, expect, test } from "bun:test";
import { hostLimits } from "../../base/limits/host.ts";
import type { Logger } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { RunProgram } from "../memory/process.ts";
import { MemoryWorld } from "../memory/world.ts";
import { rulePrograms } from "../testing/rule_programs.ts";
import { Capture } from "./capture.ts";
import { findCgroupMount } from "./cgroups.ts";
import type { CaptureOptions } from "./options.ts";

const options: CaptureOptions = {
  backend: "nftables",
  outboundPort: 15001,
  inboundPort: 15006,
  mark: 1337,
  ownPorts: [15008],
  includeCidrs: [],
  excludeCidrs: [],
  excludePorts: [],
  excludeInboundCidrs: [],
  excludeInterfaces: [],
  method: "redirect",
  includeUids: [],
  excludeUids: [],
  includeCgroups: ["mesh.slice/shop.service"],
  excludeCgroups: ["system.slice"],
  includePorts: [],
  neverTo: [],
  containers: "exclude",
  originalSource: false,
};

const mounted = "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
const shop = "/sys/fs/cgroup/mesh.slice/shop.service";
const taking = 'socket cgroupv2 level 2 "mesh.slice/shop.service" meta l4proto tcp redirect to :15001';

function lab(mountinfo: string) {
  const world = new MemoryWorld(1);
  const programs = rulePrograms();
  let onLoad = (): void => {};
  const nft: RunProgram = (args, input) => {
    if (args.includes("-f")) onLoad();
    return programs.nft?.(args, input) ?? { exitCode: 127, output: "" };
  };
  const machine = world.machine("vm", { addresses: ["10.0.0.1"], programs: { ...programs, nft } });
  const host = machine.start();
  const { disk } = machine;
  disk.write("/proc/self/mountinfo", mountinfo);
  disk.makeFolder("/sys/fs/cgroup/system.slice");
  const said: string[] = [];
  const logger: Logger = { log: (_level, _scope, message) => void said.push(message) } as Logger;
  const pass = (ms: number) => world.run(world.nowMs + ms);
  const during = async <T>(work: Promise<T>): Promise<T> => {
    await pass(200);
    return await work;
  };
  const rules = async (): Promise<string> =>
    (await during(host.process.run("nft", ["list", "table", "inet", "fairlead"]))).output;
  const atLoads = (body: () => void): void => {
    onLoad = body;
  };
  return { disk, said, pass, during, rules, atLoads, install: () => Capture.install(host, options, logger) };
}

const soonMs = hostLimits.captureCgroupsLookMs + hostLimits.captureSoonMs + 50;

test("without version 2 it is refused, and says why", async () => {
  const { during, install } = lab("30 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  const refused = await during(rejectionOf(install()));
  expect(refused).toMatchObject({ code: "unsupported", blame: "local" });
  expect(String(refused)).toContain("needs cgroups of version 2");
});

test("a cgroup that is made, and made again, is followed at once; rules are not in force until they fit", async () => {
  const { disk, said, pass, during, rules, atLoads, install } = lab(mounted);
  const capture = await during(install());
  expect(said.some((text) => text.startsWith("there is no cgroup mesh.slice/shop.service now"))).toBe(true);
  // What waits for the node to be ready may be what makes it.
  expect(capture.inForce).toBe(true);
  expect(await rules()).not.toContain("redirect to :15001");
  expect(await rules()).toContain('socket cgroupv2 level 1 "system.slice" return');

  disk.makeFolder(shop);
  const whileLoading: boolean[] = [];
  atLoads(() => whileLoading.push(capture.inForce));
  await pass(soonMs);
  expect(whileLoading).toEqual([false]);
  expect(capture.inForce).toBe(true);
  expect(await rules()).toContain(taking);
  expect(said.at(-1)).toBe("the cgroup mesh.slice/shop.service was made, and the capture rules follow");

  disk.remove(shop);
  await pass(soonMs);
  expect(capture.inForce).toBe(true);
  expect(await rules()).not.toContain("redirect to :15001");
  expect(said.at(-1)).toStartWith("the cgroup mesh.slice/shop.service is gone");

  disk.makeFolder(shop);
  await pass(soonMs);
  expect(await rules()).toContain(taking);
  // Between two looks: the same path, and another cgroup.
  const lines = said.length;
  disk.remove(shop);
  disk.makeFolder(shop);
  await pass(soonMs);
  expect(said.slice(lines)).toContain(
    "the cgroup mesh.slice/shop.service was made, and the capture rules follow",
  );
  expect([capture.inForce, capture.repairs]).toEqual([true, 0]);
  await during(capture.remove());
  expect(await rules()).not.toContain("15001");
});

describe("where cgroups of version 2 are mounted", () => {
  const line = (root: string, point: string, type: string): string =>
    `29 23 0:26 ${root} ${point} rw,nosuid,nodev shared:4 - ${type} ${type} rw,nsdelegate\n`;

  test("on their own, beside version 1, or anywhere", () => {
    expect(findCgroupMount(line("/", "/sys/fs/cgroup", "cgroup2"))).toBe("/sys/fs/cgroup");
    const hybrid = line("/", "/sys/fs/cgroup/cpu", "cgroup") + line("/", "/sys/fs/cgroup/unified", "cgroup2");
    expect(findCgroupMount(hybrid)).toBe("/sys/fs/cgroup/unified");
    const several = line("/", "/run/two", "cgroup2") + line("/", "/sys/fs/cgroup", "cgroup2");
    expect(findCgroupMount(several)).toBe("/sys/fs/cgroup");
    expect(findCgroupMount(line("/", "/run/two", "cgroup2"))).toBe("/run/two");
  });

  test("not where there is version 1 alone, nor a part of version 2", () => {
    expect(findCgroupMount("")).toBeNull();
    expect(findCgroupMount(line("/", "/sys/fs/cgroup/memory", "cgroup"))).toBeNull();
    expect(findCgroupMount(line("/system.slice", "/run/part", "cgroup2"))).toBeNull();
  });
});
