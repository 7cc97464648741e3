import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Authorization } from "../authorization.ts";
import { type Service, serviceKey } from "../service.ts";
import { ip, member, service, workload } from "../testing/fixture.ts";
import type { Workload } from "../workload.ts";
import { type MeshChange, MeshStore } from "./store.ts";

const addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1"].map(ip);
const networks = ["", "west"];
const namespaces = ["a", "b"];
const hostnames = ["x.a", "y.a", "*.a", "*.b.a"];
const serviceKeys = namespaces.flatMap((namespace) =>
  hostnames.map((hostname) => `${namespace}/${hostname}`),
);

/** Few names and few addresses, so that changes meet. */
const anyWorkload: fc.Arbitrary<Workload> = fc
  .record({
    name: fc.constantFrom("p", "q", "r"),
    pod: fc.boolean(),
    namespace: fc.constantFrom(...namespaces),
    network: fc.constantFrom(...networks),
    addresses: fc.array(fc.constantFrom(...addresses), { maxLength: 3 }),
    hostname: fc.constantFrom("", "h.example"),
    hbone: fc.boolean(),
    healthy: fc.boolean(),
    hostNetwork: fc.boolean(),
    keys: fc.uniqueArray(fc.constantFrom(...serviceKeys), { maxLength: 3 }),
    capacity: fc.nat(5),
  })
  .map(
    ({ name, pod, namespace, network, addresses, hostname, hbone, healthy, hostNetwork, keys, capacity }) =>
      workload(name, {
        uid: pod ? `c//Pod/${namespace}/${name}` : `c/WorkloadEntry/${namespace}/${name}`,
        namespace,
        network,
        addresses,
        hostname,
        tunnelProtocol: hbone ? "HBONE" : "NONE",
        status: healthy ? "HEALTHY" : "UNHEALTHY",
        networkMode: hostNetwork ? "HOST_NETWORK" : "STANDARD",
        services: new Map(keys.flatMap((key) => [...member(key, { 80: capacity + 1 })])),
        capacity,
      }),
  );

const anyService: fc.Arbitrary<Service> = fc
  .record({
    namespace: fc.constantFrom(...namespaces),
    hostname: fc.constantFrom(...hostnames),
    vips: fc.array(fc.record({ network: fc.constantFrom(...networks), ip: fc.constantFrom(...addresses) }), {
      maxLength: 3,
    }),
    lengths: fc.array(fc.nat(32), { maxLength: 3 }),
    canonical: fc.boolean(),
    hidden: fc.boolean(),
    allowAll: fc.boolean(),
  })
  .map(({ namespace, hostname, vips, lengths, canonical, hidden, allowAll }) =>
    service(
      "s",
      { 80: 80 },
      {
        namespace,
        hostname,
        addresses: vips,
        cidrAddresses: lengths.map((length) => ({ network: "", prefix: { ip: ip("10.0.0.0"), length } })),
        canonical,
        visibility: hidden ? "NAMESPACE" : "PUBLIC",
        loadBalancing: {
          mode: "STANDARD",
          routingPreferences: [],
          healthPolicy: allowAll ? "ALLOW_ALL" : "ONLY_HEALTHY",
        },
      },
    ),
  );

const anyPolicy: fc.Arbitrary<Authorization> = fc
  .record({
    name: fc.constantFrom("p", "q"),
    namespace: fc.constantFrom(...namespaces),
    dryRun: fc.boolean(),
  })
  .map((fields) => ({ ...fields, scope: "NAMESPACE", action: "DENY", rules: [], location: null }));

const someUids = fc.array(
  fc.constantFrom(
    ...namespaces.flatMap((ns) =>
      ["p", "q", "r"].flatMap((name) => [`c//Pod/${ns}/${name}`, `c/WorkloadEntry/${ns}/${name}`]),
    ),
  ),
  { maxLength: 3 },
);
const anyChange: fc.Arbitrary<MeshChange> = fc.record({
  workloads: fc.record({ upsert: fc.array(anyWorkload, { maxLength: 4 }), remove: someUids }),
  services: fc.record({
    upsert: fc.array(anyService, { maxLength: 3 }),
    remove: fc.array(fc.constantFrom(...serviceKeys), { maxLength: 2 }),
  }),
  policies: fc.record({
    upsert: fc.array(anyPolicy, { maxLength: 2 }),
    remove: fc.array(fc.constantFrom("a/p", "b/q"), { maxLength: 2 }),
  }),
});

