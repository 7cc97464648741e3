/** A waypoint that takes its mesh from a control plane: documents reach it, decide, change and stay, and no one else gets them. */
import { beforeEach, describe, expect, test } from "bun:test";
import { type RunningControl, startControl } from "../../src/app/control/control.ts";
import { type PreparedNode, prepareNode } from "../../src/app/node/node.ts";
import { assert } from "../../src/base/assert.ts";
import { loadControlPlane } from "../../src/config/load.ts";
import type { SettingName } from "../../src/config/settings.ts";
import { LogWriter } from "../../src/host/log_writer.ts";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { MemoryMachine } from "../../src/host/memory/world.ts";
import { FlowLab, labConfig, withPort, workloadEntry } from "./lab.ts";
import { answering, bytes, ok, waypointEntry, webService } from "./waypoint_lab.ts";

const address = "10.0.0.100";
const everything = { actor: "a test", mayChange: () => true };

const onlyCart = (method: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  rules:
  - from: [{source: {principals: ["cluster.local/ns/shop/sa/cart"]}}]
    to: [{operation: {methods: [${method}]}}]
---
`;
const mesh =
  workloadEntry("cart", "10.0.0.1") + workloadEntry("web", "10.0.0.3") + waypointEntry + webService("HTTP");

let lab: FlowLab;
let machine: MemoryMachine;
let control: RunningControl;

interface Joined {
  readonly machine: MemoryMachine;
  readonly host: MemoryHost;
  readonly node: PreparedNode;
  readonly log: () => string;
}

async function startControlPlane(): Promise<void> {
  const host = machine.start();
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
  const logger = new LogWriter(host.clock, () => true, "json", "info");
  control = await lab.world.settle(startControl(host, config, logger));
}

async function apply(text: string): Promise<void> {
  const applied = await lab.world.settle(
    control.parts.documents.apply([{ source: "mesh.yaml", text }], everything),
  );
  expect(applied.outcome).toBe("applied");
}

/** Joins by a token of its workload. */
async function join(
  name: string,
  ip: string,
  settings: Partial<Record<SettingName, string>> = {},
): Promise<Joined> {
  const made = lab.world.machine(name, { addresses: [ip] });
  const { line } = await lab.world.settle(
    control.parts.identity.joinTokens.create({
      binding: { kind: "workload", workload: `shop/${name}` },
      createdBy: "a test",
    }),
  );
  const words = line.split(" ");
  const after = (flag: string): string => words[words.indexOf(flag) + 1] ?? "";
  return await start(made, { joinToken: after("--join-token"), caPin: after("--ca-pin"), ...settings });
}

async function start(on: MemoryMachine, settings: Partial<Record<SettingName, string>>): Promise<Joined> {
  let output = "";
  const host = on.start({
    onOutput: (_stream, text) => {
      output += text;
    },
  });
  const logger = new LogWriter(host.clock, (text) => host.process.writeOut(text), "json", "info");
  const config = labConfig({ control: `https://${withPort(address, 15012)}`, ...settings });
  const node = await lab.world.settle(prepareNode(host, config, logger));
  return {
    machine: on,
    host,
    node,
    log: () => {
      logger.flush();
      return output;
    },
  };
}

async function shop(): Promise<{
  cart: Joined;
  waypoint: Joined;
  ask: (method?: string) => Promise<string>;
}> {
  const cart = await join("cart", "10.0.0.1", { localPorts: "10.0.0.1:8080=web.shop:80" });
  const waypoint = await join("waypoint", "10.0.0.9", { waypoints: "shop/waypoint" });
  const web = await join("web", "10.0.0.3");
  for (const { node } of [cart, waypoint, web]) await lab.world.settle(node.listening);
  lab.application(
    web.host,
    "10.0.0.3:8080",
    answering(() => ok("web")),
  );
  await lab.run(500);
  const ask = async (method = "GET"): Promise<string> => {
    const client = await lab.connect(cart.host, "10.0.0.1:8080");
    client.socket.write(
      bytes(`${method} / HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`),
    );
    await lab.until(() => client.text.includes("\r\n\r\n"), "an answer");
    return client.text.slice(9, 12);
  };
  return { cart, waypoint, ask };
}

beforeEach(async () => {
  lab = await FlowLab.create();
  machine = lab.world.machine("control", { addresses: [address] });
  await startControlPlane();
  await apply(mesh);
});

