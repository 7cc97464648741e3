/**
 * Clients that are slow, that lose their connection and come again, under a mesh that changes: in the end all hold what the control
 * plane holds, and on the way none ever holds a workload that names a policy it does not hold. `XDS_SEED=n` repeats a run.
 */
import { expect, test } from "bun:test";
import type { Authorization } from "../../mesh/authorization.ts";
import { authorizationKey } from "../../mesh/authorization.ts";
import { decodeAddress } from "../../mesh/codec/decode_address.ts";
import { decodeAuthorization } from "../../mesh/codec/decode_authorization.ts";
import { serviceKey } from "../../mesh/service.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { service, workload } from "../../mesh/testing/fixture.ts";
import { PolicyGenerator } from "../../policy/testing/policy_generator.ts";
import { DeltaClient } from "../../wire/ads/client.ts";
import { addressType, authorizationType, type Delivery, type DeltaResponse } from "../../wire/ads/delta.ts";
import { type LabStream, nodeOf, settle, XdsLab } from "./testing/xds_lab.ts";

const base = Number(process.env.XDS_SEED ?? Date.now() % 2 ** 32);
const runs = process.env.XDS_SEED === undefined ? 12 : 1;

class Client {
  readonly name: string;
  readonly store = new MeshStore();
  readonly violations: string[] = [];
  deliveries = 0;
  readonly #lab: XdsLab;
  readonly #client: DeltaClient;
  #stream: LabStream | null = null;

  constructor(lab: XdsLab, name: string, order: readonly string[]) {
    this.#lab = lab;
    this.name = name;
    this.#client = new DeltaClient(order.map((typeUrl) => ({ typeUrl, mode: "wildcard" })));
  }

  get connected(): boolean {
    return this.#stream !== null && !this.#stream.ended;
  }

  async connect(): Promise<void> {
    this.#stream = this.#lab.open(this.name);
    await settle();
    for (const request of this.#client.connect())
      this.#stream.request({ ...request, node: nodeOf(this.name) });
  }

  lose(): void {
    this.#stream?.lose();
    this.#client.disconnect();
  }

  stall(): void {
    if (this.#stream !== null) this.#stream.aboveHighWater = true;
  }

  /** Takes one response, if there is one. @returns whether there was. */
  step(answer: boolean): boolean {
    const stream = this.#stream;
    if (stream === null || stream.ended) return false;
    stream.room();
    const response = stream.take();
    if (response === null) return false;
    this.deliveries++;
    const delivery = this.#client.onResponse(response as DeltaResponse);
    if (delivery === null) throw new Error(`${response.typeUrl} was not asked for`);
    this.#apply(delivery);
    const acknowledgement = this.#client.acknowledge(delivery, []);
    // Taken, and lost before the server hears of it.
    if (answer) stream.request({ ...acknowledgement });
    else this.lose();
    return true;
  }

  #apply({ typeUrl, resources, removed }: Delivery): void {
    if (typeUrl === authorizationType) {
      const upsert = resources.map(({ name, resource }) => {
        const decoded = decodeAuthorization(name, resource?.value ?? new Uint8Array());
        if (!decoded.ok) throw new Error(decoded.reason);
        return decoded.value;
      });
      this.store.apply({ policies: { upsert, remove: removed } });
    } else {
      const decoded = resources.map(({ name, resource }) => {
        const address = decodeAddress(name, resource?.value ?? new Uint8Array());
        if (!address.ok) throw new Error(address.reason);
        return address.value;
      });
      this.store.apply({
        workloads: {
          upsert: decoded.flatMap((each) => (each.kind === "workload" ? [each.workload] : [])),
          remove: removed,
        },
        services: {
          upsert: decoded.flatMap((each) => (each.kind === "service" ? [each.service] : [])),
          remove: removed,
        },
      });
    }
    for (const { uid, authorizationPolicies } of this.store.workloads())
      for (const key of authorizationPolicies)
        if (this.store.policy(key) === null) this.violations.push(`${uid} names ${key}, which is not held`);
  }
}

/** Names of a mesh in which policies come and go together with the workloads that name them. */
function changeMesh(store: MeshStore, random: PolicyGenerator): void {
  const held = new Map([...store.policies()].map((each) => [authorizationKey(each), each]));
  const kept = [...held.keys()].filter(() => random.chance(0.8));
  const added = random
    .policies(random.below(3))
    .map((each): Authorization => ({ ...each, namespace: "shop" }));
  const now = new Set([...kept, ...added.map(authorizationKey)]);
  const names = () => [...now].filter(() => random.chance(0.2));
  const workloads = new Map([...store.workloads()].map((each) => [each.uid, each]));
  const gone = [...workloads.keys()].filter(() => random.chance(0.1));
  const renamed = [...workloads.values()]
    .filter(({ uid, authorizationPolicies }) => {
      return (
        !gone.includes(uid) && (random.chance(0.2) || authorizationPolicies.some((key) => !now.has(key)))
      );
    })
    .map((each) => ({ ...each, authorizationPolicies: names() }));
  const born = Array.from({ length: random.below(4) }, () => {
    const name = `w${random.below(30)}`;
    return workload(name, { authorizationPolicies: names(), capacity: random.below(100) });
  });
  const services = [...store.services()].map(serviceKey);
  store.apply({
    policies: { upsert: added, remove: [...held.keys()].filter((key) => !now.has(key)) },
    workloads: { upsert: [...renamed, ...born], remove: gone },
    services: {
      upsert: random.chance(0.5) ? [service(`s${random.below(10)}`, { [80 + random.below(3)]: 80 })] : [],
      remove: services.filter(() => random.chance(0.1)),
    },
  });
}

function contents(store: MeshStore): Record<string, unknown> {
  return {
    workloads: new Map([...store.workloads()].map((each) => [each.uid, { ...each, location: null }])),
    services: new Map([...store.services()].map((each) => [serviceKey(each), { ...each, location: null }])),
    policies: new Map([...store.policies()].map((each) => [authorizationKey(each), each])),
  };
}

for (let run = 0; run < runs; run++) {
  const seed = (base + run) >>> 0;
  test(`everybody converges, and no workload comes before its policies (XDS_SEED=${seed})`, async () => {
    const random = new PolicyGenerator(seed);
    const lab = new XdsLab({ limits: { responseBytes: random.pick([200, 2000, 1_000_000]) } });
    const clients = Array.from({ length: 8 }, (_, index) => {
      const order = [authorizationType, addressType];
      return new Client(lab, `edge-${index}`, index % 2 === 0 ? order : order.reverse());
    });
    for (let step = 0; step < 400; step++) {
      if (random.chance(0.3)) changeMesh(lab.store, random);
      lab.clock.advance(random.below(30));
      const client = random.pick(clients);
      if (!client.connected) await client.connect();
      else if (random.chance(0.04)) client.lose();
      else if (random.chance(0.1)) client.stall();
      else for (let count = random.below(4); count > 0; count--) client.step(!random.chance(0.05));
    }
    lab.clock.advance(1000);
    for (const client of clients) if (!client.connected) await client.connect();
    lab.clock.advance(1000);
    for (let busy = true, rounds = 0; busy; rounds++) {
      expect(rounds).toBeLessThan(5000);
      busy = clients.map((client) => client.step(true)).some((did) => did);
    }
    for (const client of clients) {
      expect(client.violations).toEqual([]);
      expect(contents(client.store)).toEqual(contents(lab.store));
      expect(client.deliveries).toBeGreaterThan(3);
    }
    expect(lab.server.status().every(({ types }) => types.every(({ behind }) => !behind))).toBe(true);
  });
}
