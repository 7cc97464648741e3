/** The search for a path, with a verifier that counts what it is asked. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { Extension, KeyUsageFlags } from "../x509/peculiar.ts";
import { TrustAnchors } from "./anchors.ts";
import { validatePath } from "./path.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;
const provider = runtimeProvider();
const forge = new Forge(provider, nowMs);

class CountingVerifier extends SignatureVerifier {
  asked = 0;
  failure: Error | null = null;

  constructor() {
    super(provider);
  }

  override async verify(...args: Parameters<SignatureVerifier["verify"]>): Promise<boolean> {
    this.asked++;
    if (this.failure !== null) throw this.failure;
    return await super.verify(...args);
  }
}

function search(
  verifier: CountingVerifier,
  leaf: Forged,
  roots: readonly Forged[],
  more: readonly Forged[] = [],
  at = nowMs,
) {
  return validatePath(
    {
      leaf: leaf.parsed,
      intermediates: more.map(({ parsed }) => parsed),
      anchors: new TrustAnchors(roots.map(({ parsed }) => parsed)),
      usage: "clientAuth",
      nowMs: at,
    },
    verifier,
  );
}

/** What is said of a leaf that leads nowhere. */
async function refusal(
  ...question: [Forged, readonly Forged[], (readonly Forged[])?, number?]
): Promise<string> {
  const error = await rejectionOf(search(new CountingVerifier(), ...question));
  expect(error).toBeInstanceOf(MeshError);
  const { code, message } = error as MeshError;
  return `${code}: ${message}`;
}

describe("the search for a path", () => {
  test("takes issuers as they come when a certificate does not name its issuer's key", async () => {
    const [right, unmarked] = [
      await forge.ca({ subject: "CN=x" }),
      await forge.ca({ subject: "CN=x", subjectKeyId: null }),
    ];
    const bare = await forge.ca({ subject: "CN=x", keys: right.keys, subjectKeyId: null });
    // Its issuer had no key identifier that it could name.
    const leaf = await forge.leaf(bare);
    expect(leaf.parsed.extensions.authorityKeyId).toBeNull();
    const verifier = new CountingVerifier();
    const { certificates } = await search(verifier, leaf, [right, unmarked]);
    expect([certificates.length, verifier.asked]).toEqual([2, 1]);
  });

  test("says of all the ways that failed the one that came furthest, and the first of those", async () => {
    const root = await forge.ca({ subject: "CN=gone" });
    const deep = await forge.ca({ subject: "CN=x", issuer: root });
    const shallow = await forge.ca({ subject: "CN=x", issuer: root });
    const leaf = await forge.leaf(deep);
    const noRoot = 'is issued by "CN=gone", which is no trust root';
    for (const more of [
      [deep, shallow],
      [shallow, deep],
    ])
      expect(await refusal(leaf, [], more)).toContain(noRoot);
    const late = await forge.ca({ subject: "CN=x", keys: deep.keys, notAfter: new Date(nowMs - hour) });
    const noCa = await forge.ca({ subject: "CN=x", keys: deep.keys, basicConstraints: { ca: false } });
    expect(await refusal(leaf, [], [late, noCa])).toStartWith("certificate_expired");
    expect(await refusal(leaf, [], [noCa, late])).toStartWith("certificate_constraints");
  });

  test("of issuers of one name begins with the one whose key is named", async () => {
    const roots = [await forge.ca({ subject: "CN=x" }), await forge.ca({ subject: "CN=x" })];
    for (const root of roots) {
      const verifier = new CountingVerifier();
      const { certificates } = await search(verifier, await forge.leaf(root), roots);
      expect([certificates.length, verifier.asked]).toEqual([2, 1]);
      expect(certificates[1].publicKeyInfo).toEqual(root.parsed.publicKeyInfo);
    }
  });

  test("checks so many signatures and no more, dead ends included", async () => {
    const { maxSignatureChecks } = pkiLimits;
    // None of those who have the name of the issuer is the issuer, so that each is tried.
    const strangers: Forged[] = [];
    for (let index = 0; index <= maxSignatureChecks; index++)
      strangers.push(
        await forge.ca({ subject: "CN=x", issuerName: "CN=gone", signWith: await forge.keys() }),
      );
    const [first] = strangers;
    if (first === undefined) throw new Error("there are some");
    const leaf = await forge.leaf(first, { signWith: await forge.keys() });
    const within = new CountingVerifier();
    const refused = await rejectionOf(search(within, leaf, [], strangers.slice(0, maxSignatureChecks)));
    expect(String(refused)).not.toContain("too many signature checks");
    expect(within.asked).toBe(maxSignatureChecks);
    const past = new CountingVerifier();
    expect(String(await rejectionOf(search(past, leaf, [], strangers)))).toContain(
      "needs too many signature checks",
    );
    expect(past.asked).toBe(maxSignatureChecks);
  });

  test("does not take a bug for a refusal", async () => {
    const root = await forge.ca();
    const verifier = new CountingVerifier();
    verifier.failure = new TypeError("x is not a function");
    expect(await rejectionOf(search(verifier, await forge.leaf(root), [root]))).toBe(verifier.failure);
  });
});

