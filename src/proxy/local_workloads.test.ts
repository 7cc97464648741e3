import { expect, test } from "bun:test";
import { IpAddress } from "../base/ip.ts";
import type { Logger } from "../base/log.ts";
import type { Clock } from "../host/host.ts";
import { convertDocuments } from "../mesh/convert/convert_documents.ts";
import { parseDocuments } from "../mesh/documents/parse.ts";
import { MeshStore } from "../mesh/store/store.ts";
import { workload } from "../mesh/testing/fixture.ts";
import type { Workload } from "../mesh/workload.ts";
import { type LocalSelection, LocalWorkloads } from "./local_workloads.ts";

const ip = (text: string): IpAddress => {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(text);
  return parsed;
};

const timers: (() => void)[] = [];
const clock: Clock = {
  now: () => 0,
  wallMs: () => 0,
  setTimer: (_, callback) => {
    timers.push(callback);
    return { cancel: () => timers.splice(timers.indexOf(callback), 1) };
  },
  defer() {},
};
let said: string[] = [];
const logger: Logger = { log: (_level, _target, message) => void said.push(message) };
const context = { trustDomain: "cluster.local", clusterId: "c", rootNamespace: "istio-system", network: "" };

function host(...addresses: readonly string[]) {
  const text = addresses
    .map(
      (address, index) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w${index}, namespace: shop, annotations: {fairlead.dev/node: here}}
spec: {address: ${address}}
`,
    )
    .join("---\n");
  const { workloads } = convertDocuments(parseDocuments([{ path: "mesh.yaml", text }]).documents, context);
  const store = new MeshStore();
  store.apply({ workloads: { upsert: workloads } });
  return {
    store,
    uids: workloads.map(({ uid }) => uid),
    locals: new LocalWorkloads(clock, logger, store, {
      names: null,
      nodeName: "here",
      network: "",
      isByAddress: () => true,
      hostAddresses: () => [],
    }),
  };
}

test("on a host with one workload every caller is that one", () => {
  const { locals } = host("10.0.0.1");
  expect(locals.caller(ip("10.0.0.1"))?.name).toBe("w0");
  expect(locals.caller(ip("192.168.1.9"))?.name).toBe("w0");
});

test("on a host with several, the address says who calls", () => {
  const { locals } = host("10.0.0.1", "10.0.0.2");
  expect(locals.caller(ip("10.0.0.2"))?.name).toBe("w1");
  expect(locals.caller(ip("192.168.1.9"))).toBeNull();
});

test("when all workloads but one are removed, the processes of the others do not become that one", () => {
  const { locals, store, uids } = host("10.0.0.1", "10.0.0.2");
  store.apply({ workloads: { remove: uids.slice(1) } });
  expect(locals.caller(ip("10.0.0.1"))?.name).toBe("w0");
  expect(locals.caller(ip("10.0.0.2"))).toBeNull();
});

test("a workload whose address comes later runs here from then on, also when its link flaps", () => {
  const { store } = host("10.0.0.1");
  const addresses: IpAddress[] = [];
  timers.length = 0;
  const locals = new LocalWorkloads(clock, logger, store, {
    names: null,
    nodeName: "",
    network: "",
    isByAddress: () => true,
    hostAddresses: () => addresses,
  });
  let told = 0;
  locals.subscribe(() => told++);
  const names = () => {
    for (const look of timers.splice(0)) look();
    return locals.all.map(({ name }) => name);
  };
  expect([names(), told]).toEqual([[], 0]);
  addresses.push(ip("10.0.0.1"));
  expect([names(), told]).toEqual([["w0"], 1]);
  expect([names(), told]).toEqual([["w0"], 1]);
  addresses.pop();
  expect([names(), told]).toEqual([["w0"], 1]);
  addresses.push(ip("10.0.0.1"));
  expect([names(), told]).toEqual([["w0"], 1]);
  locals.close();
  expect(timers).toEqual([]);
});

function selecting(store: MeshStore, selection: Partial<LocalSelection>): LocalWorkloads {
  said = [];
  return new LocalWorkloads(clock, logger, store, {
    names: null,
    nodeName: "",
    network: "",
    isByAddress: () => true,
    hostAddresses: () => [ip("10.0.0.1")],
    ...selection,
  });
}

const named = (locals: LocalWorkloads) => locals.all.map(({ name }) => name);
const here = (name: string, fields: Partial<Workload> = {}) =>
  workload(name, { addresses: [ip("10.0.0.1")], ...fields });

test("of a service that was named, only endpoints of this host run here: by its address, its name, or at loopback", () => {
  const endpoint = (name: string, address: string, fields: Partial<Workload> = {}) =>
    workload(name, {
      addresses: [ip(address)],
      services: new Map([["shop/backend.shop", new Map([[80, 8080]])]]),
      ...fields,
    });
  const store = new MeshStore();
  const locals = selecting(store, { names: ["shop/backend"], services: ["shop/backend"], nodeName: "here" });
  store.apply({
    workloads: {
      upsert: [
        endpoint("by-address", "10.0.0.1"),
        endpoint("by-node", "10.0.0.9", { node: "here" }),
        endpoint("at-loopback", "127.0.4.1"),
        endpoint("elsewhere", "10.0.0.8"),
        endpoint("other-network", "10.0.0.1", { network: "n2" }),
        endpoint("other-service", "10.0.0.1", {
          services: new Map([["shop/backends.shop", new Map([[80, 80]])]]),
        }),
        workload("backend", { addresses: [ip("10.0.0.7")] }),
      ],
    },
  });
  expect([...named(locals)].sort()).toEqual(["at-loopback", "backend", "by-address", "by-node"]);
});

test("a workload of another network with this host's address is another host's", () => {
  for (const fields of [{ network: "elsewhere" }, { network: "elsewhere", node: "here" }]) {
    const store = new MeshStore();
    const locals = selecting(store, { nodeName: "here" });
    store.apply({ workloads: { upsert: [here("stranger", fields), here("ours")] } });
    expect([named(locals), locals.byAddress(ip("10.0.0.1"))?.name, said]).toEqual([["ours"], "ours", []]);
  }
});

test("of two with one address the first keeps it, whatever comes later, and that is said once", () => {
  const store = new MeshStore();
  const locals = selecting(store, {});
  // By name and by kind the later one comes first everywhere.
  store.apply({ workloads: { upsert: [here("first")] } });
  store.apply({ workloads: { upsert: [here("a-later", { uid: "a//Pod/shop/a-later" })] } });
  expect([named(locals), locals.byAddress(ip("10.0.0.1"))?.name]).toEqual([["first"], "first"]);
  const words =
    "shop/first and shop/a-later both have the address 10.0.0.1: shop/first was first and keeps it";
  expect(said).toEqual([words]);
  store.apply({ workloads: { upsert: [here("first", { serviceAccount: "renamed" })] } });
  expect([named(locals), said]).toEqual([["first"], [words]]);
  store.apply({ workloads: { remove: [here("first").uid] } });
  expect([named(locals), said.length]).toEqual([["a-later"], 1]);
  store.apply({ workloads: { upsert: [here("first")] } });
  expect([named(locals), said.length]).toEqual([["a-later"], 2]);
});

test("of two that are declared together the one that is declared first has the address", () => {
  const store = new MeshStore();
  store.apply({ workloads: { upsert: [here("zebra"), here("ant")] } });
  expect(named(selecting(store, {}))).toEqual(["zebra"]);
});

test("one that a node's name places here stays, without the address that another has", () => {
  const store = new MeshStore();
  store.apply({ workloads: { upsert: [here("first"), here("placed", { node: "here" })] } });
  const locals = selecting(store, { nodeName: "here" });
  expect([named(locals), locals.byAddress(ip("10.0.0.1"))?.name]).toEqual([["first", "placed"], "first"]);
});

test("a host that has joined runs nothing for its address alone, and knows its addresses", () => {
  const store = new MeshStore();
  store.apply({ workloads: { upsert: [here("claims"), here("placed", { node: "here" })] } });
  const locals = selecting(store, { nodeName: "here", isByAddress: () => false });
  expect([named(locals), locals.isHostAddress(ip("10.0.0.1")), locals.isHostAddress(ip("10.0.0.9"))]).toEqual(
    [["placed"], true, false],
  );
});

test("a change of other hosts' workloads is none of ours", () => {
  const store = new MeshStore();
  store.apply({ workloads: { upsert: [here("ours")] } });
  const locals = selecting(store, {});
  let told = 0;
  locals.subscribe(() => told++);
  store.apply({ workloads: { upsert: [workload("far", { addresses: [ip("10.0.0.9")] })] } });
  expect(told).toBe(0);
  store.apply({ workloads: { upsert: [workload("far", { addresses: [ip("10.0.0.1"), ip("10.0.0.9")] })] } });
  store.apply({ workloads: { remove: [here("ours").uid] } });
  expect([told, named(locals)]).toEqual([2, ["far"]]);
});

test("a workload is found by its namespace and name, and one of another namespace is not it", () => {
  const store = new MeshStore();
  store.apply({ workloads: { upsert: [here("other"), here("ours", { addresses: [ip("10.0.0.2")] })] } });
  const locals = selecting(store, { hostAddresses: () => [ip("10.0.0.1"), ip("10.0.0.2")] });
  const { namespace } = here("ours");
  expect(locals.byName(`${namespace}/ours`)?.name).toBe("ours");
  expect([locals.byName("elsewhere/ours"), locals.byName("ours")]).toEqual([null, null]);
});

test("who waits for a workload gets it with the change that brings it, and not with another one", async () => {
  const store = new MeshStore();
  const locals = selecting(store, { hostAddresses: () => [ip("10.0.0.1"), ip("10.0.0.2")] });
  const found: (string | undefined)[] = [];
  const address = ip("10.0.0.1");
  const waiting = Promise.resolve(locals.wait(() => locals.byAddress(address), "is there")).then(
    (workload) => void found.push(workload.name),
    () => void found.push("none"),
  );
  store.apply({ workloads: { upsert: [here("another", { addresses: [ip("10.0.0.2")] })] } });
  expect(named(locals)).toEqual(["another"]);
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  expect(found).toEqual([]);
  store.apply({ workloads: { upsert: [here("ours")] } });
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
  expect(found).toEqual(["ours"]);
  await waiting;
  locals.close();
});

test("of pods on their node's network many have its address, and that is no dispute", () => {
  for (const modes of [
    ["HOST_NETWORK", "STANDARD"],
    ["STANDARD", "HOST_NETWORK"],
    ["HOST_NETWORK", "HOST_NETWORK"],
  ] as const) {
    const store = new MeshStore();
    store.apply({
      workloads: {
        upsert: [here("first", { networkMode: modes[0] }), here("second", { networkMode: modes[1] })],
      },
    });
    selecting(store, {});
    expect([modes, said]).toEqual([modes, []]);
  }
});
