import { beforeEach, expect, test } from "bun:test";
import { policyLimits } from "../base/limits/policy.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import { WatchSource } from "../base/watch.ts";
import { type Authorization, emptyMatch } from "../mesh/authorization.ts";
import { ip, workload } from "../mesh/testing/fixture.ts";
import type { Workload } from "../mesh/workload.ts";
import { mintPermit, type PolicyConnection } from "../policy/decision.ts";
import { engineUnavailable } from "../policy/denial.ts";
import type { PolicyEngine } from "../policy/policy_engine.ts";
import { Turns } from "../policy/testing/turns.ts";
import { createPolicyEngine } from "../policy/wasm/engine.ts";
import type { Connection } from "./connections.ts";
import { decideWhenReady, inForce } from "./policy_wait.ts";
import { FlowScene } from "./testing/flow_scene.ts";
import { shopId } from "./tunnel/testing/tunnel_scene.ts";

const db = workload("db", { addresses: [ip("10.0.0.2")] });
const asked: PolicyConnection = {
  ...{ sourceIp: ip("10.0.0.1"), sourceIdentity: shopId("cart") },
  ...{ destinationIp: ip("10.0.0.2"), destinationPort: 8080 },
};

let scene: FlowScene;
/** A real one, in place of what a test says. */
let compiling: PolicyEngine | null;
let missing: readonly string[];
let preparing: boolean;
let refuses: boolean;
let prepared: WatchSource<number>;
let connection: Connection;
/** What the decision has come to. */
let outcome: unknown;

beforeEach(() => {
  scene = new FlowScene([db]);
  compiling = null;
  missing = [];
  preparing = false;
  refuses = false;
  prepared = new WatchSource(0);
  outcome = "it waits";
});

async function decide(): Promise<void> {
  const opened = scene.connections.open({
    direction: "inbound",
    source: {
      ...{ address: { ip: asked.sourceIp, port: 4711 }, workload: null, baggage: null },
      identity: asked.sourceIdentity,
    },
    destination: {
      ...{ address: { ip: asked.destinationIp, port: 8080 }, hboneAddress: null, workload: db },
      ...{ baggage: null, service: null, identity: db.identity },
    },
  });
  if (opened instanceof Error) throw opened;
  connection = opened;
  connection.record.verifiedDestination = db.identity;
  const engine = compiling ?? {
    missing: ({ labels }: Workload) => (labels.has("whole") ? [] : missing),
    isPreparing: () => preparing,
    prepared,
    decide: ({ labels }: Workload, one: PolicyConnection) =>
      refuses || labels.has("refuses") ? engineUnavailable(null, 2) : mintPermit(one, 1, null),
    wouldDeny: ({ labels }: Workload) => labels.get("strict") ?? null,
  };
  const context = scene.context({ engine } as unknown as Parameters<FlowScene["context"]>[0]);
  decideWhenReady(context, connection, db, asked).then(
    (decision) => {
      outcome = decision;
    },
    (error) => {
      outcome = error;
    },
  );
  await scene.settle();
}

test("where every policy is here it is decided at once, and nothing is waited for", async () => {
  await decide();
  expect([outcome, scene.clock.timers]).toEqual([expect.objectContaining({ allowed: true }), 0]);
});

test("a policy that is not here is waited for until it comes, or for so long", async () => {
  missing = ["shop/not-here"];
  await decide();
  scene.store.apply({ services: { remove: ["shop/none.shop"] } });
  await scene.clock.advance(proxyLimits.policyWaitMs - 1);
  expect([outcome, scene.clock.timers]).toEqual(["it waits", 1]);
  missing = [];
  scene.store.apply({ workloads: { upsert: [{ ...db, labels: new Map([["version", "2"]]) }] } });
  await scene.settle();
  expect([outcome, scene.clock.timers]).toEqual([expect.objectContaining({ allowed: true }), 0]);
  missing = ["shop/not-here"];
  outcome = "it waits";
  await decide();
  await scene.clock.advance(proxyLimits.policyWaitMs);
  expect(outcome).not.toBe("it waits");
});

test("decided again, a workload that is gone or has another identity has its own reason; else nothing is said", async () => {
  await decide();
  expect(connection.underPolicy?.decide()).toBeNull();
  scene.store.apply({ workloads: { upsert: [{ ...db, identity: shopId("other") }] } });
  expect(connection.underPolicy?.decide()).toMatchObject({ code: "workload_changed", blame: "local" });
  scene.store.apply({ workloads: { remove: [db.uid] } });
  expect(connection.underPolicy?.decide()).toMatchObject({
    code: "workload_changed",
    message: "shop/db is no longer in the mesh",
  });
});

test("a workload that changes while it waits is waited for, and decided about, as it is by then", async () => {
  missing = ["shop/not-here"];
  const labels = new Map([
    ["whole", "it names none any more"],
    ["refuses", "and others"],
  ]);
  await decide();
  scene.store.apply({ workloads: { upsert: [{ ...db, labels }] } });
  await scene.settle();
  expect([outcome, scene.clock.timers]).toEqual([expect.objectContaining({ blame: "policy" }), 0]);
});