describe("a certificate on a path", () => {
  test("is valid from its first instant to the end of its last second", async () => {
    const [notBefore, notAfter] = [new Date(nowMs), new Date(nowMs + hour)];
    const root = await forge.ca({ notBefore: new Date(nowMs - hour), notAfter: new Date(nowMs + 9 * hour) });
    const leaf = await forge.leaf(root, { notBefore, notAfter });
    const at = (ms: number) => search(new CountingVerifier(), leaf, [root], [], ms);
    expect((await at(nowMs)).certificates).toHaveLength(2);
    expect((await at(nowMs + hour + 999)).certificates).toHaveLength(2);
    expect(await refusal(leaf, [root], [], nowMs - 1)).toStartWith("certificate_not_yet_valid");
    expect(await refusal(leaf, [root], [], nowMs + hour + 1_000)).toStartWith("certificate_expired");
  });

  test("says what it is used for, and a leaf that does not is told so", async () => {
    const root = await forge.ca();
    expect(await refusal(await forge.leaf(root, { keyUsage: null }), [root])).toContain("has no key usage");
    const enciphers = await forge.leaf(root, { keyUsage: KeyUsageFlags.keyEncipherment });
    expect(await refusal(enciphers, [root])).toContain("without digitalSignature");
  });

  test("that is a leaf is under the constraints on names, though it has its issuer's name", async () => {
    // Excluded is what is below `shop.example`: GeneralSubtrees in [1], of a URI.
    const name = new TextEncoder().encode("shop.example");
    const subtree = [0x30, name.length + 2, 0x86, name.length, ...name];
    const constraints = Uint8Array.of(0x30, subtree.length + 2, 0xa1, subtree.length, ...subtree);
    const extra = [new Extension("2.5.29.30", true, constraints)];
    const root = await forge.ca({ subject: "CN=x", extra });
    const below = (issuer: Forged, subject: string) =>
      forge.leaf(issuer, { subject, uris: ["spiffe://shop.example/ns/a/sa/b"] });
    expect(await refusal(await below(root, "CN=x"), [root])).toContain("a uri name that its issuer excludes");
    // A CA that has issued itself a certificate is exempt, and what it issues then is not.
    const again = await forge.ca({
      subject: "CN=x",
      issuer: root,
      uris: ["spiffe://shop.example/ns/a/sa/b"],
    });
    expect(await refusal(await below(again, "CN=y"), [root], [again])).toContain(
      "a uri name that its issuer excludes",
    );
    const good = await forge.leaf(again, { subject: "CN=x" });
    expect((await search(new CountingVerifier(), good, [root], [again])).certificates).toHaveLength(3);
  });
});