describe("a waypoint of a control plane", () => {
  test("decides by its documents, by new ones within a second, and says which line refused", async () => {
    const { waypoint, ask } = await shop();
    expect([await ask(), await ask("POST")]).toEqual(["200", "200"]);
    await apply(onlyCart("GET"));
    await lab.run(1_000);
    expect([await ask(), await ask("POST")]).toEqual(["200", "403"]);
    await lab.until(() => waypoint.log().includes("shop/web"), "the line of the refusal");
    expect(waypoint.log()).toContain("mesh.yaml:");
    await apply(onlyCart("POST"));
    await lab.run(1_000);
    expect([await ask(), await ask("POST")]).toEqual(["403", "200"]);
  });

  test("goes on without its control plane, and one that starts then knows its documents", async () => {
    const { waypoint, ask } = await shop();
    await apply(onlyCart("GET"));
    await lab.run(10_000);
    await lab.world.settle(control.stop());
    expect([await ask(), await ask("POST")]).toEqual(["200", "403"]);
    await lab.world.settle(waypoint.node.stop());
    const again = await start(waypoint.machine, { waypoints: "shop/waypoint" });
    await lab.world.settle(again.node.listening);
    // Its certificate is not kept, so it waits for the control plane; but not for what it may decide by.
    expect(again.node.pending().join()).not.toContain("documents of the waypoint");
    await startControlPlane();
    await lab.until(() => again.node.pending().length === 0, "readiness", 60_000);
    expect([await ask(), await ask("POST")]).toEqual(["200", "403"]);
  });

  test("a tunnel with the application inside decides by documents that concern its workload, and gets no others", async () => {
    const secret = (namespace: string) =>
      onlyCart("GET")
        .replace("namespace: shop", `namespace: ${namespace}`)
        .replace("name: web,", "name: secret,");
    const reads = (method: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: reads, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules: [{to: [{operation: {methods: [${method}]}}]}]
---
`;
    await apply(webService("HTTP").replace("labels: {istio.io/use-waypoint: waypoint}", "labels: {}"));
    await apply(secret("bank") + reads("GET"));
    const cart = await join("cart", "10.0.0.1", { localPorts: "10.0.0.1:8080=web.shop:80" });
    const web = await join("web", "10.0.0.3", { l7: "shop/web" });
    for (const { node } of [cart, web]) await lab.world.settle(node.listening);
    lab.application(
      web.host,
      "10.0.0.3:8080",
      answering(() => ok("web")),
    );
    await lab.run(500);
    const ask = async (method: string): Promise<string> => {
      const client = await lab.connect(cart.host, "10.0.0.1:8080");
      client.socket.write(
        bytes(`${method} / HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`),
      );
      await lab.until(() => client.text.includes("\r\n\r\n") || client.closes > 0, "an answer");
      return client.text.slice(9, 12);
    };
    expect([await ask("GET"), await ask("POST")]).toEqual(["200", "403"]);
    // A connection that is open goes on while its policy changes, though tunnels hear of the change first.
    await apply(reads("POST"));
    await lab.run(1_000);
    expect([await ask("GET"), await ask("POST")]).toEqual(["403", "200"]);
    await lab.world.settle(web.node.stop());
    const { disk } = web.machine;
    const kept = (disk.list("/state") ?? []).map(({ path }) => new TextDecoder().decode(disk.read(path)));
    expect(kept.some((text) => text.includes("AuthorizationPolicy shop/reads"))).toBe(true);
    expect(kept.some((text) => text.includes("bank/secret"))).toBe(false);
  });

  test("documents for a workload are not given to a host that does not run it", async () => {
    await shop();
    await apply(workloadEntry("thief", "10.0.0.66"));
    const host = await join("thief", "10.0.0.66", { l7: "shop/web" });
    await lab.run(3_000);
    expect(host.node.pending().join()).toContain("documents for shop/web");
    expect(host.log()).toContain("documents for shop/web are for the host that it runs on");
  });

  test("another host gets no documents, though it says that it is a waypoint", async () => {
    await shop();
    const thief = workloadEntry("thief", "10.0.0.66");
    await apply(thief);
    const host = await join("thief", "10.0.0.66", { waypoints: "shop/thief" });
    await lab.run(3_000);
    expect(host.node.pending().join()).toContain("documents of the waypoint");
    expect(host.log()).toContain("documents are for waypoints");
  });
});
