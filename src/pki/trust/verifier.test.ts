import { beforeAll, describe, expect, test } from "bun:test";
import type { ErrorCode } from "../../base/errors.ts";
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { clientAuth, Forge, type Forged, type ForgeOptions, forged, serverAuth } from "../testing/forge.ts";
import { providers } from "../testing/providers.ts";
import { Extension, KeyUsageFlags } from "../x509/peculiar.ts";
import { TrustVerifier, VerifiedPeer } from "./verifier.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const day = 24 * 3_600_000;
const cart = new SpiffeId("cluster.local", "shop", "cart");
const usages = ["clientAuth", "serverAuth"] as const;

async function outcome(verification: Promise<VerifiedPeer>): Promise<ErrorCode | "accepted"> {
  try {
    await verification;
    return "accepted";
  } catch (error) {
    if (error instanceof MeshError) return error.code;
    throw error;
  }
}

interface Bench {
  readonly forge: Forge;
  readonly root: Forged;
  readonly clock: FakeClock;
  readonly trust: TrustVerifier;
}

async function makeBench(provider: CryptoProvider): Promise<Bench> {
  const forge = new Forge(provider, nowMs);
  const clock = new FakeClock(nowMs);
  const root = await forge.ca();
  const trust = new TrustVerifier({ clock, provider, trustDomain: "cluster.local" });
  trust.setRoots(root.pem);
  return { forge, root, clock, trust };
}

/** A chain that must be refused: how it is made and what the refusal is called. */
interface BadChain {
  readonly name: string;
  readonly code: ErrorCode;
  /** A part of what it says, where several refusals have one code. */
  readonly message?: string;
  readonly make: (bench: Bench) => Promise<readonly Uint8Array[]>;
}

function badLeaf(name: string, code: ErrorCode, options: ForgeOptions): BadChain {
  return { name, code, make: async ({ forge, root }) => [(await forge.leaf(root, options)).der] };
}

function badIntermediate(name: string, code: ErrorCode, options: ForgeOptions): BadChain {
  return {
    name,
    code,
    make: async ({ forge, root }) => {
      const intermediate = await forge.ca({ subject: "CN=intermediate", issuer: root, ...options });
      return [(await forge.leaf(intermediate)).der, intermediate.der];
    },
  };
}

async function chainOf(
  bench: Bench,
  length: number,
  last: ForgeOptions = {},
): Promise<{ issuer: Forged; ders: Uint8Array[] }> {
  let issuer = bench.root;
  const ders: Uint8Array[] = [];
  for (let depth = 1; depth <= length; depth++) {
    const options = depth === length ? last : {};
    issuer = await bench.forge.ca({ subject: `CN=intermediate ${depth}`, issuer, ...options });
    ders.unshift(issuer.der);
  }
  return { issuer, ders };
}

const uri = (path: string): ForgeOptions => ({ uris: [path] });