/** Everything a store can be asked, as words. */
function answers(store: MeshStore): unknown {
  const uidOf = (found: Workload | null) => found?.uid ?? null;
  const keyOf = (found: Service | null) => (found === null ? null : serviceKey(found));
  const clients = [...namespaces, "elsewhere", null];
  return {
    workloads: [...store.workloads()].map((entry) => entry.uid).sort(),
    services: [...store.services()].map(serviceKey).sort(),
    policies: [...store.policies()].map((entry) => `${entry.namespace}/${entry.name}/${entry.dryRun}`).sort(),
    staged: store.stagedServiceKeys(),
    byAddress: networks.flatMap((network) =>
      addresses.map((address) => uidOf(store.workloadByAddress(network, address))),
    ),
    byVip: networks.flatMap((network) =>
      addresses.flatMap((address) =>
        clients.map((client) => keyOf(store.serviceByVip(network, address, client))),
      ),
    ),
    byHost: ["x.a", "z.a", "z.b.a", "n"].flatMap((name) =>
      clients.map((client) => keyOf(store.serviceByHostname(name, client))),
    ),
    byName: namespaces.flatMap((namespace) =>
      ["p", "q", "r"].map((name) => store.workloadsByName(namespace, name).map((entry) => entry.uid)),
    ),
    byHostname: namespaces.map((namespace) => uidOf(store.workloadByHostname(namespace, "h.example"))),
    endpoints: serviceKeys.map((key) =>
      store.endpoints(key).map((endpoint) => `${endpoint.workload.uid} ${[...endpoint.ports]}`),
    ),
  };
}

test("changes one after the other come to the same as the result at once", () => {
  fc.assert(
    fc.property(fc.array(anyChange, { maxLength: 12 }), (changes) => {
      const incremental = new MeshStore();
      for (const change of changes) {
        incremental.apply(change);
        // Asking in between must not leave anything stale behind.
        answers(incremental);
      }
      const rebuilt = new MeshStore();
      rebuilt.apply({
        policies: { upsert: [...incremental.policies()] },
        services: { upsert: [...incremental.services()].reverse() },
        workloads: { upsert: [...incremental.workloads()].reverse() },
      });
      expect(answers(incremental)).toEqual(answers(rebuilt));
    }),
    { numRuns: 150 },
  );
});

test("the model: a map of what was upserted last and not removed since", () => {
  fc.assert(
    fc.property(fc.array(anyChange, { maxLength: 12 }), (changes) => {
      const store = new MeshStore();
      const model = new Map<string, Workload>();
      for (const change of changes) {
        store.apply(change);
        for (const uid of change.workloads?.remove ?? []) model.delete(uid);
        for (const entry of change.workloads?.upsert ?? []) model.set(entry.uid, entry);
      }
      expect(new Set(store.workloads())).toEqual(new Set(model.values()));
      for (const key of serviceKeys) {
        const allowAll = store.serviceByKey(key)?.loadBalancing.healthPolicy === "ALLOW_ALL";
        const expected = [...model.values()].filter(
          (entry) => entry.services.has(key) && (allowAll || entry.status === "HEALTHY"),
        );
        expect(store.endpoints(key).map((endpoint) => endpoint.workload.uid)).toEqual(
          expected.map((entry) => entry.uid).sort(),
        );
      }
    }),
    { numRuns: 150 },
  );
});

describe("one change", () => {
  test("is seen whole by listeners, in order, with its version", () => {
    const store = new MeshStore();
    const seen: string[] = [];
    store.subscribe((_change, version) =>
      seen.push(`a${version} ${[...store.workloads()].length}/${[...store.services()].length}`),
    );
    const end = store.subscribe((_change, version) => seen.push(`b${version}`));
    store.apply({ workloads: { upsert: [workload("w")] }, services: { upsert: [service("s", {})] } });
    end();
    store.apply({ workloads: { remove: ["none"] } });
    expect(seen).toEqual(["a1 1/1", "b1", "a2 1/1"]);
    expect(store.version).toBe(2);
  });

  test("is not told to a listener that another one has ended meanwhile", () => {
    const store = new MeshStore();
    let told = 0;
    const ends: (() => void)[] = [];
    store.subscribe(() => {
      for (const end of ends) end();
    });
    ends.push(store.subscribe(() => told++));
    store.apply({});
    expect(told).toBe(0);
  });

  test("a listener may not apply another", () => {
    const store = new MeshStore();
    store.subscribe(() => store.apply({}));
    expect(() => store.apply({})).toThrow("may not apply");
  });

  test("removals come before upserts", () => {
    const store = new MeshStore();
    const entry = workload("w");
    store.apply({ workloads: { upsert: [entry], remove: [entry.uid] } });
    expect(store.workload(entry.uid)).toBe(entry);
  });
});

