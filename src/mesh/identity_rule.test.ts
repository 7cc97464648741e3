import { expect, test } from "bun:test";
import { parseIdentityRule } from "./identity_rule.ts";

for (const [text, uid, gid, uri] of [
  ["uid=1001=shop/cart", 1001, null, "spiffe://cluster.local/ns/shop/sa/cart"],
  ["gid=0=shop/cart", null, 0, "spiffe://cluster.local/ns/shop/sa/cart"],
  [" gid=5,uid=4294967294=shop/cart ", 4294967294, 5, "spiffe://cluster.local/ns/shop/sa/cart"],
  ["uid=1=spiffe://cluster.local/ns/a/sa/b", 1, null, "spiffe://cluster.local/ns/a/sa/b"],
] as const)
  test(`${text} is a rule`, () => {
    const rule = parseIdentityRule(text, "cluster.local");
    expect(typeof rule === "string" ? rule : [rule.uid, rule.gid, rule.id.uri]).toEqual([uid, gid, uri]);
  });

for (const text of [
  "",
  "shop/cart",
  "uid=1001",
  "=shop/cart",
  "uid==shop/cart",
  "uid=-1=shop/cart",
  "uid=01=shop/cart",
  "uid=0x1=shop/cart",
  "uid=4294967295=shop/cart",
  "uid=1,uid=2=shop/cart",
  "uid=1,=shop/cart",
  "pid=1=shop/cart",
  "uid=1=cart",
  "uid=1=shop/cart/more",
  "uid=1=ns/shop/sa/cart",
  "uid=1=spiffe://other.domain/ns/a/sa/b",
  "uid=1=fairlead-nodes/edge",
])
  test(`${JSON.stringify(text)} is none`, () => {
    const rule = parseIdentityRule(text, "cluster.local");
    expect(typeof rule).toBe("string");
  });
