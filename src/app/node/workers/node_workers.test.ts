/** What a node tells its workers, and what it believes of theirs; a worker is what a test says, on simulated sockets. */
import { expect, test } from "bun:test";
import { workerLimits } from "../../../base/limits/host.ts";
import { MetricRegistry } from "../../../base/metrics.ts";
import { writeMetrics } from "../../../base/metrics_text.ts";
import { WatchSource } from "../../../base/watch.ts";
import { LogWriter } from "../../../host/log_writer.ts";
import { MemoryWorld } from "../../../host/memory/world.ts";
import { SpiffeId } from "../../../mesh/identity.ts";
import { MeshStore } from "../../../mesh/store/store.ts";
import { service, workload } from "../../../mesh/testing/fixture.ts";
import type { Svid } from "../../../pki/svid/svid.ts";
import { NodeLink } from "../../../workers/link.ts";
import { snapshotOf } from "../../../workers/merged_metrics.ts";
import type { Told } from "../../../workers/messages.ts";
import { Lifecycle } from "../../lifecycle.ts";
import { NodeWorkers, type NodeWorkersParts } from "./node_workers.ts";

const cart = new SpiffeId("cluster.local", "shop", "cart");
const bank = new SpiffeId("cluster.local", "bank", "vault");

function svid(id: SpiffeId): Svid {
  return {
    ...{ id, serialNumber: "1", notBeforeMs: 0, notAfterMs: 1e9 },
    ...{ chain: [], certificateChainPem: `chain of ${id.uri}`, privateKeyPem: `key of ${id.uri}` },
  };
}

function scene(count: number, answer: (told: Told, index: number) => unknown = () => null) {
  const world = new MemoryWorld(1);
  const host = world.host("node", { addresses: ["10.0.0.1"] });
  const logger = new LogWriter(host.clock, () => true, "text", "info");
  const store = new MeshStore();
  const changes = new WatchSource(0);
  const lists: { name: string; bytes: Uint8Array }[] = [];
  const asked: string[] = [];
  const told: Told[][] = [];
  const links: NodeLink[] = [];
  const metrics = new MetricRegistry();
  metrics.counter("opened", "Opened", []).with({});
  const secrets = {
    entries: () => [cart, bank].map((id) => ({ id, svid: svid(id), state: "available", error: null })),
    svid: async (id: SpiffeId) => {
      asked.push(id.uri);
      return svid(id);
    },
    subscribe: () => () => {},
  };
  const parts = {
    ...{ host, logger, store, metrics, secrets },
    config: { workers: count },
    settings: { reserved: [] },
    trust: { changes, rootsPem: "roots" },
    crls: { lists },
    locals: { all: [workload("cart", { identity: cart })] },
    processes: {
      received: null,
      start: async () => {
        const [near, far] = await host.net.socketPair();
        const index = told.length;
        const taken: Told[] = [];
        told.push(taken);
        const link = new NodeLink(far, {
          take: (one) => {
            taken.push(one);
            return answer(one, index);
          },
          lost: () => {},
        });
        links.push(link);
        const { promise, resolve } = Promise.withResolvers<string>();
        return { pid: 1 + index, socket: near, ended: promise, kill: () => resolve("by SIGKILL") };
      },
    },
  } as unknown as NodeWorkersParts;
  const workers = new NodeWorkers(parts);
  const start = () => world.settle(workers.start(new Lifecycle(logger)));
  return { world, workers, start, store, changes, lists, asked, told, links };
}

test("the whole state: settings, trust, the mesh in parts, and the certificates of this host's workloads alone", async () => {
  const { start, store, lists, told } = scene(1);
  lists.push({ name: "crl.pem", bytes: new Uint8Array([1, 2]) });
  const many = Array.from({ length: workerLimits.changesPerFrame }, (_, at) => service(`s${at}`, {}));
  store.apply({ workloads: { upsert: [workload("cart", {})] }, services: { upsert: many } });
  await start();
  const [taken = []] = told;
  // Of the mesh: services, workloads, and the end of a change in parts.
  const kinds = ["begin", "log level", "trust", "mesh", "mesh", "mesh", "svid", "serve"];
  expect(taken.map(({ kind }): string => kind)).toEqual(kinds);
  expect(taken[2]).toEqual({ kind: "trust", rootsPem: "roots", lists });
  expect(taken[6]).toMatchObject({ kind: "svid", id: cart, privateKeyPem: `key of ${cart.uri}` });
});

