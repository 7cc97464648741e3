import { expect, test } from "bun:test";
import { IpAddress } from "../base/ip.ts";
import type { Clock } from "../host/host.ts";
import { convertDocuments } from "../mesh/convert/convert_documents.ts";
import { parseDocuments } from "../mesh/documents/parse.ts";
import { MeshStore } from "../mesh/store/store.ts";
import { LocalWorkloads } from "./local_workloads.ts";

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
    locals: new LocalWorkloads(clock, store, { names: null, nodeName: "here", hostAddresses: () => [] }),
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
  const locals = new LocalWorkloads(clock, store, {
    names: null,
    nodeName: "",
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
