import { expect, test } from "bun:test";
import { pkiLimits } from "../../base/limits/pki.ts";
import { generateSigningKey } from "../crypto/private_key.ts";
import { SignatureVerifier } from "../crypto/signature.ts";
import { Forge } from "../testing/forge.ts";
import { providers } from "../testing/providers.ts";
import { createSelfSignedRoot, issueIntermediateCertificate } from "./authority.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;

test("the providers are known by their names", () => {
  expect(providers.map(({ name }) => name)).toEqual(["runtime", "peculiar"]);
});

for (const provider of providers) {
  test(`a root and an intermediate below it, on ${provider.name}: names, dates, uses, and whose key signed`, async () => {
    const root = await createSelfSignedRoot(provider, "mesh.example", nowMs);
    const { publicKeyInfo } = await generateSigningKey(provider);
    const issued = await issueIntermediateCertificate(
      { ...root, provider },
      {
        publicKeyInfo,
        trustDomain: "other.example",
        notBeforeMs: nowMs - hour,
        notAfterMs: nowMs + 7 * hour,
      },
    );
    const { certificate } = root;
    expect(certificate.subjectText).toMatch(/^O=mesh\.example, CN=Fairlead root [0-9a-f]{8}$/);
    expect(certificate.issuer).toBe(certificate.subject);
    expect([certificate.notBeforeMs, certificate.notAfterMs]).toEqual([
      nowMs - pkiLimits.authorityBackdateMs,
      nowMs + pkiLimits.rootLifetimeMs,
    ]);
    expect(issued.subjectText).toMatch(/^O=other\.example, CN=Fairlead intermediate [0-9a-f]{8}$/);
    expect(issued.issuer).toBe(certificate.subject);
    expect([issued.notBeforeMs, issued.notAfterMs]).toEqual([nowMs - hour, nowMs + 7 * hour]);
    expect(issued.extensions.authorityKeyId).toBe(certificate.extensions.subjectKeyId);
    expect(issued.extensions.subjectKeyId).not.toBe(certificate.extensions.subjectKeyId);
    expect([certificate.extensions.basicConstraints, issued.extensions.basicConstraints]).toEqual([
      { isCa: true, pathLength: null },
      { isCa: true, pathLength: 0 },
    ]);
    expect(issued.publicKeyInfo).toEqual(publicKeyInfo);
    const verifier = new SignatureVerifier(provider);
    expect(await verifier.verify(issued, certificate)).toBe(true);
    expect(await verifier.verify(issued, issued)).toBe(false);
  });

  test(`below a root without a subject key identifier there is none of the issuer's, on ${provider.name}`, async () => {
    const forged = await new Forge(provider, nowMs).ca({ subjectKeyId: null });
    const own = await createSelfSignedRoot(provider, "mesh.example", nowMs);
    const issued = await issueIntermediateCertificate(
      { certificate: forged.parsed, key: own.key, provider },
      {
        publicKeyInfo: own.certificate.publicKeyInfo,
        trustDomain: "mesh.example",
        notBeforeMs: nowMs,
        notAfterMs: nowMs + hour,
      },
    );
    expect(forged.parsed.extensions.subjectKeyId).toBeNull();
    expect(issued.extensions.authorityKeyId).toBeNull();
  });
}
