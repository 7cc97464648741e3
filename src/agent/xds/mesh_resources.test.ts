import { describe, expect, test } from "bun:test";
import { joinLimits } from "../../base/limits/agent.ts";
import { encodeService, encodeWorkload } from "../../mesh/codec/encode_address.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { service, workload } from "../../mesh/testing/fixture.ts";
import { addressType, type RejectedResource } from "../../wire/ads/delta.ts";
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

function atOnce(handler: MeshResources, one: ReturnType<typeof delivery>): readonly RejectedResource[] {
  const rejected = handler.apply(one, false);
  if (rejected instanceof Promise) throw new Error("it takes a while");
  return rejected;
}

/** Each look at it takes longer than a slice, so that every step is a turn of its own; turns are taken by hand. */
class TurnClock {
  turns = 0;
  #nowMs = 0;
  #waiting: (() => void)[] = [];

  now(): number {
    this.#nowMs += 100;
    return this.#nowMs;
  }

  defer(work: () => void): void {
    this.#waiting.push(work);
  }

  /** @returns whether there was anything to do. */
  async turn(): Promise<boolean> {
    for (let count = 0; count < 20; count++) await Promise.resolve();
    const waiting = this.#waiting.splice(0);
    for (const work of waiting) work();
    if (waiting.length > 0) this.turns++;
    return waiting.length > 0;
  }
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
      atOnce(held, delivery(names.map(of))).map(({ name, reason }) => `${name}: ${reason}`);
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
      atOnce(held, delivery([{ name: "large", value: only(length) }]))[0]?.reason ?? "";
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

describe("a large delivery", () => {
  const many = (count: number) =>
    delivery(
      Array.from({ length: count }, (_, at) => {
        const each = workload(`many-${at}`);
        return { name: each.uid, value: encodeWorkload(each) };
      }),
    );

  test("is taken in slices beyond the bound, and is then what it is at once", async () => {
    const clock = new TurnClock();
    const store = new MeshStore();
    const held = new MeshResources(addressType, { store, refusedPolicies: "deny", clock });
    expect(atOnce(held, many(joinLimits.takenAtOnce))).toEqual([]);
    expect(clock.turns).toBe(0);
    const count = 3 * joinLimits.takenAtOnce + 1;
    const large = many(count);
    const bad = { name: "bad", version: "1", resource: { typeUrl: addressType, value: Uint8Array.of(255) } };
    const [first] = large.resources;
    const gone = first?.name ?? "";
    const one = { ...large, resources: [...large.resources.slice(1), bad], removed: [gone] };
    const taking = held.apply(one, false);
    expect(taking).toBeInstanceOf(Promise);
    while (await clock.turn());
    expect((await taking).map(({ name }) => name)).toEqual(["bad"]);
    expect(clock.turns).toBeGreaterThan(10);
    const plain = new MeshStore();
    atOnce(new MeshResources(addressType, { store: plain, refusedPolicies: "deny" }), one);
    const names = (of: MeshStore) => [...of.workloads()].map(({ uid }) => uid).sort();
    expect(names(store)).toEqual(names(plain));
    expect([...held.resources()].length).toBe(count - 1);
  });

  test("keeps the next one waiting, however small, so that the newest word stays", async () => {
    const clock = new TurnClock();
    const store = new MeshStore();
    const held = new MeshResources(addressType, { store, refusedPolicies: "deny", clock });
    const large = many(joinLimits.takenAtOnce + 1);
    const last = large.resources.at(-1)?.name ?? "";
    const taking = held.apply(large, true);
    await clock.turn();
    const next = held.apply(delivery([], [last]), true);
    expect(next).toBeInstanceOf(Promise);
    while (await clock.turn());
    await Promise.all([taking, next]);
    expect(store.workload(last)).toBeNull();
    expect([...store.workloads()].length).toBe(joinLimits.takenAtOnce);
    expect(atOnce(held, delivery([{ name: one.uid, value }]))).toEqual([]);
  });
});
