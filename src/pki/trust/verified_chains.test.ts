import { expect, test } from "bun:test";
import { pkiLimits } from "../../base/limits/pki.ts";
import { ChainMap, type PresentedChain, VerifiedChains } from "./verified_chains.ts";
import type { VerifiedPeer } from "./verifier.ts";

function presented(leaf: number, front = 0): PresentedChain {
  const bytes = new Uint8Array(40);
  bytes[0] = front;
  new DataView(bytes.buffer).setUint32(36, leaf);
  return { chain: [bytes], usage: "clientAuth" };
}

const peer = (notBeforeMs: number, notAfterMs: number): VerifiedPeer =>
  ({ notBeforeMs, notAfterMs }) as VerifiedPeer;

test("a hit takes the whole chain and the usage, not the end of the leaf alone", () => {
  const map = new ChainMap<number>();
  map.set(presented(1), 1);
  expect(map.get(presented(1))).toBe(1);
  expect(map.get(presented(1, 7))).toBeNull();
  expect(map.get({ ...presented(1), usage: "serverAuth" })).toBeNull();
  expect(map.get({ usage: "clientAuth", chain: [...presented(1).chain, new Uint8Array(1)] })).toBeNull();
  expect(map.get({ usage: "clientAuth", chain: [] })).toBeNull();
  map.delete(presented(1, 7));
  expect(map.get(presented(1))).toBe(1);
  map.set(presented(1, 7), 7);
  expect(map.get(presented(1))).toBeNull();
  expect(map.size).toBe(1);
});

test("no more chains than the limit; the least recently used goes first", () => {
  const chains = new VerifiedChains();
  for (let leaf = 0; leaf < pkiLimits.maxVerifiedChains; leaf++) chains.set(presented(leaf), peer(0, 10));
  expect(chains.get(presented(0), 5)).not.toBeNull();
  chains.set(presented(pkiLimits.maxVerifiedChains), peer(0, 10));
  expect(chains.size).toBe(pkiLimits.maxVerifiedChains);
  expect(chains.get(presented(0), 5)).not.toBeNull();
  expect(chains.get(presented(1), 5)).toBeNull();
});

test("a chain is remembered from its first instant to its last", () => {
  const chains = new VerifiedChains();
  chains.set(presented(1), peer(3, 10));
  for (const nowMs of [3, 10]) expect(chains.get(presented(1), nowMs)).toEqual(peer(3, 10));
});

test("a chain is forgotten when it is not valid any more, or not yet", () => {
  const chains = new VerifiedChains();
  for (const nowMs of [11, -1]) {
    chains.set(presented(1), peer(0, 10));
    expect(chains.get(presented(1), nowMs)).toBeNull();
    expect(chains.size).toBe(0);
  }
});
