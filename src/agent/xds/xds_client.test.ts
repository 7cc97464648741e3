import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import type { SliceClock } from "../../base/turns/time_slice.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import { encodeService, encodeWorkload } from "../../mesh/codec/encode_address.ts";
import { encodeAuthorization } from "../../mesh/codec/encode_authorization.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { service, workload } from "../../mesh/testing/fixture.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { addressType, authorizationType, trustBundleType } from "../../wire/ads/delta.ts";
import { NodeSchema } from "../../wire/messages/envoy_core.gen.ts";
import { encodeTrustBundleMessage } from "../../wire/messages/mesh_resources.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { ScriptedServer, type Sent } from "../testing/scripted_server.ts";
import { MeshResources } from "./mesh_resources.ts";
import { TrustResources, type TrustSink } from "./trust_resources.ts";
import { XdsClient } from "./xds_client.ts";

const noSink: TrustSink = { setRoots() {}, setCrls: async () => [] };
const away = new MeshError("connect_refused", "upstream", "no listener");

class Bench {
  readonly clock = new FakeClock(1_000_000);
  readonly server = new ScriptedServer();
  readonly store = new MeshStore();
  readonly lines: string[] = [];
  /** Parts of each change, in order. */
  readonly changes: string[] = [];
  ready = false;
  readonly client: XdsClient;

  constructor(sink: TrustSink = noSink, refusedPolicies: "deny" | "skip" = "deny", clock?: SliceClock) {
    const onSlow = (until: Promise<unknown>): void => this.client.holdUp(until);
    const options = { store: this.store, refusedPolicies, onSlow, ...(clock === undefined ? {} : { clock }) };
    this.store.subscribe((change) => void this.changes.push(Object.keys(change).join("+")));
    this.client = new XdsClient({
      clock: this.clock,
      random: { fill() {}, float: () => 0.5 },
      logger: { log: (level, _target, message) => void this.lines.push(`${level} ${message}`) },
      open: this.server.open,
      server: "control:15012",
      node: () =>
        newMessage(NodeSchema, {
          id: "ztunnel~1.1.1.1~.~.svc.cluster.local",
          userAgentVersionType: { case: "userAgentVersion", value: "0.4.0" },
        }),
      handlers: [new MeshResources(authorizationType, options), new MeshResources(addressType, options)],
      ownHandlers: [new TrustResources(sink)],
    });
    void this.client.ready.then(() => {
      this.ready = true;
    });
  }

  static async started(sink?: TrustSink, refusedPolicies?: "deny" | "skip"): Promise<Bench> {
    const bench = new Bench(sink, refusedPolicies);
    bench.client.start();
    await bench.clock.advance(0);
    return bench;
  }

  warnings(): string[] {
    return this.lines.filter((line) => line.startsWith("warn"));
  }
}

const address = (name: string, fields: Parameters<typeof workload>[1] = {}): Sent => {
  const one = workload(name, fields);
  return { name: one.uid, value: encodeWorkload(one) };
};
const policy = (name: string, fields: Partial<Authorization> = {}): Authorization => ({
  name,
  namespace: "shop",
  scope: "NAMESPACE",
  action: "ALLOW",
  dryRun: false,
  rules: [],
  location: null,
  ...fields,
});
const sent = (one: Authorization, version = "1"): Sent => ({
  name: `${one.namespace}/${one.name}`,
  version,
  value: encodeAuthorization(one),
});
const broken = (name: string): Sent => ({ name, value: new Uint8Array([0xff, 0xff, 0xff]) });

