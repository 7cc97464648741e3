import { expect, test } from "bun:test";
import { pkiLimits } from "../base/limits/pki.ts";
import { rejectionOf } from "../base/testing/rejection.ts";
import { SpiffeId } from "../mesh/identity.ts";
import type { Svid } from "../pki/svid/svid.ts";
import { FakeClock } from "../pki/testing/fake_clock.ts";
import { HandedSvids } from "./handed_svids.ts";

const id = new SpiffeId("mesh", "shop", "cart");

function svid(serialNumber: string, notAfterMs = 10_000): Svid {
  return {
    ...{ id, serialNumber, notAfterMs, notBeforeMs: 0 },
    ...{ chain: [], certificateChainPem: "", privateKeyPem: "key" },
  };
}

function scene() {
  const clock = new FakeClock(0);
  const wanted: string[] = [];
  const told: string[] = [];
  const svids = new HandedSvids(clock, ({ uri }) => void wanted.push(uri));
  svids.subscribe(({ serialNumber }) => void told.push(serialNumber));
  return { clock, wanted, told, svids };
}

test("what is not there is asked for once, and all who wait get it", async () => {
  const { wanted, told, svids } = scene();
  const waiting = [svids.svid(id), svids.svid(id)];
  expect([wanted, svids.current(id)]).toEqual([[id.uri], null]);
  svids.take(svid("1"));
  expect((await Promise.all(waiting)).map(({ serialNumber }) => serialNumber)).toEqual(["1", "1"]);
  expect((await svids.svid(id)).serialNumber).toBe("1");
  expect([wanted.length, told]).toEqual([1, ["1"]]);
});

test("a successor is told once, and the same one again is none", () => {
  const { told, svids } = scene();
  for (const serial of ["1", "2", "2"]) svids.take(svid(serial));
  expect(told).toEqual(["1", "2"]);
  expect(svids.current(id)?.serialNumber).toBe("2");
});

test("a refusal is the reason; the next one asks again", async () => {
  const { wanted, svids } = scene();
  const waiting = rejectionOf(svids.svid(id));
  svids.refuse(id, "no workload of this host has it");
  expect(await waiting).toMatchObject({
    code: "identity_unavailable",
    message: "no SVID for spiffe://mesh/ns/shop/sa/cart: no workload of this host has it",
  });
  svids.svid(id).catch(() => {});
  expect(wanted).toHaveLength(2);
});

test("one that has ended, or was released, is not there", async () => {
  const { clock, svids } = scene();
  svids.take(svid("1", 5_000));
  expect(svids.current(id)).not.toBeNull();
  await clock.advance(7_000);
  expect(svids.current(id)).toBeNull();
  svids.take(svid("2", 100_000));
  svids.release(id);
  expect(svids.current(id)).toBeNull();
});

test("a node that does not answer is waited for so long, and asked again then", async () => {
  const { clock, wanted, svids } = scene();
  const waiting = rejectionOf(svids.svid(id));
  await clock.advance(pkiLimits.svidWaitMs + 1);
  expect(await waiting).toMatchObject({
    message: "no SVID for spiffe://mesh/ns/shop/sa/cart: the node has not answered yet",
  });
  svids.svid(id).catch(() => {});
  expect(wanted).toHaveLength(2);
});
