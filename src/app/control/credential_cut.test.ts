/** Streams of hosts whose registration has changed, at a whole control plane: they end at once, whichever way it changed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlMembership } from "../../agent/join/membership.ts";
import { silentLogger } from "../../base/log.ts";
import { loadConfig, loadControlPlane } from "../../config/load.ts";
import type { SettingName } from "../../config/settings.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { type RunningControl, startControl } from "./control.ts";

const host = createBunHost();
const directory = mkdtempSync(join(tmpdir(), "fairlead-streams-"));
const open: ControlMembership[] = [];
let control: RunningControl;

beforeAll(async () => {
  const flags = new Map([
    ["controlListen", ["127.0.0.1:0"]],
    ["servingNames", ["127.0.0.1"]],
    ["stateDirectory", [join(directory, "control")]],
  ] as const);
  const { config } = loadControlPlane({ flags, environment: {}, file: null });
  if (config === null) throw new Error("the settings are wrong");
  control = await startControl(host, config, new LogWriter(host.clock, () => true, "text", "error"));
});

afterAll(async () => {
  for (const plane of open) await plane.close();
  await control.stop();
  rmSync(directory, { recursive: true });
});

let joins = 0;

/** A host that has joined by that name and follows the mesh. */
async function joined(node: string): Promise<ControlMembership> {
  const { line } = await control.parts.identity.joinTokens.create({
    binding: { kind: "node", node },
    createdBy: "ada",
    replace: true,
  });
  const words = line.split(" ");
  const after = (flag: string): string[] => [words[words.indexOf(flag) + 1] ?? ""];
  const flags = new Map<SettingName, readonly string[]>([
    ["control", [`https://127.0.0.1:${control.address.port}`]],
    ["joinToken", after("--join-token")],
    ["caPin", after("--ca-pin")],
    ["joinAddresses", ["10.0.0.1"]],
    ["stateDirectory", [join(directory, `node-${++joins}`)]],
  ]);
  const { config, errors } = loadConfig({ flags, environment: {}, file: null });
  if (config?.control == null) throw new Error(JSON.stringify(errors));
  const { nodeName, network, clusterId, trustDomain, rootNamespace } = config;
  const plane = await ControlMembership.join({
    host,
    logger: silentLogger,
    provider: runtimeProvider(),
    settings: config.control,
    facts: { nodeName, network, clusterId, trustDomain, rootNamespace },
    version: "test",
  });
  open.push(plane);
  await plane.follow({
    store: new MeshStore(),
    refusedPolicies: "deny",
    setRoots: () => {},
    setCrls: async () => [],
    onConnected: () => {},
  });
  expect(plane.status().xds?.connected).toBe(true);
  return plane;
}

/** Streams that the control plane has of a node. */
const streamsOf = (node: string): number =>
  control.parts.xds.status().filter(({ caller }) => caller.endsWith(`/sa/${node}`)).length;

/** What ends a stream but the change itself takes longer: the credential's own end comes in days. */
async function until(holds: () => boolean): Promise<boolean> {
  for (const endMs = performance.now() + 60_000; performance.now() < endMs; await Bun.sleep(5))
    if (holds()) return true;
  return holds();
}

describe("the stream of a host", () => {
  const registrations = () => control.parts.state.registrations;

  test("that is removed from the registrations, and nothing else, ends at once", async () => {
    const plane = await joined("removed");
    registrations().remove("removed");
    expect(await until(() => streamsOf("removed") === 0)).toBe(true);
    await until(() => plane.status().xds?.connected === false);
    expect(plane.status().xds?.error).toContain("UNAUTHENTICATED");
  });

  test("whose registration is revoked, and nothing else, ends at once; another's does not", async () => {
    await joined("revoked");
    await joined("other");
    registrations().revoke("revoked", "lost", Date.now());
    expect(await until(() => streamsOf("revoked") === 0)).toBe(true);
    expect(streamsOf("other")).toBe(1);
  });

  test("whose name was registered again, and nothing else, ends at once", async () => {
    await joined("again");
    const before = registrations().byNode("again");
    if (before === null) throw new Error("it has not joined");
    registrations().put({ ...before, joinedAtMs: before.joinedAtMs + 1 });
    expect(await until(() => streamsOf("again") === 0)).toBe(true);
  });

  test("that another host replaces ends at once and does not come back; the other's goes on", async () => {
    const old = await joined("edge");
    const successor = await joined("edge");
    expect(await until(() => old.status().xds?.connected === false)).toBe(true);
    const attempts = () => old.status().xds?.attempts ?? 0;
    const before = attempts();
    await until(() => attempts() > before + 1);
    expect([old, successor].map((plane) => plane.status().xds?.connected)).toEqual([false, true]);
    expect(streamsOf("edge")).toBe(1);
  });

  test("that was only seen, goes on", async () => {
    await joined("seen");
    await joined("later");
    registrations().touch("seen", Date.now());
    registrations().remove("later");
    await until(() => streamsOf("later") === 0);
    expect([streamsOf("later"), streamsOf("seen")]).toEqual([0, 1]);
  });
});