describe("a stream to a control plane", () => {
  test("policies are asked for before addresses, with the node in each first request alone", async () => {
    const { server } = await Bench.started();
    expect(server.requests.map(({ typeUrl, node }) => [typeUrl, node?.id !== undefined])).toEqual([
      [authorizationType, true],
      [addressType, true],
    ]);
    const nonce = server.push(addressType, [address("cart")]);
    expect(server.requests.find(({ responseNonce }) => responseNonce === nonce)?.node).toBeUndefined();
  });

  test("everything is asked for, of both kinds of types: nothing is subscribed by name", async () => {
    const bench = new Bench();
    bench.server.identifier = "fairlead/0.4.0";
    bench.client.start();
    await bench.clock.advance(0);
    bench.server.push(addressType, []);
    expect(bench.server.requests.filter(({ responseNonce }) => responseNonce === "")).toHaveLength(3);
    const first = bench.server.requests.filter(({ responseNonce }) => responseNonce === "");
    expect(first.map(({ resourceNamesSubscribe }) => resourceNamesSubscribe)).toEqual([[], [], []]);
    const bundle = [{ name: "trust", value: encodeTrustBundleMessage({ rootsPem: "one", crls: [] }) }];
    bench.server.push(trustBundleType, bundle);
    await bench.clock.advance(0);
    expect(bench.lines.filter((line) => line.startsWith("info everything was received"))).toHaveLength(0);
    bench.server.push(authorizationType, []);
    expect(bench.lines.filter((line) => line.startsWith("info everything was received"))).toHaveLength(1);
  });

  test("a large answer holds up what comes behind it, and is acknowledged when it is in force", async () => {
    let nowMs = 0;
    let waiting: (() => void)[] = [];
    const slices = { now: () => (nowMs += 100), defer: (work: () => void) => void waiting.push(work) };
    const bench = new Bench(noSink, "deny", slices);
    bench.client.start();
    await bench.clock.advance(0);
    const { server, store } = bench;
    const all = Array.from({ length: joinLimits.takenAtOnce + 1 }, (_, at) => address(`many-${at}`));
    const large = server.push(addressType, all);
    expect(server.isPaused).toBe(true);
    const last = all.at(-1)?.name ?? "";
    const behind = server.push(addressType, [], [last]);
    const policies = server.push(authorizationType, []);
    for (let turn = 0; server.answer(large) === null; turn++) {
      expect(turn).toBeLessThan(1_000);
      expect(server.answer(behind)).toBeNull();
      expect(server.answer(policies)).toBeNull();
      const ready = waiting;
      waiting = [];
      for (const work of ready) work();
      for (let count = 0; count < 20; count++) await Promise.resolve();
    }
    expect(server.isPaused).toBe(false);
    expect([large, behind, policies].map((nonce) => server.answer(nonce))).toEqual(["", "", ""]);
    expect(store.workload(last)).toBeNull();
    expect([...store.workloads()].length).toBe(joinLimits.takenAtOnce);
    expect(bench.client.status()).toMatchObject({ ready: true, current: true });
  });

  test("both types have to answer before there is a mesh, an empty answer counts", async () => {
    const bench = await Bench.started();
    bench.server.push(addressType, [address("cart")]);
    await bench.clock.advance(0);
    expect(bench.ready).toBe(false);
    bench.server.push(authorizationType, []);
    await bench.clock.advance(0);
    expect(bench.ready).toBe(true);
    expect(bench.client.status()).toMatchObject({ connected: true, current: true, identifier: "istiod-1" });
  });

  test("a control plane too far from this version is said, once a connection; another program's versions are its own", async () => {
    const said: string[] = [];
    for (const identifier of [
      "fairlead/0.5.0",
      "fairlead/0.2.0",
      "fairlead/0.6.9",
      "istiod-1",
      "otherone/0.2.0",
    ]) {
      const bench = new Bench();
      bench.server.identifier = identifier;
      bench.client.start();
      await bench.clock.advance(0);
      bench.server.push(addressType, [address("cart")]);
      bench.server.push(authorizationType, []);
      said.push(bench.lines.filter((line) => line.includes("minor version")).join());
    }
    expect(said).toEqual([
      "",
      "error this host runs fairlead 0.4.0 and the control plane 0.2.0; they may be one minor version apart: update the control plane",
      "error this host runs fairlead 0.4.0 and the control plane 0.6.9; they may be one minor version apart: update the host",
      "",
      "",
    ]);
  });

  test("a response is one change of the store, services and workloads together", async () => {
    const { server, changes, store } = await Bench.started();
    const db = service("db", { 80: 80 });
    server.push(addressType, [
      address("cart"),
      { name: `${db.namespace}/${db.hostname}`, value: encodeService(db) },
      address("db"),
    ]);
    expect(changes).toEqual(["workloads+services"]);
    server.push(addressType, [address("web")], [workload("cart").uid]);
    expect(changes).toHaveLength(2);
    expect([...store.workloads()].map(({ name }) => name).sort()).toEqual(["db", "web"]);
  });

  test("a bad resource is refused alone, by name and reason, and is not remembered as held", async () => {
    const { server, store, clock, client } = await Bench.started();
    const nonce = server.push(addressType, [address("cart"), broken("bad//Pod/x/y"), address("db")]);
    expect(server.answer(nonce)).toStartWith("bad//Pod/x/y: ");
    expect([...store.workloads()]).toHaveLength(2);
    expect(client.status().types[1]?.refused.map(({ name }) => name)).toEqual(["bad//Pod/x/y"]);
    server.end(null);
    await clock.advance(100);
    const [, again] = server.requests;
    expect(Object.keys(again?.initialResourceVersions ?? {}).sort()).toEqual(
      [workload("cart").uid, workload("db").uid].sort(),
    );
  });

  test("a refused version leaves the last good one in force", async () => {
    const { server, store } = await Bench.started();
    server.push(authorizationType, [sent(policy("p", { action: "DENY" }))]);
    const nonce = server.push(authorizationType, [broken("shop/p")]);
    expect(server.answer(nonce)).not.toBe("");
    expect(store.policy("shop/p")).toMatchObject({ action: "DENY", rules: [] });
  });

  test("a policy that never could be read denies what it may concern, until it is mended or removed", async () => {
    const bench = await Bench.started();
    const { server, store, clock } = bench;
    server.push(authorizationType, [broken("shop/p"), broken("shop/q")]);
    expect(store.policy("shop/p")).toMatchObject({ action: "DENY", scope: "NAMESPACE" });
    server.push(authorizationType, [sent(policy("p"), "2")]);
    expect(store.policy("shop/p")).toMatchObject({ action: "ALLOW" });
    // What was refused was not told as held, so a server that no longer has it says nothing of it after a reconnect.
    server.end(null);
    await clock.advance(100);
    server.push(authorizationType, []);
    expect(store.policy("shop/q")).toBeNull();
    expect(store.policy("shop/p")).not.toBeNull();
  });

  test("whoever asked for it lets what a policy may have denied pass, as ztunnel does", async () => {
    const { server, store } = await Bench.started(noSink, "skip");
    server.push(authorizationType, [broken("shop/p")]);
    expect(store.policy("shop/p")).toBeNull();
  });
});