const badLeaves: readonly BadChain[] = [
  badLeaf("expired", "certificate_expired", {
    notBefore: new Date(nowMs - 2 * day),
    notAfter: new Date(nowMs - day),
  }),
  badLeaf("not yet valid", "certificate_not_yet_valid", {
    notBefore: new Date(nowMs + day),
    notAfter: new Date(nowMs + 2 * day),
  }),
  badLeaf("CA:true leaf", "certificate_constraints", { basicConstraints: { ca: true } }),
  badLeaf("no key usage", "certificate_usage", { keyUsage: null }),
  badLeaf("key usage without digitalSignature", "certificate_usage", {
    keyUsage: KeyUsageFlags.keyEncipherment,
  }),
  badLeaf("leaf that may sign certificates", "certificate_usage", {
    keyUsage: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyCertSign,
  }),
  badLeaf("no extended key usage", "certificate_usage", { extendedKeyUsage: null }),
  badLeaf("code signing only", "certificate_usage", { extendedKeyUsage: ["1.3.6.1.5.5.7.3.3"] }),
  badLeaf("any extended key usage only", "certificate_usage", { extendedKeyUsage: ["2.5.29.37.0"] }),
  badLeaf("no name at all", "certificate_identity", { uris: [] }),
  badLeaf("two SPIFFE names", "certificate_identity", {
    uris: ["spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/shop/sa/admin"],
  }),
  badLeaf("a SPIFFE name and another URI", "certificate_identity", {
    uris: ["spiffe://cluster.local/ns/shop/sa/cart", "https://cluster.local/"],
  }),
  badLeaf("DNS name that looks like one", "certificate_identity", {
    uris: [],
    dnsNames: ["spiffe://cluster.local/ns/shop/sa/cart"],
  }),
  badLeaf("common name that looks like one", "certificate_identity", {
    uris: [],
    subject: "CN=spiffe://cluster.local/ns/shop/sa/cart",
  }),
  badLeaf("upper-case trust domain", "certificate_identity", uri("spiffe://Cluster.local/ns/shop/sa/cart")),
  badLeaf("upper-case scheme", "certificate_identity", uri("SPIFFE://cluster.local/ns/shop/sa/cart")),
  badLeaf("percent escape", "certificate_identity", uri("spiffe://cluster.local/ns/shop/sa/c%61rt")),
  badLeaf("trailing slash", "certificate_identity", uri("spiffe://cluster.local/ns/shop/sa/cart/")),
  badLeaf("doubled slash", "certificate_identity", uri("spiffe://cluster.local//ns/shop/sa/cart")),
  badLeaf("relative segment", "certificate_identity", uri("spiffe://cluster.local/ns/../sa/cart")),
  badLeaf("embedded NUL", "certificate_identity", uri("spiffe://cluster.local/ns/shop/sa/cart\0x")),
  badLeaf("trailing newline", "certificate_identity", uri("spiffe://cluster.local/ns/shop/sa/cart\n")),
  badLeaf("port", "certificate_identity", uri("spiffe://cluster.local:443/ns/shop/sa/cart")),
  badLeaf("user information", "certificate_identity", uri("spiffe://x@cluster.local/ns/shop/sa/cart")),
  badLeaf("query", "certificate_identity", uri("spiffe://cluster.local/ns/shop/sa/cart?x=1")),
  badLeaf("no trust domain", "certificate_identity", uri("spiffe:///ns/shop/sa/cart")),
  badLeaf("other trust domain", "certificate_trust_domain", uri("spiffe://evil.local/ns/shop/sa/cart")),
  badLeaf(
    "trust domain with ours as its end",
    "certificate_trust_domain",
    uri("spiffe://x.cluster.local/ns/shop/sa/cart"),
  ),
  badLeaf(
    "trust domain with ours as its beginning",
    "certificate_trust_domain",
    uri("spiffe://cluster.local.evil/ns/shop/sa/cart"),
  ),
  badLeaf("unknown critical extension", "certificate_extension", {
    extra: [new Extension("1.3.6.1.4.1.99999.1", true, Uint8Array.of(0x05, 0x00))],
  }),
  badLeaf("extension that comes twice", "certificate_malformed", {
    extra: [new Extension("2.5.29.37", false, Uint8Array.of(0x30, 0x03, 0x06, 0x01, 0x2a))],
  }),
  badLeaf("name constraints in a leaf", "certificate_constraints", {
    extra: [uriConstraint("permitted", "cluster.local")],
  }),
  {
    name: "signed with SHA-1",
    code: "certificate_algorithm",
    make: async ({ forge, root }) => [(await forge.leaf(root, { hash: "SHA-1" })).der],
  },
  {
    name: "RSA key of 1024 bits",
    code: "certificate_algorithm",
    make: async ({ forge, root }) => [(await forge.leaf(root, { keys: await forge.keys("RSA", 1024) })).der],
  },
  {
    name: "signed by a stranger in our root's name",
    code: "certificate_signature",
    make: async ({ forge, root }) => [(await forge.leaf(root, { signWith: await forge.keys() })).der],
  },
  {
    name: "signed by our root in a stranger's name",
    code: "certificate_untrusted",
    make: async ({ forge, root }) => [(await forge.leaf(root, { issuerName: "CN=stranger" })).der],
  },
  {
    name: "self-signed leaf",
    code: "certificate_untrusted",
    make: async ({ forge }) => {
      const keys = await forge.keys();
      const options = { subject: "CN=me", issuerName: "CN=me", keys, signWith: keys };
      return [(await forge.leaf(await forge.ca(), options)).der];
    },
  },
];

