import { expect, test } from "bun:test";
import { pkiLimits } from "../../base/limits/pki.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { checkExpected, checkPresented, checkTrustDomain } from "./peer_expectation.ts";

const ids = ["a", "b", "c", "d", "e"].map((name) => new SpiffeId("td", "shop", name));
const [a = new SpiffeId("td", "x", "x"), b = a] = ids;

test("a peer is one of those that are expected, and what was expected is said of it, in short", () => {
  const check = (id: SpiffeId, identities: readonly SpiffeId[] | null) => () =>
    checkExpected(id, { usage: "clientAuth", identities });
  expect(check(a, null)).not.toThrow();
  expect(check(b, [a, b])).not.toThrow();
  expect(check(a, [])).toThrow(`peer is ${a.uri}, expected was no identity`);
  expect(check(a, [b])).toThrow(`peer is ${a.uri}, expected was ${b.uri}`);
  const few = ids.slice(1).join(", ");
  expect(check(a, ids.slice(1))).toThrow(`expected was ${few}`);
  expect(() => checkTrustDomain(a, "td")).not.toThrow();
  expect(() => checkTrustDomain(a, "td2")).toThrow(`${a.uri} is not of trust domain td2`);
});

test("what is presented is as much as the limits say, and not more", () => {
  const { maxPresentedCertificates, maxCertificateBytes } = pkiLimits;
  const of = (count: number, bytes: number) => () =>
    checkPresented(Array.from({ length: count }, () => new Uint8Array(bytes)));
  expect(of(maxPresentedCertificates, maxCertificateBytes)).not.toThrow();
  expect(of(maxPresentedCertificates + 1, 1)).toThrow(`${maxPresentedCertificates + 1} certificates`);
  expect(of(1, maxCertificateBytes + 1)).toThrow("a certificate larger than the limit");
  expect(of(0, 0)).toThrow("no certificate");
});