describe("a control plane that goes away", () => {
  test("nothing is forgotten, it is said once, and what is held is told on the next stream", async () => {
    const bench = await Bench.started();
    const { server, store, clock } = bench;
    server.push(authorizationType, [sent(policy("p"), "7")]);
    server.push(addressType, [address("cart")]);
    server.fault = away;
    server.end(new MeshError("connection_reset", "upstream", "reset"));
    await clock.advance(600_000);
    expect(bench.warnings()).toHaveLength(1);
    expect(store.policy("shop/p")).not.toBeNull();
    expect(bench.client.status()).toMatchObject({
      connected: false,
      current: false,
      ready: true,
      error: "no listener",
    });
    server.fault = null;
    await clock.advance(joinLimits.backoffMaxMs);
    expect(server.requests.map(({ initialResourceVersions }) => initialResourceVersions)).toEqual([
      { "shop/p": "7" },
      { [workload("cart").uid]: "1" },
    ]);
    server.push(addressType, []);
    expect(bench.client.status().connected).toBe(true);
    server.push(authorizationType, [], ["shop/p"]);
    expect(store.policy("shop/p")).toBeNull();
  });

  test("tries come further and further apart, up to a bound", async () => {
    const { server, clock } = new Bench();
    const bench = await Bench.started();
    bench.server.fault = away;
    bench.server.end(away);
    await bench.clock.advance(1_000);
    expect(bench.server.opened).toBeLessThan(10);
    await bench.clock.advance(600_000);
    const before = bench.server.opened;
    await bench.clock.advance(150_000);
    expect(bench.server.opened - before).toBe(150_000 / joinLimits.backoffMaxMs);
    expect([server.opened, clock.timers]).toEqual([0, 0]);
  });

  test("one that takes the stream and says nothing is given up", async () => {
    const { server, clock } = await Bench.started();
    await clock.advance(joinLimits.firstAnswerTimeoutMs - 1);
    expect([server.opened, server.cancelled]).toEqual([1, 0]);
    await clock.advance(joinLimits.backoffStartMs + 1);
    expect([server.opened, server.cancelled]).toEqual([2, 1]);
  });

  test("what comes late from a stream that is gone changes nothing", async () => {
    const { server, store, clock } = await Bench.started();
    const late = server.events;
    server.end(away);
    late.onResponse(server.response(addressType, "late", [address("cart")]));
    late.onEnd(null);
    await clock.advance(joinLimits.backoffStartMs);
    expect([...store.workloads()]).toEqual([]);
    expect(server.opened).toBe(2);
  });

  test("a stream that is opened again on purpose does not count as absence", async () => {
    const bench = await Bench.started();
    bench.server.push(addressType, []);
    bench.client.reconnect();
    await bench.clock.advance(joinLimits.backoffStartMs);
    expect([bench.server.opened, bench.server.cancelled]).toEqual([2, 1]);
    expect(bench.lines.filter((line) => line.includes("away"))).toEqual([]);
  });

  test("of very many refusals the first few are logged, and long reasons are cut", async () => {
    const bench = await Bench.started();
    const many = Array.from({ length: joinLimits.maxRefusedResources + 1 }, (_, index) =>
      broken(`bad-${index}`),
    );
    bench.server.push(addressType, many);
    expect(bench.lines.filter((line) => line.includes("refused"))).toHaveLength(joinLimits.maxRefusalsLogged);
    const refused = bench.client.status().types[1]?.refused ?? [];
    expect(refused).toHaveLength(joinLimits.maxRefusedResources);
    expect(Math.max(...refused.map(({ reason }) => reason.length))).toBeLessThanOrEqual(
      joinLimits.maxReasonChars,
    );
  });

  test("tries begin from the start after a stream that has served for a while, or that we end ourselves; not after one that ends early", async () => {
    for (const [servedMs, whose, opened] of [
      [joinLimits.steadyMs - 1, "theirs", 0],
      [joinLimits.steadyMs, "theirs", 1],
      [0, "ours", 1],
    ] as const) {
      const bench = new Bench();
      bench.server.fault = away;
      bench.client.start();
      // Tries are as far apart as they come; then one is let through, whose age is known.
      await bench.clock.advance(600_000);
      bench.server.fault = null;
      const before = bench.server.opened;
      while (bench.server.opened === before) await bench.clock.advance(1);
      bench.server.push(addressType, []);
      await bench.clock.advance(servedMs);
      const at = bench.server.opened;
      bench.server.fault = away;
      if (whose === "theirs") bench.server.end(null);
      else bench.client.reconnect();
      await bench.clock.advance(joinLimits.backoffStartMs);
      expect([servedMs, bench.server.opened - at]).toEqual([servedMs, opened]);
      bench.client.close();
    }
  });

  test("a connection is said each time, and its loss where it was not our own wish", async () => {
    const said = ({ lines }: Bench) =>
      lines.filter((line) => line.includes("connected to the control plane")).length;
    const bench = await Bench.started();
    bench.server.push(addressType, []);
    bench.server.push(authorizationType, []);
    expect(said(bench)).toBe(1);
    bench.client.reconnect();
    await bench.clock.advance(joinLimits.backoffStartMs);
    bench.server.push(addressType, []);
    const quiet = said(bench);
    bench.server.end(away);
    await bench.clock.advance(joinLimits.backoffMaxMs);
    bench.server.push(addressType, []);
    expect([quiet, said(bench)]).toEqual([2, 3]);
  });

  test("a stream that comes after its wish has gone is given back, and a close is the end of it", async () => {
    const bench = new Bench();
    const { server, client, clock } = bench;
    client.start();
    client.close();
    client.close();
    client.reconnect();
    await clock.advance(joinLimits.backoffMaxMs);
    expect([server.opened, server.cancelled, server.requests.length, clock.timers]).toEqual([1, 1, 0, 0]);
  });

  test("what a stream of before was still taking is not acknowledged on the next one", async () => {
    let taken = (): void => {};
    const bench = await Bench.started({
      setRoots() {},
      setCrls: () =>
        new Promise((resolve) => {
          taken = () => resolve([]);
        }),
    });
    const { server, client, clock } = bench;
    server.identifier = "fairlead/0.4.0";
    server.push(addressType, []);
    const nonce = server.push(trustBundleType, [
      { name: "trust", value: encodeTrustBundleMessage({ rootsPem: "one", crls: [] }) },
    ]);
    await clock.advance(0);
    client.reconnect();
    await clock.advance(joinLimits.backoffStartMs);
    taken();
    await clock.advance(0);
    expect([server.opened, server.answer(nonce)]).toEqual([2, null]);
    client.close();
  });

  test("a type that was not asked for is said and acknowledged, and changes nothing", async () => {
    const bench = await Bench.started();
    const nonce = bench.server.push("type.googleapis.com/other", [{ name: "x", value: new Uint8Array(1) }]);
    expect(bench.warnings()).toEqual(["warn the control plane sent a type that was not asked for"]);
    expect([bench.server.answer(nonce), bench.changes]).toEqual(["", []]);
    // The bundle is of a handler that is there, and was not asked of this server.
    const bundle = bench.server.push(trustBundleType, [{ name: "trust", value: new Uint8Array() }]);
    expect([bench.server.answer(bundle), bench.warnings().length]).toEqual(["", 2]);
  });

  test("what was restored is the mesh of before until this server's own word for each type is there", async () => {
    const bench = await Bench.started();
    bench.server.push(authorizationType, []);
    expect(bench.client.status()).toMatchObject({ connected: true, current: false });
    bench.server.push(addressType, []);
    expect(bench.client.status()).toMatchObject({ connected: true, current: true });
    bench.server.end(null);
    expect(bench.client.status()).toMatchObject({ connected: false, current: false });
  });

  test("after close there is no further try and no timer", async () => {
    const bench = await Bench.started();
    bench.client.close();
    await bench.clock.advance(60_000);
    expect([bench.server.opened, bench.clock.timers]).toEqual([1, 0]);
  });
});

