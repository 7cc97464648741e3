import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import type { Mirror } from "../../mesh/traffic/route_plan.ts";
import { Body } from "../body.ts";
import type { Exchange } from "../exchange.ts";
import type { Forward, Outcome } from "../stages.ts";
import { exchangeOf, ruleOf } from "../testing/exchanges.ts";
import { Clusters } from "./clusters.ts";
import { Mirrors } from "./mirrors.ts";

const mirror: Mirror = {
  destination: { service: "shop/cart.shop", port: 80, subset: null, missing: null },
  percent: 100,
};

function scene(outcome: Promise<Outcome> = new Promise(() => {}), isTaking = true) {
  const world = new MemoryWorld(1);
  const { clock } = world.host("waypoint", { addresses: ["10.0.0.1"] });
  const store = new MeshStore();
  const cart = workload("cart-v2", {
    addresses: [ip("10.0.1.1")],
    services: new Map([["shop/cart.shop", new Map()]]),
  });
  store.apply({ services: { upsert: [service("cart", { 80: 8080 })] }, workloads: { upsert: [cart] } });
  const events = { onEjected: () => {}, onReturned: () => {} };
  const clusters = new Clusters({ clock, store, plan: () => null, labels: () => new Map(), events });
  const sent: { exchange: Exchange; body: string; cancelled: boolean }[] = [];
  const forward: Forward = (exchange) => {
    const record = { exchange, body: "", cancelled: false };
    sent.push(record);
    exchange.body?.pipe({
      write: (bytes) => {
        record.body += new TextDecoder().decode(bytes);
        return isTaking;
      },
      end: () => {
        record.body += "|";
      },
      fail: () => {
        record.body += "!";
      },
    });
    return {
      tell: (onOutcome) => void outcome.then(onOutcome),
      cancel: () => {
        record.cancelled = true;
      },
    };
  };
  const mirrors = new Mirrors({
    clock,
    random: () => 0.5,
    clusters,
    chosen: ({ rule }) => rule?.mirrors ?? [],
  });
  const begin = (body: Body | null, mirrorsOf: readonly Mirror[] = [mirror]) => {
    const exchange = exchangeOf({
      request: { method: "POST", authority: "cart.shop:80", fields: ["a", "1"] },
      ...(body === null ? {} : { body }),
    });
    exchange.rule = ruleOf({ mirrors: mirrorsOf });
    mirrors.send(exchange, forward);
    return exchange;
  };
  const active = () => [...clusters.all.values()].flatMap(({ hosts }) => hosts.map((host) => host.active));
  return { world, mirrors, begin, sent, active };
}

const quiet = () => new Body({ onResume: () => {}, onCancel: () => {} });
const bytes = (text: string) => new TextEncoder().encode(text);

test("the copy has the head, the content as it comes and the trailers' place, and -shadow in its authority", () => {
  const { begin, sent } = scene();
  const body = quiet();
  body.push(bytes("he"));
  const exchange = begin(body);
  body.push(bytes("llo"));
  body.finish(null);
  expect(sent[0]?.body).toBe("hello|");
  expect(sent[0]?.exchange.request).toMatchObject({
    method: "POST",
    authority: "cart.shop-shadow:80",
    fields: ["a", "1"],
  });
  exchange.request.fields.push("b", "2");
  expect(sent[0]?.exchange.request.fields).toEqual(["a", "1"]);
});

test("its answer is read to its end and thrown away, and nothing stays held", async () => {
  const answer = quiet();
  const { begin, mirrors, active, world } = scene(
    Promise.resolve({ kind: "answered", head: { status: 500, fields: [] }, body: answer }),
  );
  begin(null);
  await world.run(1);
  answer.push(bytes("x"));
  expect([mirrors.open, active()]).toEqual([1, [1]]);
  answer.finish(null);
  expect([mirrors.open, active()]).toEqual([0, [0]]);
});

test("one that takes too long is given up", async () => {
  const { begin, mirrors, active, sent, world } = scene();
  begin(null);
  await world.run(waypointLimits.mirrorTimeoutMs + 1);
  expect([mirrors.open, mirrors.lost, active(), sent[0]?.cancelled]).toEqual([0, 1, [0], true]);
});

test("one that takes its content too slowly is given up at the bound, and the original does not notice", () => {
  const { begin, mirrors, sent } = scene(undefined, false);
  const body = quiet();
  begin(body);
  const original: number[] = [];
  body.pipe({ write: (chunk) => original.push(chunk.length) > 0, end: () => {}, fail: () => {} });
  body.push(new Uint8Array(1));
  body.push(new Uint8Array(waypointLimits.mirrorBacklogBytes - 1));
  expect(sent[0]?.cancelled).toBe(false);
  body.push(new Uint8Array(1));
  expect([mirrors.open, mirrors.lost, sent[0]?.cancelled]).toEqual([0, 1, true]);
  expect(original).toHaveLength(3);
});

test("an original that breaks ends its copy", () => {
  const { begin, mirrors, sent } = scene();
  const body = quiet();
  begin(body);
  body.fail(new MeshError("connection_reset", "peer", "gone"));
  expect([mirrors.open, sent[0]?.cancelled]).toEqual([0, true]);
});

test("no endpoint, no copy; and no more at one time than the bound", () => {
  const { begin, mirrors, sent } = scene();
  begin(null, [{ ...mirror, destination: { ...mirror.destination, service: "shop/none" } }]);
  expect([sent.length, mirrors.lost]).toEqual([0, 1]);
  for (let i = 0; i < waypointLimits.maxMirrors + 1; i++) begin(null);
  expect([mirrors.open, mirrors.lost]).toEqual([waypointLimits.maxMirrors, 2]);
});
