import { describe, expect, test } from "bun:test";
import { SpiffeId } from "./identity.ts";

describe("SPIFFE identities", () => {
  test("Istio's form is read and written", () => {
    const id = SpiffeId.parse("spiffe://cluster.local/ns/shop/sa/cart");
    expect([id?.trustDomain, id?.namespace, id?.serviceAccount]).toEqual(["cluster.local", "shop", "cart"]);
    expect([id?.uri, id?.principal]).toEqual([
      "spiffe://cluster.local/ns/shop/sa/cart",
      "cluster.local/ns/shop/sa/cart",
    ]);
  });

  const lookAlikes = [
    "spiffe://CLUSTER.local/ns/shop/sa/cart",
    "SPIFFE://cluster.local/ns/shop/sa/cart",
    "spiffe:///ns/shop/sa/cart",
    "spiffe://cluster.local/ns//sa/cart",
    "spiffe://cluster.local/ns/shop/sa/",
    "spiffe://cluster.local/ns/shop/sa/cart/",
    "spiffe://cluster.local/ns/shop/sa/cart/extra",
    "spiffe://cluster.local/ns/../sa/cart",
    "spiffe://cluster.local/ns/./sa/cart",
    "spiffe://cluster.local/ns/shop/sa/..",
    "spiffe://cluster.local/ns/shop/sa/c%61rt",
    "spiffe://cluster.local/ns/shop/sa/cart\u0000",
    "spiffe://cluster.local/ns/shop/sa/cart\n",
    "spiffe://cluster.local/ns/shop/sa/cärt",
    "spiffe://user@cluster.local/ns/shop/sa/cart",
    "spiffe://cluster.local:443/ns/shop/sa/cart",
    "spiffe://cluster.local/ns/shop/sa/cart?x",
    "spiffe://cluster.local/ns/shop/sa/cart#x",
    " spiffe://cluster.local/ns/shop/sa/cart",
    "https://cluster.local/ns/shop/sa/cart",
    "",
  ];
  for (const uri of lookAlikes) {
    test(`${JSON.stringify(uri)} is none`, () => expect(SpiffeId.parse(uri)).toBeNull());
  }
});
