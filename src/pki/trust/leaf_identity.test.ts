import { expect, test } from "bun:test";
import { asMeshError } from "../../base/errors.ts";
import type { Certificate } from "../x509/certificate.ts";
import type { GeneralName } from "../x509/extensions.ts";
import { leafIdentity } from "./leaf_identity.ts";

const uri = (value: string): GeneralName => ({ kind: "uri", value });

/** The identity, or what is wrong. */
function identity(...subjectAltNames: readonly GeneralName[]): string {
  try {
    return leafIdentity({ extensions: { subjectAltNames } } as unknown as Certificate).uri;
  } catch (error) {
    const { code, blame, message } = asMeshError(error, "io", "local");
    expect([code, blame]).toEqual(["certificate_identity", "peer"]);
    return message;
  }
}

const cart = "spiffe://td/ns/shop/sa/cart";

test("a leaf has one URI, and that is an identity; other kinds of names say nothing", () => {
  expect(identity(uri(cart))).toBe(cart);
  expect(identity({ kind: "dns", value: "spiffe://td/ns/a/sa/b" }, uri(cart))).toBe(cart);
  expect(identity()).toBe("certificate has no URI name");
  expect(identity({ kind: "dns", value: cart })).toBe("certificate has no URI name");
  expect(identity(uri(cart), uri(cart))).toBe("certificate has 2 URI names, an SVID has one");
  expect(identity(uri("https://td/ns/shop/sa/cart"))).toContain("is not a SPIFFE identity of the mesh");
});

test("no segment of it is relative, in either place", () => {
  for (const wrong of ["ns/./sa/cart", "ns/../sa/cart", "ns/shop/sa/.", "ns/shop/sa/.."])
    expect(identity(uri(`spiffe://td/${wrong}`))).toContain("is not a SPIFFE identity of the mesh");
  for (const right of ["ns/.a/sa/cart", "ns/shop/sa/..."])
    expect(identity(uri(`spiffe://td/${right}`))).toBe(`spiffe://td/${right}`);
});
