/** What a bundle of roots may hold, and what makes an anchor another one. */
import { expect, test } from "bun:test";
import { pkiLimits } from "../../base/limits/pki.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { Forge } from "../testing/forge.ts";
import { parseRoots, parseRootsFile, TrustAnchors } from "./anchors.ts";

const forge = new Forge(runtimeProvider(), Date.parse("2026-11-22T12:00:00Z"));

test("a root that comes twice is one anchor; another of the same name is another", async () => {
  const [one, other] = [await forge.ca({ subject: "CN=x" }), await forge.ca({ subject: "CN=x" })];
  const anchors = new TrustAnchors([one.parsed, other.parsed, ...parseRoots(one.pem)]);
  expect(anchors.certificates).toEqual([one.parsed, other.parsed]);
  expect(anchors.bySubject(one.parsed.subject)).toEqual([one.parsed, other.parsed]);
  expect(anchors.bySubject("")).toEqual([]);
});

test("a root that was renewed with its key is the same authority, and not the same certificate", async () => {
  const old = await forge.ca({ subject: "CN=x" });
  const renewed = await forge.ca({ subject: "CN=x", keys: old.keys });
  const stranger = await forge.ca({ subject: "CN=x" });
  const anchors = new TrustAnchors([renewed.parsed]);
  expect([old, renewed, stranger].map(({ parsed }) => anchors.has(parsed))).toEqual([false, true, false]);
  expect([old, renewed, stranger].map(({ parsed }) => anchors.hasAuthority(parsed.authorityKey))).toEqual([
    true,
    true,
    false,
  ]);
});

test("a bundle is as large as its limits say, and not larger", async () => {
  const { pem } = await forge.ca();
  expect(parseRoots(pem.padEnd(pkiLimits.maxRootsBytes, "\n"))).toHaveLength(1);
  expect(() => parseRoots(pem.padEnd(pkiLimits.maxRootsBytes + 1, "\n"))).toThrow("larger than the limit");
  expect(parseRoots(pem.repeat(pkiLimits.maxRoots))).toHaveLength(pkiLimits.maxRoots);
  expect(() => parseRoots(pem.repeat(pkiLimits.maxRoots + 1))).toThrow("more certificates than the limit");
  expect(() => parseRoots("")).toThrow("holds no certificate");
});

test("every root is a CA with a name, or none of them is taken; a file's error names the file", async () => {
  const root = await forge.ca({ subject: "CN=good" });
  const leaf = await forge.leaf(root, { subject: "CN=web" });
  const unmarked = await forge.ca({ subject: "CN=unmarked", basicConstraints: null });
  const unnamed = await forge.ca({ subject: "", issuer: root });
  for (const [bad, said] of [
    [leaf, 'trust root "CN=web" is not a CA certificate'],
    [unmarked, 'trust root "CN=unmarked" is not a CA certificate'],
    [unnamed, "trust root 2 has an empty name"],
  ] as const) {
    expect(() => parseRoots(root.pem + bad.pem)).toThrow(said);
    expect(() => parseRootsFile(root.pem + bad.pem, "/etc/roots.pem")).toThrow(`/etc/roots.pem: ${said}`);
  }
  expect(parseRootsFile(root.pem, "/etc/roots.pem")).toHaveLength(1);
});
