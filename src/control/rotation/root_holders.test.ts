import { expect, test } from "bun:test";
import { rotationLimits } from "../../base/limits/control.ts";
import { WatchSource } from "../../base/watch.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { Forge } from "../../pki/testing/forge.ts";
import type { PublishedBundle } from "../../pki/trust/trust_bundle.ts";
import { BundleHistory, currentLeaves, holdersOf, lackingRoot } from "./root_holders.ts";

/** As it is kept of a certificate that was issued. */
function issued(requestedBy: string, identity: string, serial: string, more: object = {}) {
  return { requestedBy, identity, serial, issuerKey: "k1", issuedAtMs: 100, ...more };
}

function recordsOf(
  rows: readonly object[],
  revoked: readonly { readonly kind: string; readonly value: string }[] = [],
) {
  return {
    certificates: { all: () => rows },
    revocations: { list: () => revoked },
  } as unknown as Parameters<typeof currentLeaves>[0];
}

const cart = "spiffe://m/ns/shop/sa/cart";

test("whoever is revoked holds no leaf, by host, by identity or by serial number", () => {
  const rows = [
    issued("edge-1", cart, "01"),
    issued("edge-2", cart, "02"),
    issued("edge-2", "spiffe://m/ns/a/sa/b", "03"),
  ];
  const held = (kind?: string, value = "") =>
    currentLeaves(recordsOf(rows, kind === undefined ? [] : [{ kind, value }]), 0).map(
      ({ holder, identity }) => `${holder} ${identity.slice(-1)}`,
    );
  expect(held()).toEqual(["edge-1 t", "edge-2 t", "edge-2 b"]);
  expect(held("node", "edge-2")).toEqual(["edge-1 t"]);
  expect(held("identity", cart)).toEqual(["edge-2 b"]);
  expect(held("serial", "01")).toEqual(["edge-2 t", "edge-2 b"]);
});

test("of several leaves of one identity that a host has the newest counts", () => {
  const rows = [
    issued("edge-1", cart, "02", { issuerKey: "k2", issuedAtMs: 200 }),
    issued("edge-1", cart, "01", { issuerKey: "k1", issuedAtMs: 100 }),
    issued("edge-2", cart, "03", { issuerKey: "k1", issuedAtMs: 150 }),
  ];
  const leaves = currentLeaves(recordsOf(rows), 0);
  expect(holdersOf("k1", leaves)).toEqual([`edge-2 (${cart})`]);
  expect(holdersOf("k2", leaves)).toEqual([`edge-1 (${cart})`]);
});

test("a node holds a root that it has acknowledged, whoever is none one that came with a certificate since", async () => {
  const forge = new Forge(runtimeProvider(), Date.now());
  const [root, other] = [await forge.ca({ subject: "CN=new" }), await forge.ca({ subject: "CN=old" })];
  const bundle = (version: string, rootsPem: string) =>
    ({ version, rootsPem, crls: [], wantedIssuerKeyId: null }) as unknown as PublishedBundle;
  const source = new WatchSource<PublishedBundle>(bundle("before", other.pem));
  const history = new BundleHistory(source);
  source.set(bundle("with", root.pem));
  const leaf = (holder: string, issuedAtMs: number) => ({
    holder,
    identity: cart,
    issuerKey: "k1",
    issuedAtMs,
  });
  const knowledge = {
    nodes: () => ["edge-1", "edge-2", "edge-3"],
    acknowledged: () =>
      new Map([
        ["edge-1", "with"],
        ["edge-2", "before"],
      ]),
  };
  const announcedAtMs = 1_000;
  const leaves = [
    // A certificate that was issued to a node says nothing: its answer may have been lost.
    leaf("edge-3", 2_000),
    leaf("ztunnel-1", 1_001),
    // Of the same millisecond it may have been either way.
    leaf("ztunnel-2", 1_000),
  ];
  expect(lackingRoot(root.parsed, announcedAtMs, leaves, knowledge, history)).toEqual([
    "edge-2",
    "edge-3",
    "ztunnel-2",
  ]);
  history.close();
});

test("which roots were in a bundle is known of so many versions, and of the one that was longest ago no more", async () => {
  const forge = new Forge(runtimeProvider(), Date.now());
  const [root, other] = [await forge.ca({ subject: "CN=one" }), await forge.ca({ subject: "CN=two" })];
  const bundle = (version: string, rootsPem = root.pem): PublishedBundle =>
    ({ version, rootsPem, crls: [], wantedIssuerKeyId: null }) as unknown as PublishedBundle;
  const source = new WatchSource<PublishedBundle>(bundle("", ""));
  const history = new BundleHistory(source);
  const { maxRememberedBundles } = rotationLimits;
  const publish = (version: string): void => source.set(bundle(version));
  for (let n = 0; n < maxRememberedBundles; n++) publish(`v${n}`);
  expect([history.hasRoot("v0", root.parsed), history.hasRoot("v0", other.parsed)]).toEqual([true, false]);
  expect(history.hasRoot("", root.parsed)).toBe(false);
  // One that is published again is not the one that was longest ago.
  publish("v0");
  publish("new");
  expect(["v0", "v1", "v2", "new"].map((version) => history.hasRoot(version, root.parsed))).toEqual([
    true,
    false,
    true,
    true,
  ]);
  history.close();
  publish("after");
  expect(history.hasRoot("after", root.parsed)).toBe(false);
});