const badPaths: readonly BadChain[] = [
  {
    name: "foreign CA, its root presented too",
    code: "certificate_untrusted",
    make: async ({ forge }) => {
      const foreign = await forge.ca({ subject: "CN=foreign" });
      return [(await forge.leaf(foreign)).der, foreign.der];
    },
  },
  {
    name: "foreign CA under our root's name, its root presented too",
    code: "certificate_signature",
    make: async ({ forge }) => {
      const foreign = await forge.ca();
      return [(await forge.leaf(foreign)).der, foreign.der];
    },
  },
  {
    name: "leaf as an issuer",
    code: "certificate_constraints",
    make: async ({ forge, root }) => {
      const issuer = await forge.leaf(root, {
        subject: "CN=leaf",
        uris: ["spiffe://cluster.local/ns/shop/sa/mallory"],
      });
      return [(await forge.leaf(issuer)).der, issuer.der];
    },
  },
  badIntermediate("intermediate without basic constraints", "certificate_constraints", {
    basicConstraints: null,
  }),
  badIntermediate("intermediate with CA:false", "certificate_constraints", {
    basicConstraints: { ca: false },
  }),
  badIntermediate("intermediate without key usage", "certificate_usage", { keyUsage: null }),
  badIntermediate("intermediate without keyCertSign", "certificate_usage", {
    keyUsage: KeyUsageFlags.cRLSign,
  }),
  badIntermediate("expired intermediate", "certificate_expired", {
    notBefore: new Date(nowMs - 2 * day),
    notAfter: new Date(nowMs - day),
  }),
  badIntermediate("intermediate that is not yet valid", "certificate_not_yet_valid", {
    notBefore: new Date(nowMs + day),
    notAfter: new Date(nowMs + 2 * day),
  }),
  badIntermediate("intermediate for code signing", "certificate_usage", {
    extendedKeyUsage: ["1.3.6.1.5.5.7.3.3"],
  }),
  badIntermediate("intermediate with an unknown critical extension", "certificate_extension", {
    extra: [new Extension("1.3.6.1.4.1.99999.1", true, Uint8Array.of(0x05, 0x00))],
  }),
  badIntermediate("intermediate for another trust domain", "certificate_constraints", {
    extra: [uriConstraint("permitted", "other.local")],
  }),
  badIntermediate("intermediate that excludes the trust domain", "certificate_constraints", {
    extra: [uriConstraint("excluded", "cluster.local")],
  }),
  {
    name: "intermediate that is not presented",
    code: "certificate_untrusted",
    make: async (bench) => [(await bench.forge.leaf((await chainOf(bench, 1)).issuer)).der],
  },
  {
    name: "intermediate signed by a stranger",
    code: "certificate_signature",
    make: async ({ forge, root }) => {
      const intermediate = await forge.ca({
        subject: "CN=intermediate",
        issuer: root,
        signWith: await forge.keys(),
      });
      return [(await forge.leaf(intermediate)).der, intermediate.der];
    },
  },
  {
    name: "path length exceeded",
    code: "certificate_constraints",
    make: async (bench) => {
      const top = await bench.forge.ca({
        subject: "CN=top",
        issuer: bench.root,
        basicConstraints: { ca: true, pathLength: 0 },
      });
      const below = await bench.forge.ca({ subject: "CN=below", issuer: top });
      return [(await bench.forge.leaf(below)).der, below.der, top.der];
    },
  },
  {
    name: "two CAs that issued each other",
    code: "certificate_untrusted",
    make: async ({ forge }) => {
      const [first, second] = [await forge.keys(), await forge.keys()];
      const a = await forge.ca({ subject: "CN=a", issuerName: "CN=b", keys: first, signWith: second });
      const b = await forge.ca({ subject: "CN=b", issuerName: "CN=a", keys: second, signWith: first });
      return [(await forge.leaf(a)).der, a.der, b.der];
    },
  },
  {
    name: "path of more certificates than the limit",
    code: "certificate_chain",
    message: "is too far from a trust root",
    make: async (bench) => {
      // Leaf and anchor count too, so this is one more than fits.
      const { issuer, ders } = await chainOf(bench, pkiLimits.maxPathCertificates - 1);
      return [(await bench.forge.leaf(issuer)).der, ...ders];
    },
  },
  {
    name: "more certificates than a peer may present",
    code: "certificate_chain",
    message: "peer presented 11 certificates",
    make: async ({ forge, root }) => {
      const leaf = await forge.leaf(root);
      return [leaf.der, ...Array.from({ length: pkiLimits.maxPresentedCertificates }, () => root.der)];
    },
  },
  {
    name: "certificate larger than the limit",
    code: "certificate_chain",
    make: async ({ forge, root }) => [
      (await forge.leaf(root)).der,
      new Uint8Array(pkiLimits.maxCertificateBytes + 1),
    ],
  },
  {
    name: "many issuers of one name that need many signature checks",
    code: "certificate_chain",
    message: "needs too many signature checks",
    make: async ({ forge }) => {
      // Every one of them might have issued every other; all share a key, so that each step really verifies.
      const keys = await forge.keys();
      const issuers: Forged[] = [];
      for (let index = 0; index < 9; index++) {
        issuers.push(
          await forge.ca({ subject: "CN=x", issuerName: "CN=x", keys: await forge.keys(), signWith: keys }),
        );
      }
      const [first] = issuers;
      if (first === undefined) throw new Error("no issuer");
      const leaf = await forge.leaf(first, { signWith: keys });
      const shared = await forge.ca({ subject: "CN=x", issuerName: "CN=x", keys });
      return [leaf.der, shared.der, ...issuers.slice(0, 8).map((one) => one.der)];
    },
  },
  { name: "nothing", code: "certificate_missing", make: async () => [] },
  {
    name: "noise",
    code: "certificate_malformed",
    make: async () => [Uint8Array.of(0x30, 0x03, 0x01, 0x02, 0x03)],
  },
  {
    name: "bytes after the leaf",
    code: "certificate_malformed",
    make: async ({ forge, root }) => [Uint8Array.from([...(await forge.leaf(root)).der, 0])],
  },
  {
    name: "noise as an intermediate",
    code: "certificate_malformed",
    make: async ({ forge, root }) => [(await forge.leaf(root)).der, Uint8Array.of(1, 2, 3)],
  },
];

