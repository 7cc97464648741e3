/** The control plane as `app/control/` puts it together, and hosts that join it by a WorkloadGroup, on machines in memory. */
import { beforeEach, describe, expect, test } from "bun:test";
import { type RunningControl, startControl } from "../../src/app/control/control.ts";
import { type PreparedNode, prepareNode } from "../../src/app/node/node.ts";
import { assert } from "../../src/base/assert.ts";
import { controlLimits } from "../../src/base/limits/control.ts";
import { outcomeOf } from "../../src/base/testing/rejection.ts";
import { loadControlPlane } from "../../src/config/load.ts";
import type { SettingName } from "../../src/config/settings.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { MemoryMachine } from "../../src/host/memory/world.ts";
import { FlowLab, labConfig, serviceEntry, strictMutualTls, withPort, workloadEntry } from "./lab.ts";

const address = "10.0.0.100";
const group = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata:
  name: web
  namespace: shop
spec:
  metadata:
    labels: {app: web}
  template:
    serviceAccount: web
    labels: {app: web}
---
`;
const documents = `${group}${workloadEntry("cart", "10.0.0.1")}${serviceEntry("web", "10.88.0.5", 80, 8080)}`;
const everything = { actor: "a test", mayChange: () => true };

let lab: FlowLab;
let machine: MemoryMachine;
let control: RunningControl;
let controlHost: MemoryHost;

async function start(): Promise<void> {
  controlHost = machine.start();
  const flags = new Map<SettingName, readonly string[]>([
    ["controlListen", [withPort(address, 15012)]],
    ["stateDirectory", ["/var/lib/fairlead"]],
    ["metrics", ["off"]],
    ["readiness", ["off"]],
    // Keys without threads: the simulated clock waits for no thread.
    ["cryptoProvider", ["peculiar"]],
  ]);
  const { config, errors } = loadControlPlane({ flags, environment: {}, file: null });
  assert(config !== null, JSON.stringify(errors));
  const logger = new LogWriter(controlHost.clock, () => true, "json", "info");
  control = await lab.world.settle(startControl(controlHost, config, logger));
}

/** A host that joins by one more token of the group. */
async function join(name: string, ip: string, said = ip): Promise<{ host: MemoryHost; node: PreparedNode }> {
  const made = lab.world.machine(name, { addresses: [ip] });
  // Settled, not awaited: what it waits for may need the world's time to go on.
  const { line } = await lab.world.settle(
    control.parts.identity.joinTokens.create({
      binding: { kind: "group", group: "shop/web" },
      createdBy: "a test",
    }),
  );
  const words = line.split(" ");
  const after = (flag: string): string => words[words.indexOf(flag) + 1] ?? "";
  return await host(made, {
    joinToken: after("--join-token"),
    caPin: after("--ca-pin"),
    joinAddresses: said,
  });
}

async function host(
  on: MemoryMachine,
  settings: Partial<Record<SettingName, string>>,
): Promise<{ host: MemoryHost; node: PreparedNode }> {
  const started = on.start();
  const logger = new LogWriter(started.clock, () => true, "json", "info");
  const config = labConfig({ control: `https://${withPort(address, 15012)}`, ...settings });
  return { host: started, node: await lab.world.settle(prepareNode(started, config, logger)) };
}

const members = (): readonly string[] =>
  [...control.parts.store.workloads()]
    .filter(({ serviceAccount }) => serviceAccount === "web")
    .flatMap(({ addresses }) => addresses.map((ip) => ip.text))
    .sort();

beforeEach(async () => {
  lab = await FlowLab.create();
  machine = lab.world.machine("control", { addresses: [address] });
  await start();
  const applied = await lab.world.settle(
    control.parts.documents.apply([{ source: "mesh.yaml", text: documents }], everything),
  );
  expect(applied.outcome).toBe("applied");
});