test("a worker gets no identity that no workload of this host has, whatever it asks for", async () => {
  const { world, start, asked, told, links } = scene(1);
  await start();
  links[0]?.say({ kind: "want", id: bank });
  links[0]?.say({ kind: "want", id: cart });
  await world.run(world.nowMs + 10);
  expect(asked).toEqual([cart.uri]);
  expect(told[0]?.slice(-2)).toMatchObject([
    { kind: "no svid", id: bank, reason: "no workload of this host has it" },
    { kind: "svid", id: cart },
  ]);
});

test("a change of the mesh or of trust is in force when each has it", async () => {
  const late = Promise.withResolvers<null>();
  const { world, workers, start, store, changes, told } = scene(2, ({ kind }, index) =>
    kind === "trust" && index === 1 && told[1]?.some((one) => one.kind === "serve") === true
      ? late.promise
      : null,
  );
  await start();
  store.apply({ services: { upsert: [service("db", {})] } });
  await world.settle(workers.inForce());
  expect(told.map((taken) => taken.at(-1)?.kind)).toEqual(["mesh", "mesh"]);
  changes.set(1);
  let isInForce = false;
  void workers.inForce().then(() => {
    isInForce = true;
  });
  await world.run(world.nowMs + 1_000);
  expect([told.map((taken) => taken.at(-1)?.kind), isInForce]).toEqual([["trust", "trust"], false]);
  late.resolve(null);
  await world.run(world.nowMs + 10);
  expect(isInForce).toBe(true);
});

test("a change of the mesh that is large is told in parts, in the order of a store, and is in force with the last of them", async () => {
  const { world, workers, start, store, told } = scene(1);
  await start();
  const { changesPerFrame } = workerLimits;
  const before = told[0]?.length ?? 0;
  const many = Array.from({ length: changesPerFrame + 1 }, (_, at) => service(`s${at}`, {}));
  store.apply({ services: { upsert: many }, policies: { remove: ["shop/none"] } });
  await world.settle(workers.inForce());
  const parts = told[0]?.slice(before).map((one) => (one.kind === "mesh" ? one.change : null));
  expect(parts?.map((change) => change?.services?.upsert?.length ?? 0)).toEqual([changesPerFrame, 1, 0, 0]);
  expect(parts?.[2]?.policies?.remove).toEqual(["shop/none"]);
});

test("counters are added up and connections are one list; what is none is left out", async () => {
  const counted = (times: number) => {
    const metrics = new MetricRegistry();
    metrics.counter("opened", "Opened", []).with({}).add(times);
    return snapshotOf(metrics);
  };
  const { world, workers, start } = scene(3, (one, index) => {
    if (one.kind !== "ask") return null;
    if (index === 2) return { no: "sense" };
    if (one.what === "metrics") return counted(10 ** index);
    if (one.what === "ended") return one.id === 7 && index === 1 ? { id: 7, asked: null } : null;
    return { listed: [{ id: index }], total: 100 };
  });
  await start();
  await world.settle(workers.refresh());
  expect(writeMetrics(workers.metrics, "prometheus")).toContain("opened_total 11\n");
  expect(workers.connections).toMatchObject({ listed: [{ id: 0 }, { id: 1 }], total: 200 });
  expect(await world.settle(workers.ended(7))).toMatchObject({ id: 7 });
  expect(await world.settle(workers.ended(8))).toBeNull();
});

test("somebody who looks on is one wish, however many they are", async () => {
  const { world, workers, start, told, links } = scene(1);
  await start();
  const seen: string[] = [];
  const ends = [1, 2].map(() => workers.watchRecords(({ message }) => void seen.push(message)));
  links[0]?.sayRecord({ kind: "record", wallMs: 1, level: "info", message: "opened", fields: {} });
  await world.run(world.nowMs + 10);
  for (const end of ends) end();
  await world.run(world.nowMs + 10);
  expect(seen).toEqual(["opened", "opened"]);
  expect(told[0]?.filter(({ kind }) => kind === "watch")).toEqual([
    { kind: "watch", on: true },
    { kind: "watch", on: false },
  ]);
});
