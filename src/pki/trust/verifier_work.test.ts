/** What a verifier does not do twice, and what it does not wait for. */
import { expect, test } from "bun:test";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { type CryptoProvider, runtimeProvider } from "../crypto/provider.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { Forge } from "../testing/forge.ts";
import { forgeList } from "../testing/forge_list.ts";
import { TrustVerifier } from "./verifier.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const expectation = { usage: "clientAuth", identities: null } as const;

/** Counts checks of signatures; the next one waits when it is told to. */
function counted() {
  const { crypto } = runtimeProvider();
  const state = { done: 0, hold: null as Promise<void> | null };
  const subtle = new Proxy(crypto.subtle, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== "function") return method;
      if (name !== "verify") return method.bind(target);
      return async (...args: readonly unknown[]): Promise<unknown> => {
        const { hold } = state;
        state.hold = null;
        await hold;
        const answer: unknown = await Reflect.apply(method, target, args);
        state.done++;
        return answer;
      };
    },
  });
  const provider: CryptoProvider = { name: "runtime", crypto: { subtle } as Crypto };
  return { state, provider };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("connections that come together share one verification, and one that comes again costs none", async () => {
  const { state, provider } = counted();
  const forge = new Forge(runtimeProvider(), nowMs);
  const root = await forge.ca();
  const leaf = await forge.leaf(root);
  const trust = new TrustVerifier({ clock: new FakeClock(nowMs), provider, trustDomain: "cluster.local" });
  trust.setRoots(root.pem);
  const verify = () => trust.verify([leaf.der], expectation);
  const [first, ...others] = await Promise.all([verify(), verify(), verify()]);
  expect(others).toEqual([first as never, first as never]);
  expect(state.done).toBe(1);
  await verify();
  expect(state.done).toBe(1);
});

test("a peer below an intermediate does not wait for lists that say nothing of it", async () => {
  const { state, provider } = counted();
  const forge = new Forge(runtimeProvider(), nowMs);
  const root = await forge.ca();
  const below = await forge.ca({ subject: "CN=below", issuer: root });
  const leaf = await forge.leaf(below);
  const trust = new TrustVerifier({ clock: new FakeClock(nowMs), provider, trustDomain: "cluster.local" });
  trust.setRoots(root.pem);
  const list = await forgeList(nowMs, runtimeProvider(), root, []);
  const held = Promise.withResolvers<void>();
  state.hold = held.promise;
  const lists = trust.setCrls([{ name: "crl", bytes: list }]);
  while (state.hold !== null) await turn();
  const order: string[] = [];
  void trust.verify([leaf.der, below.der], expectation).then(() => order.push("peer"));
  while (state.done < 2) await turn();
  for (let turns = 0; turns < 20; turns++) await turn();
  expect(order).toEqual(["peer"]);
  held.resolve();
  expect(await lists).toMatchObject([{ state: "in_force" }]);
});

test("without a root no peer is believed, and it is no fault of the peer's", async () => {
  const forge = new Forge(runtimeProvider(), nowMs);
  const leaf = await forge.leaf(await forge.ca());
  const options = { clock: new FakeClock(nowMs), provider: runtimeProvider(), trustDomain: "cluster.local" };
  expect(await rejectionOf(new TrustVerifier(options).verify([leaf.der], expectation))).toMatchObject({
    code: "certificate_untrusted",
    blame: "local",
    message: "no trust roots are loaded",
  });
});