test("whoever has waited hears of no change any more", async () => {
  let heard = 0;
  for (const watched of [scene.store, prepared]) {
    const subscribe = watched.subscribe.bind(watched) as (listener: unknown) => () => void;
    watched.subscribe = (listener: unknown) => {
      const end = subscribe(listener);
      heard++;
      return () => {
        end();
        heard--;
      };
    };
  }
  missing = ["shop/not-here"];
  await decide();
  expect(heard).toBe(2);
  await scene.clock.advance(proxyLimits.policyWaitMs);
  expect(heard).toBe(0);
});

test("what a dry run would have refused is told of the workload that was decided about, as it is by then", async () => {
  missing = ["shop/not-here"];
  await decide();
  missing = [];
  scene.store.apply({ workloads: { upsert: [{ ...db, labels: new Map([["strict", "would have been"]]) }] } });
  await scene.settle();
  expect(connection.record.dryRun).toBe("would have been");
});

test("policies that are being compiled are waited for until they decide, or for so long", async () => {
  preparing = true;
  await decide();
  prepared.set(1);
  await scene.settle();
  expect([outcome, scene.clock.timers]).toEqual(["it waits", 1]);
  preparing = false;
  prepared.set(2);
  await scene.settle();
  expect([outcome, scene.clock.timers]).toEqual([expect.objectContaining({ allowed: true }), 0]);
  preparing = true;
  outcome = "it waits";
  await decide();
  await scene.clock.advance(proxyLimits.policyWaitMs);
  expect(outcome).not.toBe("it waits");
});

test("an open connection stays as it was decided until its policies are compiled, and is decided then", async () => {
  await decide();
  preparing = true;
  refuses = true;
  scene.connections.recheckPolicy(() => true);
  await scene.settle();
  expect(connection.ended).toBe(false);
  scene.connections.recheckPostponed();
  await scene.settle();
  expect(connection.ended).toBe(false);
  preparing = false;
  scene.connections.recheckPostponed();
  await scene.settle();
  expect(connection.ended).toBe(true);
});

test("a workload that is gone is not waited for", async () => {
  await decide();
  preparing = true;
  scene.store.apply({ workloads: { remove: [db.uid] } });
  scene.connections.recheckPolicy(() => true);
  await scene.settle();
  expect(connection.ended).toBe(true);
});

test("what is acknowledged waits for the last set that is being compiled, however long, then for all that is decided again", async () => {
  const engine = { prepared, preparing: 0 };
  let again: Promise<void> | null = null;
  const connections = { decidedAgain: () => again };
  expect(inForce(engine, connections)).toBeNull();
  let count = 0;
  const tell = () => void inForce(engine, connections)?.then(() => count++);
  engine.preparing = 2;
  tell();
  engine.preparing = 1;
  prepared.set(1);
  await scene.clock.advance(10 * proxyLimits.policyWaitMs);
  expect([count, scene.clock.timers]).toEqual([0, 0]);
  const swept = Promise.withResolvers<void>();
  again = swept.promise;
  engine.preparing = 0;
  prepared.set(2);
  await scene.settle();
  expect(count).toBe(0);
  tell();
  swept.resolve();
  await scene.settle();
  expect(count).toBe(2);
});

test("a connection that comes while many policies are being compiled is decided by all of them, and no sooner", async () => {
  const turns = new Turns();
  const many = (caller: string): readonly Authorization[] =>
    Array.from({ length: policyLimits.maxValuesAtOnce }, (_, at) => {
      const value = `cluster.local/ns/shop/sa/${at === 7 ? caller : `other-${caller}-${at}`}`;
      const principals = [{ kind: "exact", value } as const];
      const rules = [{ clauses: [{ matches: [{ ...emptyMatch, principals }] }], location: null }];
      return {
        ...{ name: `${caller}-${at}`, namespace: "shop", scope: "NAMESPACE", action: "ALLOW", dryRun: false },
        ...{ rules, location: null },
      } as const;
    });
  compiling = createPolicyEngine({ missingPolicy: "deny", clock: turns });
  compiling.update(many("cart"));
  await decide();
  expect(turns.run(9)).toBe(9);
  await scene.settle();
  expect(outcome).toBe("it waits");
  turns.run();
  await scene.settle();
  expect([outcome, scene.clock.timers]).toEqual([expect.objectContaining({ allowed: true }), 0]);
  const open = connection;
  compiling.update(many("web"));
  scene.connections.recheckPolicy(() => true);
  let isAcknowledged = false;
  const context = scene.context({ engine: compiling } as unknown as Parameters<FlowScene["context"]>[0]);
  compiling.prepared.subscribe(() => scene.connections.recheckPostponed());
  void inForce(compiling, context.connections)?.then(() => {
    isAcknowledged = true;
  });
  await decide();
  outcome = "it waits";
  turns.run(9);
  await scene.settle();
  // However long that takes: by then, who is denied was cut.
  await scene.clock.advance(proxyLimits.policyWaitMs - 1);
  expect([outcome, open.ended, isAcknowledged]).toEqual(["it waits", false, false]);
  turns.run();
  expect(open.ended).toBe(true);
  await scene.settle();
  expect([outcome, isAcknowledged]).toEqual([expect.objectContaining({ code: "policy_denied" }), true]);
});
