import { beforeEach, expect, test } from "bun:test";
import { proxyLimits } from "../base/limits/proxy.ts";
import { ip, workload } from "../mesh/testing/fixture.ts";
import { mintPermit, type PolicyConnection } from "../policy/decision.ts";
import type { Connection } from "./connections.ts";
import { decideWhenReady } from "./policy_wait.ts";
import { FlowScene } from "./testing/flow_scene.ts";
import { shopId } from "./tunnel/testing/tunnel_scene.ts";

const db = workload("db", { addresses: [ip("10.0.0.2")] });
const asked: PolicyConnection = {
  ...{ sourceIp: ip("10.0.0.1"), sourceIdentity: shopId("cart") },
  ...{ destinationIp: ip("10.0.0.2"), destinationPort: 8080 },
};

let scene: FlowScene;
let missing: readonly string[];
let connection: Connection;
/** What the decision has come to. */
let outcome: unknown;

beforeEach(() => {
  scene = new FlowScene([db]);
  missing = [];
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
  const engine = {
    missing: () => missing,
    decide: (_local: unknown, one: PolicyConnection) => mintPermit(one, 1, null),
    wouldDeny: () => null,
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