describe("our own control plane", () => {
  const bundle = (rootsPem: string): Sent => ({
    name: "trust",
    value: encodeTrustBundleMessage({ rootsPem, crls: [new Uint8Array([1])] }),
  });

  test("the trust bundle is asked for only of a server that says it is one of ours", async () => {
    const theirs = await Bench.started();
    theirs.server.push(addressType, []);
    expect(theirs.server.requests.some(({ typeUrl }) => typeUrl === trustBundleType)).toBe(false);
    const ours = await Bench.started();
    ours.server.identifier = "fairlead/0.1";
    ours.server.push(addressType, []);
    expect(ours.server.requests.filter(({ typeUrl }) => typeUrl === trustBundleType)).toHaveLength(1);
  });

  test("roots that are in force and not on this host's disk are refused, with their lists in force, and taken once they are", async () => {
    let why: string | null = "no space left";
    const inForce: string[] = [];
    const { server, client, clock } = await Bench.started({
      setRoots: (rootsPem) => void inForce.push(rootsPem),
      setCrls: async () => {
        inForce.push("lists");
        return [];
      },
      keepRoots: async () => why,
    });
    server.identifier = "fairlead/0.1";
    server.push(addressType, []);
    const unkept = server.push(trustBundleType, [bundle("one")]);
    await clock.advance(0);
    expect(inForce).toEqual(["one", "lists"]);
    expect(server.answer(unkept)).toBe("trust: no space left");
    why = null;
    client.reconnect();
    await clock.advance(joinLimits.backoffMaxMs);
    server.push(addressType, []);
    const kept = server.push(trustBundleType, [bundle("one")]);
    await clock.advance(0);
    expect(server.answer(kept)).toBe("");
    client.close();
  });

  test("a bundle is acknowledged when it is in force, not before; a bad one is refused and the last one stays", async () => {
    const roots: string[] = [];
    const inForce: (() => void)[] = [];
    const bench = await Bench.started({
      setRoots(rootsPem) {
        if (rootsPem === "bad") throw new MeshError("configuration", "local", "no certificate in it");
        roots.push(rootsPem);
      },
      setCrls: () => new Promise((resolve) => void inForce.push(() => resolve([]))),
    });
    const { server, clock } = bench;
    server.identifier = "fairlead/0.1";
    server.push(addressType, []);
    const nonce = server.push(trustBundleType, [bundle("one")]);
    await clock.advance(1_000);
    expect([server.answer(nonce), roots]).toEqual([null, ["one"]]);
    inForce[0]?.();
    await clock.advance(0);
    expect(server.answer(nonce)).toBe("");
    const bad = server.push(trustBundleType, [bundle("bad")]);
    await clock.advance(0);
    expect(server.answer(bad)).toBe("trust: no certificate in it");
    expect(roots).toEqual(["one"]);
  });
});

describe("resources of an earlier run", () => {
  test("are in force before anybody answers, and the server sends what differs", async () => {
    const bench = new Bench();
    const { client, server, store, clock } = bench;
    const restored = ({ name, version = "1", value }: Sent, typeUrl: string) => ({
      name,
      version,
      resource: { typeUrl, value },
    });
    await client.restore(authorizationType, [restored(sent(policy("p"), "9"), authorizationType)]);
    await client.restore(addressType, [restored(address("cart"), addressType)]);
    // Of a type that this host does not take any more nothing is restored.
    expect(await client.restore("type.googleapis.com/other", [restored(address("x"), "other")])).toEqual([]);
    expect(bench.lines).toEqual([]);
    server.fault = away;
    client.start();
    await clock.advance(100);
    expect(bench.ready).toBe(true);
    expect(client.status()).toMatchObject({ ready: true, current: false, connected: false });
    expect(store.policy("shop/p")).not.toBeNull();
    server.fault = null;
    await clock.advance(joinLimits.backoffMaxMs);
    expect(server.requests[0]?.initialResourceVersions).toEqual({ "shop/p": "9" });
    server.push(authorizationType, [], ["shop/p"]);
    expect(store.policy("shop/p")).toBeNull();
  });
});