describe("whoever claims an address", () => {
  test("a pod before others, then HBONE, then by uid; on the node's network none is found by it", () => {
    const store = new MeshStore();
    const address = { addresses: [ip("10.0.0.1")] };
    const plain = workload("plain", { ...address, uid: "a", tunnelProtocol: "NONE" });
    const hbone = workload("hbone", { ...address, uid: "c" });
    const other = workload("other", { ...address, uid: "b" });
    const pod = workload("pod", { ...address, uid: "c//Pod/x/y", tunnelProtocol: "NONE" });
    const host = workload("host", { ...address, uid: "d//Pod/x/z", networkMode: "HOST_NETWORK" });
    const found = () => store.workloadByAddress("", ip("10.0.0.1"))?.name ?? null;
    store.apply({ workloads: { upsert: [host] } });
    expect(found()).toBeNull();
    store.apply({ workloads: { upsert: [plain] } });
    expect(found()).toBe("plain");
    store.apply({ workloads: { upsert: [hbone, other] } });
    expect(found()).toBe("other");
    store.apply({ workloads: { upsert: [pod] } });
    expect(found()).toBe("pod");
    store.apply({ workloads: { remove: [pod.uid, other.uid] } });
    expect(found()).toBe("hbone");
  });
});

describe("services that share a VIP or a name", () => {
  const vip = { addresses: [{ network: "", ip: ip("10.88.0.1") }] };
  const at = (namespace: string, fields: Partial<Service> = {}) =>
    service("s", {}, { namespace, hostname: "s.s", ...vip, ...fields });

  test("the client's namespace, the canonical one, the first; the hidden are for their namespace", () => {
    const store = new MeshStore();
    store.apply({
      services: { upsert: [at("c", { canonical: true }), at("b"), at("a", { visibility: "NAMESPACE" })] },
    });
    const found = (client: string | null) => store.serviceByVip("", ip("10.88.0.1"), client)?.namespace;
    expect([found("a"), found("b"), found("x"), found(null)]).toEqual(["a", "b", "c", "c"]);
    store.apply({ services: { remove: ["c/s.s"] } });
    expect([found("a"), found("b"), found("x"), found(null)]).toEqual(["a", "b", "b", "a"]);
    expect(store.serviceByHostname("S.s.", "x")?.namespace).toBe("b");
    // The authority of a CONNECT is a name like any other: case says nothing, and it stands for itself alone.
    expect(store.serviceByExactHostname("S.s", "x")?.namespace).toBe("b");
    expect(store.serviceByExactHostname("a.s.s", "x")).toBeNull();
  });

  test("blocks: after exact VIPs; the namespace weighs more than the length, the length more than being canonical", () => {
    const block = (namespace: string, length: number, canonical = false) =>
      service(
        "s",
        {},
        {
          namespace,
          hostname: `${namespace}${length}`,
          canonical,
          cidrAddresses: [{ network: "", prefix: { ip: ip("10.0.0.0"), length } }],
        },
      );
    const store = new MeshStore();
    store.apply({
      services: { upsert: [block("a", 8), block("b", 16), block("c", 16, true), block("d", 12, true)] },
    });
    const found = (client: string) => store.serviceByVip("", ip("10.0.0.9"), client)?.hostname;
    expect([found("a"), found("b"), found("x")]).toEqual(["a8", "b16", "c16"]);
    store.apply({
      services: {
        upsert: [service("s", {}, { hostname: "exact", addresses: [{ network: "", ip: ip("10.0.0.9") }] })],
      },
    });
    expect(found("a")).toBe("exact");
    expect(store.serviceByVip("west", ip("10.0.0.9"), "a")).toBeNull();
  });
});
