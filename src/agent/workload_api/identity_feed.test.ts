import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { workloadApiLimits } from "../../base/limits/agent.ts";
import { WatchSource } from "../../base/watch.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import type { TrustBundle } from "../../pki/trust/trust_bundle.ts";
import { IdentityFeed, type IdentitySources, identityUnavailable } from "./identity_feed.ts";

const cart = new SpiffeId("td", "shop", "cart");
const db = new SpiffeId("td", "shop", "db");
const svidOf = (id: SpiffeId) => ({ id }) as unknown as Svid;
const away = new MeshError("identity_unavailable", "local", "away");

function bench() {
  const clock = new FakeClock(0);
  const current = new Map<string, Svid>();
  const asked: { id: SpiffeId; settle: (error: MeshError | null) => void }[] = [];
  const listeners = new Set<(svid: Svid) => void>();
  const secrets = {
    current: (id: SpiffeId) => current.get(id.uri) ?? null,
    svid: (id: SpiffeId) =>
      new Promise<Svid>((resolve, reject) => {
        asked.push({ id, settle: (error) => (error === null ? resolve(svidOf(id)) : reject(error)) });
      }),
    subscribe: (listener: (svid: Svid) => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const bundle = new WatchSource<TrustBundle>({ rootsPem: "roots", crls: [] });
  let told = 0;
  const sources = { clock, secrets, bundle } as unknown as IdentitySources;
  const feed = new IdentityFeed(sources, () => void told++);
  const since = async (): Promise<number> => {
    await clock.advance(0);
    const count = told;
    told = 0;
    return count;
  };
  return { clock, current, asked, listeners, bundle, feed, since };
}

describe("what one stream is told of", () => {
  test("is what it asked for, once for many changes, and the bundle", async () => {
    const { current, listeners, bundle, feed, since } = bench();
    current.set(cart.uri, svidOf(cart));
    expect(feed.svid(cart)).toEqual(svidOf(cart));
    expect([feed.isAsking, await since()]).toEqual([false, 0]);
    for (const listener of listeners) listener(svidOf(db));
    expect(await since()).toBe(0);
    for (const listener of listeners) for (let times = 0; times < 3; times++) listener(svidOf(cart));
    expect(await since()).toBe(1);
    bundle.set({ rootsPem: "other", crls: [] });
    expect([await since(), feed.bundle.rootsPem]).toEqual([1, "other"]);
  });

  test("what is not there is asked for once, and its answer is told", async () => {
    const { asked, feed, since } = bench();
    expect([feed.svid(cart), feed.svid(cart), feed.isAsking, asked.length]).toEqual([null, null, true, 1]);
    asked[0]?.settle(null);
    expect([await since(), feed.isAsking, feed.failure]).toEqual([1, false, null]);
  });

  test("what cannot be had is asked for again after a while, and not before; a success forgets the failure", async () => {
    const { clock, asked, feed, since } = bench();
    feed.svid(cart);
    asked[0]?.settle(away);
    expect([await since(), feed.failure]).toEqual([1, away]);
    feed.svid(cart);
    await clock.advance(workloadApiLimits.askAgainMs - 1);
    feed.svid(cart);
    expect([asked.length, await since(), clock.timers]).toEqual([1, 0, 1]);
    await clock.advance(1);
    expect([await since(), clock.timers]).toEqual([1, 0]);
    feed.svid(cart);
    expect(asked.length).toBe(2);
    asked[1]?.settle(null);
    expect([await since(), feed.failure]).toEqual([1, null]);
  });

  test("is nothing once it is closed, whatever was under way", async () => {
    const { clock, asked, listeners, bundle, feed, since } = bench();
    feed.svid(cart);
    feed.svid(db);
    asked[0]?.settle(away);
    await since();
    bundle.set({ rootsPem: "scheduled", crls: [] });
    feed.close();
    asked[1]?.settle(away);
    feed.svid(new SpiffeId("td", "shop", "web"));
    bundle.set({ rootsPem: "late", crls: [] });
    expect([await since(), asked.length, listeners.size, clock.timers]).toEqual([0, 2, 0, 0]);
  });
});

test("a refusal of the control plane is said as one, however deep it is", () => {
  const refusal = new MeshError("control_refused", "upstream", "no");
  const wrapped = new MeshError("identity_unavailable", "local", "no SVID", { cause: refusal });
  const words = "the identity is not available now";
  for (const failure of [refusal, wrapped])
    expect(identityUnavailable(failure).message).toBe(
      `${words}: the control plane does not sign it for this host`,
    );
  for (const failure of [null, away]) expect(identityUnavailable(failure).message).toBe(words);
});