function uriConstraint(kind: "permitted" | "excluded", host: string): Extension {
  const name = new TextEncoder().encode(host);
  const subtree = [0x30, name.length + 2, 0x86, name.length, ...name];
  const subtrees = [kind === "permitted" ? 0xa0 : 0xa1, subtree.length, ...subtree];
  return new Extension("2.5.29.30", true, Uint8Array.of(0x30, subtrees.length, ...subtrees));
}

/** The same provider, whose first signature check waits until it is let go. */
function holdVerify(provider: CryptoProvider): {
  provider: CryptoProvider;
  reached: Promise<void>;
  release: () => void;
} {
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const { subtle } = provider.crypto;
  const held = {
    importKey: subtle.importKey.bind(subtle),
    verify: async (...args: Parameters<SubtleCrypto["verify"]>): Promise<boolean> => {
      reached.resolve();
      await released.promise;
      return await subtle.verify(...args);
    },
  };
  const crypto = { subtle: held } as unknown as Crypto;
  return {
    provider: { name: provider.name, crypto },
    reached: reached.promise,
    release: () => released.resolve(),
  };
}

for (const provider of providers) {
  describe(`trust on ${provider.name}`, () => {
    let bench: Bench;
    beforeAll(async () => {
      bench = await makeBench(provider);
    });

    for (const bad of [...badLeaves, ...badPaths]) {
      test(`refused, 200 tries each way: ${bad.name}`, async () => {
        const chain = await bad.make(bench);
        for (const usage of usages) {
          const tries = Array.from({ length: 200 }, () =>
            outcome(bench.trust.verify(chain, { usage, identities: null })),
          );
          expect(new Set(await Promise.all(tries))).toEqual(new Set([bad.code]));
          expect(await outcome(bench.trust.verify(chain, { usage, identities: [cart] }))).toBe(bad.code);
          if (bad.message === undefined) continue;
          expect(await outcomeOf(bench.trust.verify(chain, { usage, identities: null }))).toThrow(
            bad.message,
          );
        }
      });
    }

    test("an SVID in good order is accepted both ways, with its proof", async () => {
      const leaf = await bench.forge.leaf(bench.root, { serialNumber: "0badcafe" });
      for (const usage of usages) {
        const peer = await bench.trust.verify([leaf.der], { usage, identities: [cart] });
        expect(VerifiedPeer.isGenuine(peer)).toBe(true);
        expect(peer.id.uri).toBe("spiffe://cluster.local/ns/shop/sa/cart");
        expect(peer.serialNumber).toBe("0badcafe");
        expect(bench.trust.recheck(peer)).toBeNull();
      }
      expect(VerifiedPeer.isGenuine({ id: cart, serialNumber: "1" })).toBe(false);
      expect(() => Reflect.construct(VerifiedPeer, [Symbol("verified peer"), cart, null])).toThrow(
        "pki/trust alone",
      );
    });

    test("a leaf for one usage is refused for the other", async () => {
      const server = await bench.forge.leaf(bench.root, { extendedKeyUsage: [serverAuth] });
      const client = await bench.forge.leaf(bench.root, { extendedKeyUsage: [clientAuth] });
      const { trust } = bench;
      expect(await outcome(trust.verify([server.der], { usage: "serverAuth", identities: null }))).toBe(
        "accepted",
      );
      expect(await outcome(trust.verify([server.der], { usage: "clientAuth", identities: null }))).toBe(
        "certificate_usage",
      );
      expect(await outcome(trust.verify([client.der], { usage: "clientAuth", identities: null }))).toBe(
        "accepted",
      );
      expect(await outcome(trust.verify([client.der], { usage: "serverAuth", identities: null }))).toBe(
        "certificate_usage",
      );
    });

    test("a good identity that is not the expected one is refused, remembered or not", async () => {
      const leaf = await bench.forge.leaf(bench.root);
      const other = new SpiffeId("cluster.local", "shop", "admin");
      for (let round = 0; round < 2; round++) {
        const asked = (identities: readonly SpiffeId[]): Promise<string> =>
          outcome(bench.trust.verify([leaf.der], { usage: "serverAuth", identities }));
        expect(await asked([other])).toBe("certificate_unexpected");
        expect(await asked([])).toBe("certificate_unexpected");
        expect(await asked([other, cart])).toBe("accepted");
      }
    });

    test("intermediates may come in any order, with the root and with strangers among them", async () => {
      const { issuer, ders } = await chainOf(bench, pkiLimits.maxPathCertificates - 2);
      const leaf = await bench.forge.leaf(issuer);
      const stranger = await bench.forge.ca({ subject: "CN=stranger" });
      const chain = [leaf.der, bench.root.der, ...ders.toReversed(), stranger.der];
      expect(await outcome(bench.trust.verify(chain, { usage: "clientAuth", identities: [cart] }))).toBe(
        "accepted",
      );
    });

    test("every accepted kind of key and signature holds, and fails when a byte of it changes", async () => {
      const issuers: [Forged, ForgeOptions][] = [];
      for (const kind of ["P-256", "P-384", "RSA", "RSA-PSS", "Ed25519"] as const) {
        issuers.push([
          await bench.forge.ca({ subject: `CN=${kind}`, keys: await bench.forge.keys(kind) }),
          {},
        ]);
      }
      const p384 = await bench.forge.ca({
        subject: "CN=long",
        keys: await bench.forge.keys("P-384"),
        hash: "SHA-384",
      });
      issuers.push([p384, { hash: "SHA-512" }]);
      const trust = new TrustVerifier({ clock: bench.clock, provider, trustDomain: "cluster.local" });
      trust.setRoots(issuers.map(([issuer]) => issuer.pem).join(""));
      for (const [issuer, options] of issuers) {
        const leaf = await bench.forge.leaf(issuer, options);
        expect(await outcome(trust.verify([leaf.der], { usage: "clientAuth", identities: null }))).toBe(
          "accepted",
        );
        const last = leaf.der.length - 1;
        const changed = leaf.der.with(last, (leaf.der[last] ?? 0) ^ 1);
        expect(await outcome(trust.verify([changed], { usage: "clientAuth", identities: null }))).toBe(
          "certificate_signature",
        );
      }
    });

    test("no single changed byte of a leaf is ever accepted", async () => {
      const leaf = await bench.forge.leaf(bench.root);
      const outcomes = new Map<string, number>();
      for (let index = 0; index < leaf.der.length; index++) {
        for (const bit of [0x01, 0x80]) {
          const changed = leaf.der.with(index, (leaf.der[index] ?? 0) ^ bit);
          const code = await outcome(
            bench.trust.verify([changed], { usage: "clientAuth", identities: null }),
          );
          outcomes.set(code, (outcomes.get(code) ?? 0) + 1);
        }
      }
      expect(outcomes.get("accepted")).toBeUndefined();
      expect(outcomes.get("certificate_malformed")).toBeGreaterThan(50);
      expect(outcomes.get("certificate_signature")).toBeGreaterThan(50);
    });

    test("a path length that just suffices, and self-issued certificates that do not count for it", async () => {
      const { forge, root } = bench;
      const top = await forge.ca({
        subject: "CN=top",
        issuer: root,
        basicConstraints: { ca: true, pathLength: 1 },
      });
      const middle = await forge.ca({ subject: "CN=middle", issuer: top });
      // CN=middle once more under another key, issued by itself: a key that was rolled.
      const rolled = await forge.ca({ subject: "CN=middle", issuer: middle });
      const leaf = await forge.leaf(rolled);
      const chain = [leaf.der, rolled.der, middle.der, top.der];
      expect(await outcome(bench.trust.verify(chain, { usage: "clientAuth", identities: null }))).toBe(
        "accepted",
      );
    });

    test("name constraints that permit the trust domain", async () => {
      const { forge, root } = bench;
      for (const [host, expected] of [
        ["cluster.local", "accepted"],
        [".local", "accepted"],
        [".cluster.local", "certificate_constraints"],
        ["local", "certificate_constraints"],
        ["", "certificate_constraints"],
      ] as const) {
        const intermediate = await forge.ca({
          subject: "CN=bound",
          issuer: root,
          extra: [uriConstraint("permitted", host)],
        });
        const leaf = await forge.leaf(intermediate);
        const chain = [leaf.der, intermediate.der];
        expect([
          host,
          await outcome(bench.trust.verify(chain, { usage: "clientAuth", identities: null })),
        ]).toEqual([host, expected]);
      }
    });

    test("a constraint that cannot be evaluated refuses who stands below it, but for a CA's own new key", async () => {
      const { forge, root } = bench;
      // permitted: a directory name, CN=x.
      const directory = [0xa4, 14, 0x30, 12, 0x31, 10, 0x30, 8, 6, 3, 0x55, 4, 3, 0x0c, 1, 0x78];
      const subtree = [0xa0, directory.length + 2, 0x30, directory.length, ...directory];
      const constraint = new Extension("2.5.29.30", true, Uint8Array.of(0x30, subtree.length, ...subtree));
      const bound = await forge.ca({ subject: "CN=bound", issuer: root, extra: [constraint] });
      const rolled = await forge.ca({ subject: "CN=bound", issuer: bound });
      const below = await forge.ca({ subject: "CN=below", issuer: bound });
      for (const [issuer, expected] of [
        [rolled, "accepted"],
        [below, "certificate_constraints"],
      ] as const) {
        const chain = [(await forge.leaf(issuer)).der, issuer.der, bound.der];
        expect(await outcome(bench.trust.verify(chain, { usage: "clientAuth", identities: null }))).toBe(
          expected,
        );
      }
      const named = await forge.leaf(bound, { subject: "CN=x" });
      const chain = [named.der, bound.der];
      expect(await outcome(bench.trust.verify(chain, { usage: "clientAuth", identities: null }))).toBe(
        "certificate_constraints",
      );
    });

    test("a verification that was under way when trust changed answers for the trust of now", async () => {
      const { forge, root, clock } = bench;
      const held = holdVerify(provider);
      const trust = new TrustVerifier({ clock, provider: held.provider, trustDomain: "cluster.local" });
      trust.setRoots(root.pem);
      const leaf = await forge.leaf(root);
      const answers = [1, 2].map(() =>
        outcome(trust.verify([leaf.der], { usage: "clientAuth", identities: null })),
      );
      await held.reached;
      trust.setRoots((await forge.ca({ subject: "CN=another" })).pem);
      held.release();
      expect(await Promise.all(answers)).toEqual(["certificate_untrusted", "certificate_untrusted"]);
    });

    test("roots: two of one name, one removed, a renewed one, none, bad ones", async () => {
      const { forge, clock } = bench;
      const trust = new TrustVerifier({ clock, provider, trustDomain: "cluster.local" });
      const expectation = { usage: "clientAuth", identities: null } as const;
      const before = await forge.ca({ subject: "CN=mesh" });
      const after = await forge.ca({ subject: "CN=mesh" });
      const [old, fresh] = [await forge.leaf(before), await forge.leaf(after)];

      expect(await outcome(trust.verify([old.der], expectation))).toBe("certificate_untrusted");
      trust.setRoots(before.pem + after.pem);
      const oldPeer = await trust.verify([old.der], expectation);
      expect(await outcome(trust.verify([fresh.der], expectation))).toBe("accepted");

      // The same name and key in another certificate: connections live on.
      const renewed = await forge.ca({
        subject: "CN=mesh",
        keys: before.keys,
        notAfter: new Date(nowMs + 9 * day),
      });
      trust.setRoots(renewed.pem);
      expect(trust.recheck(oldPeer)).toBeNull();
      expect(await outcome(trust.verify([old.der], expectation))).toBe("accepted");

      let bumps = 0;
      trust.changes.subscribe(() => bumps++);
      trust.setRoots(after.pem);
      trust.setRoots(after.pem);
      expect(bumps).toBe(1);
      expect(trust.recheck(oldPeer)?.code).toBe("certificate_untrusted");
      expect(await outcome(trust.verify([old.der], expectation))).toBe("certificate_signature");

      for (const bad of [
        "",
        "no PEM",
        after.pem.slice(0, 300),
        old.pem,
        after.pem + old.pem,
        after.pem.replace("M", "!"),
      ]) {
        expect(() => trust.setRoots(bad)).toThrow(MeshError);
      }
      // One of two is taken away, and then nothing.
      trust.setRoots(before.pem + after.pem);
      expect(bumps).toBe(2);
      const restored = await trust.verify([old.der], expectation);
      trust.setRoots(after.pem);
      expect([bumps, trust.recheck(restored)?.code]).toEqual([3, "certificate_untrusted"]);
      trust.setRoots(after.pem);
      expect(bumps).toBe(3);
      expect(() => trust.setRoots(after.pem.repeat(pkiLimits.maxRoots + 1))).toThrow(
        "more certificates than the limit",
      );
      expect(() => trust.setRoots(" ".repeat(pkiLimits.maxRootsBytes + 1))).toThrow("larger than the limit");
      expect(await outcome(trust.verify([fresh.der], expectation))).toBe("accepted");

      trust.setRoots(before.pem, "signer");
      expect(await outcome(trust.verify([old.der], expectation))).toBe("accepted");
      expect(await outcome(trust.verify([fresh.der], expectation))).toBe("accepted");
      expect(trust.rootsPem.match(/BEGIN/g)).toHaveLength(2);
    });

    test("an expired root, and one that may not sign, carry nothing", async () => {
      const { forge, clock } = bench;
      const dates = { notBefore: new Date(nowMs - 2 * day), notAfter: new Date(nowMs - day) };
      const expired = await forge.ca({ subject: "CN=expired", ...dates });
      const mute = await forge.ca({ subject: "CN=mute", keyUsage: KeyUsageFlags.cRLSign });
      const plain = await forge.ca({ subject: "CN=plain", keyUsage: null });
      const trust = new TrustVerifier({ clock, provider, trustDomain: "cluster.local" });
      trust.setRoots(expired.pem + mute.pem + plain.pem);
      const expectation = { usage: "clientAuth", identities: null } as const;
      expect(await outcome(trust.verify([(await forge.leaf(expired)).der], expectation))).toBe(
        "certificate_expired",
      );
      expect(await outcome(trust.verify([(await forge.leaf(mute)).der], expectation))).toBe(
        "certificate_usage",
      );
      expect(await outcome(trust.verify([(await forge.leaf(plain)).der], expectation))).toBe("accepted");
    });

    test("what is remembered ends with the certificate, and open connections notice", async () => {
      const { forge, root } = bench;
      const clock = new FakeClock(nowMs);
      const trust = new TrustVerifier({ clock, provider, trustDomain: "cluster.local" });
      trust.setRoots(root.pem);
      const leaf = await forge.leaf(root, { notAfter: new Date(nowMs + 60_000) });
      const expectation = { usage: "clientAuth", identities: null } as const;
      const peer = await trust.verify([leaf.der], expectation);
      expect(await trust.verify([leaf.der], expectation)).toBe(peer);
      clock.jumpWall(peer.notAfterMs - nowMs);
      expect(trust.recheck(peer)).toBeNull();
      clock.jumpWall(1);
      expect(trust.recheck(peer)?.code).toBe("certificate_expired");
      clock.jumpWall(nowMs + 60_999 - peer.notAfterMs - 1);
      expect(await trust.verify([leaf.der], expectation)).toBe(peer);
      clock.jumpWall(1);
      expect(await outcome(trust.verify([leaf.der], expectation))).toBe("certificate_expired");
      expect(trust.recheck(peer)?.code).toBe("certificate_expired");
      expect(trust.recheck(peer, "ignore")).toBeNull();
      clock.jumpWall(-day);
      expect(await outcome(trust.verify([leaf.der], expectation))).toBe("certificate_not_yet_valid");
    });

    test("a chain that differs in one byte from a remembered one is not taken for it", async () => {
      const { forge, root, trust } = bench;
      const leaf = await forge.leaf(root);
      const expectation = { usage: "clientAuth", identities: null } as const;
      expect(await outcome(trust.verify([leaf.der], expectation))).toBe("accepted");
      // Same end, which is what is looked up by; another serial number at the front.
      const changed = forged(leaf.der.with(20, (leaf.der[20] ?? 0) ^ 1), leaf.keys);
      expect(await outcome(trust.verify([changed.der], expectation))).not.toBe("accepted");
      expect(await outcome(trust.verify([leaf.der, root.der], expectation))).toBe("accepted");
      expect(await outcome(trust.verify([leaf.der], expectation))).toBe("accepted");
    });
  });
}
