/** The search for a path, with a verifier that counts what it is asked. */
import { describe, expect, test } from "bun:test";
import { pkiLimits } from "../../base/limits/pki.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { TrustAnchors } from "./anchors.ts";
import { validatePath } from "./path.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
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
) {
  return validatePath(
    {
      leaf: leaf.parsed,
      intermediates: more.map(({ parsed }) => parsed),
      anchors: new TrustAnchors(roots.map(({ parsed }) => parsed)),
      usage: "clientAuth",
      nowMs,
    },
    verifier,
  );
}

describe("the search for a path", () => {
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
