/** An address, or a name, becomes another workload's while tunnels and connections to it are open. */
import { beforeEach, expect, test } from "bun:test";
import type { MemoryHost } from "../../src/host/memory/process.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { FlowLab, type LabNode, serviceEntry, shopId, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf } from "./peer.ts";

const cart = workloadEntry("cart", "10.0.0.1");
const service = serviceEntry("db", "10.88.0.2", 5432, 15432);
const mesh = cart + workloadEntry("db", "10.0.0.2") + service;

let lab: FlowLab;
let node: LabNode;
let host: MemoryHost;
let served: readonly Recorder[];

beforeEach(async () => {
  lab = await FlowLab.create();
  node = await lab.node("two", ["10.0.0.2"], mesh);
  served = lab.application(node.host, "10.0.0.2:15432");
  host = lab.world.machine("peer", { addresses: ["10.0.0.1"] }).start();
});

const dial = async () => HbonePeer.dial(lab, host, "10.0.0.2:15008", await svidOf(lab, host, shopId("cart")));
const errors = () => node.access().map((line) => String(line.error ?? "").split(":")[0]);

test("an open tunnel delivers nothing to another workload that has the address by now; a new one does", async () => {
  const peer = await dial();
  const { log: before } = peer.connect("10.0.0.2:15432");
  await lab.until(() => before.status === "200", "the first answer");
  await node.documents("base.yaml", cart + workloadEntry("other", "10.0.0.2") + service);
  const { log } = peer.connect("10.0.0.2:15432");
  await lab.until(() => log.status !== null, "the answer");
  expect([log.status, served.length]).toEqual(["503", 1]);
  // The one that was open was to a workload that is gone.
  expect(errors()).toEqual(["workload_changed", "workload_changed"]);
  expect(String(node.access().at(-1)?.error)).toContain(
    "the caller verified spiffe://cluster.local/ns/shop/sa/db, but shop/other now has the identity spiffe://cluster.local/ns/shop/sa/other",
  );
  const next = (await dial()).connect("10.0.0.2:15432");
  await lab.until(() => next.log.status === "200", "the answer of the new tunnel");
  expect(served.length).toBe(2);
});

test("a workload that gets another identity loses its connections, and they say why", async () => {
  const peer = await dial();
  const { log } = peer.connect("10.0.0.2:15432");
  await lab.until(() => log.status === "200", "the answer");
  await node.documents("base.yaml", mesh.replace("serviceAccount: db", "serviceAccount: renamed"));
  await lab.until(() => log.resetCode !== null, "the end");
  expect(errors()).toEqual(["workload_changed"]);
});

test("other changes of the workload leave its connections alone", async () => {
  const peer = await dial();
  const { log } = peer.connect("10.0.0.2:15432");
  await lab.until(() => log.status === "200", "the answer");
  await node.documents("base.yaml", mesh.replace("labels: {app: db}", "labels: {app: db, version: v2}"));
  const again = peer.connect("10.0.0.2:15432");
  await lab.until(() => again.log.status === "200", "the answer on the same tunnel");
  expect([log.closed, served.length]).toEqual([false, 2]);
});
