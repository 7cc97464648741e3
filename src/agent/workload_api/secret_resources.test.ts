import { expect, test } from "bun:test";
import { encodePem } from "../../pki/der/pem.ts";
import type { IdentityFeed } from "./identity_feed.ts";
import type { LocalCaller } from "./local_callers.ts";
import { lookUpSecret } from "./secret_resources.ts";
import { cart, web } from "./testing/lab.ts";

test("what a caller may have and is not there yet is pending; of anything else it is not said whether it is there", () => {
  const caller: LocalCaller = { name: "uid=7,gid=7", uid: 7, ids: [cart] };
  const naming = { trustDomain: "cluster.local", withRevocationLists: true };
  const found = (name: string, rootsPem: string) => {
    const feed = { bundle: { rootsPem, crls: [] }, svid: () => null } as unknown as IdentityFeed;
    const secret = lookUpSecret(name, caller, feed, naming);
    return typeof secret === "string" ? secret : secret.name;
  };
  const roots = encodePem("CERTIFICATE", new TextEncoder().encode("root"));
  for (const name of ["ROOTCA", "spiffe://cluster.local"])
    expect([found(name, ""), found(name, roots)]).toEqual(["pending", name]);
  expect(["default", cart.uri].map((name) => found(name, roots))).toEqual(["pending", "pending"]);
  expect([web.uri, "spiffe://other", "other"].map((name) => found(name, roots))).toEqual([
    "forbidden",
    "forbidden",
    "forbidden",
  ]);
});
