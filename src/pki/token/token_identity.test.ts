import { describe, expect, test } from "bun:test";
import { IdentityTemplate, serviceAccountIdentity } from "./token_identity.ts";

describe("an identity by a template", () => {
  const identity = (template: string, claims: object): string | null =>
    IdentityTemplate.parse(template)?.identity({ ...claims }, "mesh.example")?.uri ?? null;

  test("has each part from its own claim, or as it is written", () => {
    const claims = { space: "shop", sub: "cart", a: { b: "deep" } };
    expect(identity("ns/{space}/sa/{sub}", claims)).toBe("spiffe://mesh.example/ns/shop/sa/cart");
    expect(identity("ns/prod/sa/{sub}", claims)).toBe("spiffe://mesh.example/ns/prod/sa/cart");
    expect(identity("ns/{space}/sa/web", claims)).toBe("spiffe://mesh.example/ns/shop/sa/web");
    expect(identity("ns/{a.b}/sa/{sub}", claims)).toBe("spiffe://mesh.example/ns/deep/sa/cart");
  });

  test("is none when a claim is missing, inherited, no text, or more than a name", () => {
    for (const value of [undefined, 7, null, ["cart"], { b: "x" }, "", "a/b", "a b", "x".repeat(254)])
      expect([value, identity("ns/{space}/sa/{sub}", { space: "shop", sub: value })]).toEqual([value, null]);
    expect(identity("ns/{toString}/sa/{sub}", { sub: "cart" })).toBeNull();
    expect(identity("ns/{a.b}/sa/{sub}", { a: "text", sub: "cart" })).toBeNull();
    for (const a of [["x"], "x"]) expect(identity("ns/{a.0}/sa/{sub}", { a, sub: "cart" })).toBeNull();
    expect(identity("ns/{space}/sa/{sub}", { space: "shop", sub: "x".repeat(253) })).not.toBeNull();
  });

  test("is no template without a claim, or in another form", () => {
    for (const text of [
      "ns/a/sa/b",
      "ns/{a}/sa/",
      "ns//sa/{b}",
      "ns/{a}/sa/{b}/c",
      "{a}",
      "ns/{a b}/sa/{c}",
      "ns/{a/sa/{b}",
      "ns/{.a}/sa/b",
      "sa/{a}/ns/{b}",
    ])
      expect([text, IdentityTemplate.parse(text)]).toEqual([text, null]);
    expect(IdentityTemplate.parse("ns/{a}/sa/{b}")?.text).toBe("ns/{a}/sa/{b}");
  });
});

test("Kubernetes' subject has four parts", () => {
  const of = (sub: unknown) => serviceAccountIdentity({ sub }, "mesh.example")?.uri ?? null;
  expect(of("system:serviceaccount:shop:cart")).toBe("spiffe://mesh.example/ns/shop/sa/cart");
  for (const sub of [
    undefined,
    7,
    "system:serviceaccount:shop",
    "system:serviceaccount:shop:",
    "system:serviceaccount::cart",
    "system:serviceaccount:shop:cart:x",
    "system:node:shop:cart",
    "user:serviceaccount:shop:cart",
  ])
    expect([sub, of(sub)]).toEqual([sub, null]);
});
