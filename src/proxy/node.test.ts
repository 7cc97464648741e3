/** What a node's tunnel does when the mesh, its policies or trust change; what its parts do is tried by themselves. */
import { beforeEach, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { MetricRegistry } from "../base/metrics.ts";
import { WatchSource } from "../base/watch.ts";
import { ip, workload } from "../mesh/testing/fixture.ts";
import type { Workload } from "../mesh/workload.ts";
import type { VerifiedPeer } from "../pki/trust/verifier.ts";
import type { Connection } from "./connections.ts";
import { NodeTunnel } from "./node.ts";
import type { NodeContext } from "./node_context.ts";
import { FlowScene } from "./testing/flow_scene.ts";
import { shopId } from "./tunnel/testing/tunnel_scene.ts";

const db = workload("db", { addresses: [ip("10.0.0.2")] });
const cache = workload("cache", { addresses: [ip("10.0.0.3")] });
const lost = new MeshError("policy_changed", "policy", "closed by a policy change");

let scene: FlowScene;
let locals: readonly Workload[];
let prepared: WatchSource<number>;
let trusted: WatchSource<number>;
let distrust: MeshError | null;
/** Workloads whose policies were looked for, in order. */
let looked: string[];
let tunnel: NodeTunnel;

beforeEach(() => {
  scene = new FlowScene([db, cache]);
  locals = [db];
  prepared = new WatchSource(0);
  trusted = new WatchSource(0);
  distrust = null;
  looked = [];
  const engine = {
    isPreparing: ({ name }: Workload) => {
      looked.push(name);
      return false;
    },
    prepared,
  };
  const context = scene.context({
    engine,
    locals: {
      get all() {
        return locals;
      },
      subscribe: () => () => {},
    },
    trust: { changes: trusted, recheck: () => distrust },
    secrets: { subscribe: () => () => {} },
    telemetry: Object.assign(scene.telemetry, { metrics: new MetricRegistry() }),
    logger: { log: () => {} },
  } as unknown as NodeContext);
  tunnel = new NodeTunnel(context, {
    ...{ bindInbound: "none", hbonePort: 15008, wildcards: [], captured: null },
    ...{ socks5: [], httpConnect: [], localPorts: [], applications: [] },
  });
});

/** Of a caller whose connection into `local` is open. @param decide when it is decided again. */
function open(local: Workload, decide: () => MeshError | null): Connection {
  const connection = scene.connections.open({
    direction: "inbound",
    source: {
      ...{ address: { ip: ip("10.0.0.1"), port: 4711 }, workload: null, baggage: null },
      identity: shopId("cart"),
    },
    destination: {
      ...{ address: { ip: ip("10.0.0.2"), port: 8080 }, hboneAddress: null, workload: local },
      ...{ baggage: null, service: null, identity: local.identity },
    },
  });
  if (connection instanceof MeshError) throw connection;
  connection.underPolicy = { workloadUid: local.uid, decide };
  return connection;
}

const another = { ...db, labels: new Map([["version", "2"]]) };

test("policies of this host's workloads are compiled before anybody calls: at the start, and when either changes", () => {
  expect(looked).toEqual(["db"]);
  locals = [db, cache];
  scene.store.apply({ workloads: { upsert: [another] } });
  expect(looked).toEqual(["db", "db", "cache"]);
  scene.store.apply({ policies: { remove: ["shop/none"] } });
  expect(looked.length).toBe(5);
  // What changes neither is no reason.
  scene.store.apply({ services: { remove: ["shop/none.shop"] } });
  expect(looked.length).toBe(5);
});

test("connections into a workload that changed are decided again, and no others", () => {
  const open1 = open(db, () => lost);
  const open2 = open(cache, () => lost);
  scene.store.apply({ workloads: { upsert: [another] } });
  expect([open1.ended, open2.ended]).toEqual([true, false]);
});

test("what waited for policies that were being compiled is decided when they are, and nothing else", () => {
  const waits = open(db, () => lost);
  const others = open(cache, () => lost);
  scene.connections.postpone(db.uid);
  prepared.set(1);
  expect([waits.ended, others.ended]).toEqual([true, false]);
});

test("when trust changes, callers that are trusted no more are cut", () => {
  const peer = { id: shopId("cart") } as unknown as VerifiedPeer;
  const connection = open(db, () => null);
  connection.peer = peer;
  trusted.set(1);
  expect(connection.ended).toBe(false);
  distrust = new MeshError("certificate_revoked", "peer", "it was revoked");
  trusted.set(2);
  expect([connection.ended, scene.codes]).toEqual([true, ["certificate_revoked"]]);
});

test("a tunnel that was stopped decides nothing any more, and all that was open is cut", () => {
  const connection = open(db, () => null);
  tunnel.stop();
  expect([connection.ended, scene.codes]).toEqual([true, ["draining"]]);
  let asked = 0;
  open(db, () => {
    asked++;
    return null;
  });
  const before = looked.length;
  scene.store.apply({ workloads: { upsert: [another] } });
  scene.connections.postpone(db.uid);
  prepared.set(1);
  expect([asked, looked.length]).toEqual([0, before]);
});