describe("hosts that join by a WorkloadGroup", () => {
  test("register themselves with the address they have, are endpoints of its services, and get its identity", async () => {
    const { node } = await join("one", "10.0.0.11");
    await lab.world.settle(node.listening);
    await lab.until(
      () => node.context.locals.all.length === 1 && node.pending().length === 0,
      "readiness",
      2 * controlLimits.memberGraceMs,
    );
    expect(members()).toEqual(["10.0.0.11"]);
    const [local] = node.context.locals.all;
    expect(local?.identity.uri).toBe("spiffe://cluster.local/ns/shop/sa/web");
    const second = await join("two", "10.0.0.12");
    await lab.until(() => members().length === 2, "the second");
    await lab.until(
      () => [...node.context.store.workloads()].length === 3,
      "the news of it",
      2 * controlLimits.memberGraceMs,
    );
    await lab.world.settle(second.node.stop());
  });

  test("are where they come from: a second one that says the first's address, or the control plane's, does not join", async () => {
    const { node } = await join("one", "10.0.0.11");
    await lab.world.settle(node.listening);
    await lab.until(() => members().length === 1, "the member");
    expect(await outcomeOf(join("two", "10.0.0.12", "10.0.0.11"))).toThrow(
      "neither the address that the host connects from",
    );
    expect(await outcomeOf(join("three", "10.0.0.13", address))).toThrow(
      "it is an address of the control plane",
    );
    expect(await outcomeOf(join("four", "10.0.0.14", "10.0.0.1"))).toThrow("neither the address");
    expect(members()).toEqual(["10.0.0.11"]);
    expect(control.parts.state.registrations.count()).toBe(1);
    // A host at the first one's address, once that is gone: it is there, and the first one is not.
    await lab.world.settle(node.stop());
    await lab.until(() => members().length === 0, "its leaving", 2 * controlLimits.memberGraceMs);
  });

  test("are there while they are connected, a while longer, and then no more; and come back by themselves", async () => {
    const { host: process, node } = await join("one", "10.0.0.11");
    await lab.world.settle(node.listening);
    await lab.until(() => members().length === 1, "the member");
    process.kill();
    await lab.run(controlLimits.memberGraceMs / 2);
    expect(members()).toEqual(["10.0.0.11"]);
    await lab.until(() => members().length === 0, "its leaving", 2 * controlLimits.memberGraceMs);
    expect(control.parts.state.registrations.list().length).toBe(1);
  });

  test("a control plane that is killed and started again knows its members, and forgets those that do not return", async () => {
    const { node } = await join("one", "10.0.0.11");
    await lab.world.settle(node.listening);
    await lab.until(() => members().length === 1, "the member");
    controlHost.kill();
    await start();
    expect(members()).toEqual(["10.0.0.11"]);
    await lab.run(controlLimits.memberGraceMs * 2);
    expect(members()).toEqual(["10.0.0.11"]);
    await lab.world.settle(node.stop());
    await lab.until(() => members().length === 0, "its leaving", 2 * controlLimits.memberGraceMs);
  });
});

test("with a full disk nodes go on being served, and nothing new is taken", async () => {
  const { node } = await join("one", "10.0.0.11");
  await lab.world.settle(node.listening);
  await lab.until(() => node.control()?.xds?.connected === true, "the stream");
  machine.disk.full = true;
  control.parts.xds.cutStreams(() => true);
  await lab.until(() => node.control()?.xds?.connected === false, "the cut");
  await lab.until(() => node.control()?.xds?.connected === true, "the stream again", 60_000);
  expect(control.pending()).toEqual([]);
  const refused = control.parts.documents.apply([{ source: "more.yaml", text: strictMutualTls }], everything);
  expect(await lab.world.settle(refused.then(() => "applied", String))).toContain("no room to write");
  machine.disk.full = false;
  const applied = control.parts.documents.apply([{ source: "more.yaml", text: strictMutualTls }], everything);
  expect((await lab.world.settle(applied)).outcome).toBe("applied");
});

test("a copy that was being made when it was killed is gone after the next start", async () => {
  const half = "/var/lib/fairlead/backup-1767225600000.tmp";
  await lab.world.settle(controlHost.files.writeAtomic(half, new Uint8Array(10), 0o600));
  controlHost.kill();
  await start();
  expect(await lab.world.settle(controlHost.files.exists(half))).toBe(false);
});
