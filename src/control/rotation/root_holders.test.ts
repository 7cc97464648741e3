import { expect, test } from "bun:test";
import { rotationLimits } from "../../base/limits/control.ts";
import { WatchSource } from "../../base/watch.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { Forge } from "../../pki/testing/forge.ts";
import type { PublishedBundle } from "../../pki/trust/trust_bundle.ts";
import { BundleHistory } from "./root_holders.ts";

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
