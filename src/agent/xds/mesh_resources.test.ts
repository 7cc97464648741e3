import { describe, expect, test } from "bun:test";
import { joinLimits } from "../../base/limits/agent.ts";
import { encodeService, encodeWorkload } from "../../mesh/codec/encode_address.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { service, workload } from "../../mesh/testing/fixture.ts";
import { addressType } from "../../wire/ads/delta.ts";
import { MeshResources } from "./mesh_resources.ts";

const one = workload("one");
const other = service("other", { 80: 8080 });
const value = encodeWorkload(one);

function handler(): MeshResources {
  return new MeshResources(addressType, { store: new MeshStore(), refusedPolicies: "deny" });
}

function delivery(resources: readonly { name: string; value: Uint8Array }[], removed: string[] = []) {
  return {
    typeUrl: addressType,
    nonce: "n",
    removed,
    resources: resources.map(({ name, value: bytes }) => ({
      name,
      version: "1",
      resource: { typeUrl: addressType, value: bytes },
    })),
  };
}

/** Bytes that are only counted: nothing looks at what there is no room for. */
const only = (length: number) => ({ length }) as Uint8Array;

describe("what one control plane may have a host hold", () => {
  test("resources are counted: of the bound none is new, what is held may change, and what leaves makes room", () => {
    const maxResources = 3;
    const options = { store: new MeshStore(), refusedPolicies: "deny", maxResources } as const;
    const held = new MeshResources(addressType, options);
    const of = (name: string) => ({ name: workload(name).uid, value: encodeWorkload(workload(name)) });
    const reasons = (...names: readonly string[]) =>
      held.apply(delivery(names.map(of)), false).map(({ name, reason }) => `${name}: ${reason}`);
    expect(reasons("a", "b", "c")).toEqual([]);
    expect(reasons("d")).toEqual([`${workload("d").uid}: this host holds 3 resources, which is the limit`]);
    expect(reasons("a", "b", "c")).toEqual([]);
    held.apply(delivery([], [workload("b").uid]), false);
    expect(reasons("d")).toEqual([]);
    expect([...held.resources()].map(({ name }) => name)).toEqual(
      ["a", "c", "d"].map((name) => workload(name).uid),
    );
    expect(joinLimits.maxResources).toBeGreaterThan(100_000);
  });

  test("bytes are bounded, all together; what is removed makes room again", () => {
    const held = handler();
    const reasonFor = (length: number) =>
      held.apply(delivery([{ name: "large", value: only(length) }]), false)[0]?.reason ?? "";
    expect(reasonFor(joinLimits.maxResourceBytes + 1)).toContain("which is the limit");
    expect(held.apply(delivery([{ name: one.uid, value }]), false)).toEqual([]);
    expect(reasonFor(joinLimits.maxResourceBytes - value.length + 1)).toContain("which is the limit");
    expect(reasonFor(joinLimits.maxResourceBytes - value.length)).not.toContain("which is the limit");
    held.apply(delivery([], [one.uid]), false);
    expect(reasonFor(joinLimits.maxResourceBytes)).not.toContain("which is the limit");
  });
});

test("a workload that names no cluster is of the mesh's own: of none in ours, of istiod's default in one that says nothing", () => {
  const unnamed = encodeWorkload({ ...one, clusterId: "" });
  const clusterIn = (clusterId?: string) => {
    const store = new MeshStore();
    const options = {
      store,
      refusedPolicies: "deny",
      ...(clusterId === undefined ? {} : { clusterId }),
    } as const;
    new MeshResources(addressType, options).apply(delivery([{ name: one.uid, value: unnamed }]), false);
    return [...store.workloads()].map((each) => each.clusterId);
  };
  expect([clusterIn(""), clusterIn("east"), clusterIn()]).toEqual([[""], ["east"], ["Kubernetes"]]);
});

describe("the change of a delivery", () => {
  test("is none when nothing happened, and of workloads alone when that is all", () => {
    const store = new MeshStore();
    const changes: string[] = [];
    store.subscribe((change) => void changes.push(Object.keys(change).join()));
    const addresses = new MeshResources(addressType, { store, refusedPolicies: "deny" });
    addresses.apply(delivery([]), true);
    addresses.apply(delivery([{ name: "bad", value: Uint8Array.of(0xff) }], ["never/there"]), false);
    expect(changes).toEqual([]);
    addresses.apply(delivery([{ name: one.uid, value }]), false);
    addresses.apply(
      delivery([{ name: `${other.namespace}/${other.hostname}`, value: encodeService(other) }]),
      false,
    );
    expect(changes).toEqual(["workloads", "services"]);
  });

  test("of a name that is of another kind by now takes away what it was", () => {
    const store = new MeshStore();
    const addresses = new MeshResources(addressType, { store, refusedPolicies: "deny" });
    const name = `${other.namespace}/${other.hostname}`;
    addresses.apply(delivery([{ name, value: encodeWorkload(workload("was", { uid: name })) }]), false);
    expect([store.workload(name) !== null, store.serviceByKey(name) !== null]).toEqual([true, false]);
    addresses.apply(delivery([{ name, value: encodeService(other) }]), false);
    expect([store.workload(name) !== null, store.serviceByKey(name) !== null]).toEqual([false, true]);
  });
});
