/** Rules of two processes, of which one takes the other's place: they are never gone, and never fought over. */
import { expect, test } from "bun:test";
import { silentLogger } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { MemoryWorld } from "../memory/world.ts";
import { rulePrograms } from "../testing/rule_programs.ts";
import { Capture } from "./capture.ts";
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
  includeCgroups: [],
  excludeCgroups: [],
  includePorts: [],
  neverTo: [],
  containers: "exclude",
  originalSource: false,
};

function lab() {
  const world = new MemoryWorld(1);
  const host = world.host("vm", { addresses: ["10.0.0.1"], programs: rulePrograms() });
  const pass = (ms: number) => world.run(world.nowMs + ms);
  const during = async <T>(work: Promise<T>): Promise<T> => {
    await pass(100);
    return await work;
  };
  const rules = async (): Promise<string> =>
    (await during(host.process.run("nft", ["list", "table", "inet", "fairlead"]))).output;
  const install = (changes: Partial<CaptureOptions> = {}, holds?: () => boolean) =>
    during(Capture.install(host, { ...options, ...changes }, silentLogger, holds));
  return { host, pass, during, rules, install };
}

test("a process whose rules they are not leaves them, when it ends and when it cannot install its own", async () => {
  const { host, during, rules, install } = lab();
  const old = await install();
  const before = await rules();
  expect(before).toContain("15001");
  let holds = false;
  const young = await install({ outboundPort: 15101 }, () => holds);
  expect(await rules()).toContain("15101");
  await during(young.remove());
  expect(await rules()).toContain("15101");
  const failed = rejectionOf(
    Capture.install(host, { ...options, backend: "iptables" }, silentLogger, () => false),
  );
  expect(await during(failed)).toMatchObject({ blame: "local" });
  expect(await rules()).toContain("15101");
  holds = true;
  await during(young.remove());
  expect(await rules()).not.toContain("15101");
  await during(old.remove());
});

test("what it looks at while it runs does not grow with the connections of this host", async () => {
  const { host, pass, during, install } = lab();
  const reads: string[] = [];
  const readText = host.files.readText.bind(host.files);
  host.files.readText = (path) => {
    reads.push(path);
    return readText(path);
  };
  const capture = await install();
  expect(reads).toContain("/proc/net/tcp");
  reads.length = 0;
  await pass(60_000);
  expect(new Set(reads)).toEqual(new Set(["/proc/net/if_inet6", "/proc/net/dev"]));
  await during(capture.remove());
});

test("while it is paused another's rules stay; when it goes on its own are back", async () => {
  const { pass, during, rules, install } = lab();
  const old = await install();
  await during(old.pause());
  const young = await install({ outboundPort: 15101 }, () => false);
  await during(young.remove());
  await pass(60_000);
  expect([old.repairs, old.inForce]).toEqual([0, true]);
  expect(await rules()).toContain("15101");
  old.resume();
  old.resume();
  await pass(5_000);
  expect(await rules()).toContain("redirect to :15001");
  expect(await rules()).not.toContain("15101");
  expect([old.repairs, old.inForce]).toEqual([1, true]);
  await during(old.remove());
});
