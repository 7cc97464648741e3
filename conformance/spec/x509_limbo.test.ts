/**
 * x509-limbo, the path validation vectors that rustls, Go and OpenSSL are held against. It validates web servers by DNS name,
 * we validate SVIDs by SPIFFE identity, so what is run here is everything of ours but the identity. Every case that ends
 * otherwise than x509-limbo says is named below with its reason; one more or one less fails.
 */

import { expect, test } from "bun:test";
import { MeshError } from "../../src/base/errors.ts";
import { cpuTimer } from "../../src/base/testing/cpu_time.ts";
import { peculiarProvider } from "../../src/pki/crypto/peculiar_provider.ts";
import { runtimeProvider } from "../../src/pki/crypto/provider.ts";
import { SignatureVerifier } from "../../src/pki/crypto/signature.ts";
import { TrustAnchors } from "../../src/pki/trust/anchors.ts";
import { type CertificationPath, validatePath } from "../../src/pki/trust/path.ts";
import { RevocationLists } from "../../src/pki/trust/revocation.ts";
import { type Certificate, parseCertificate } from "../../src/pki/x509/certificate.ts";

interface LimboCase {
  readonly id: string;
  readonly expected: "SUCCESS" | "FAILURE";
  readonly usage: "SERVER" | "CLIENT";
  /** ISO 8601; null for now. */
  readonly time: string | null;
  /** Base64 of DER. */
  readonly leaf: string;
  readonly intermediates: readonly string[];
  readonly roots: readonly string[];
  readonly crls: readonly string[];
}

/** What is valid for x509-limbo and refused here. */
const stricter: Readonly<Record<string, string>> = {
  "pathlen::validation-ignores-pathlen-in-leaf": "the leaf is a CA (X509-SVID §3.1)",
  "rfc5280::ca-as-leaf": "the leaf is a CA (X509-SVID §3.1)",
  "rfc5280::no-keyusage": "an SVID has a key usage (X509-SVID §4.3)",
  "rfc5280::eku::ee-without-eku": "absence is not taken for every usage",
  "rfc5280::nc::permitted-ipv4-match": "constraints on IP addresses are not evaluated, and so refused",
  "rfc5280::nc::permitted-ipv6-match": "constraints on IP addresses are not evaluated, and so refused",
  "rfc5280::nc::permitted-dn-match": "constraints on directory names are not evaluated, and so refused",
  "rfc5280::nc::nc-permits-email-exact": "constraints on e-mail addresses are not evaluated, and so refused",
  "rfc5280::nc::nc-permits-email-domain": "constraints on e-mail addresses are not evaluated, and so refused",
  "rfc5280::nc::nc-permits-email-literal-asterisk-exact-match":
    "constraints on e-mail addresses are not evaluated",
  "rfc5280::nc::nc-permits-email-literal-double-asterisk":
    "constraints on e-mail addresses are not evaluated",
  "rfc5280::nc::nc-permits-email-literal-mid-asterisk": "constraints on e-mail addresses are not evaluated",
};

/** What is invalid for x509-limbo and accepted here: all of it rules for who writes certificates, not for who believes them. */
const laxer: Readonly<Record<string, string>> = {
  "crl::crlnumber-missing":
    "openssl ca -gencrl writes lists without a number; refusing one would forget what it revokes",
  "crl::crlnumber-critical": "as above: a list that is refused revokes nothing",
  "crl::issuer-missing-crlsign":
    "unknown revocation is accepted, as Istio does; what such a list names is refused all the same",
  "pathlen::max-chain-depth-0-exhausted": "the depth here is a constant, not the case's",
  "pathlen::max-chain-depth-1-exhausted": "the depth here is a constant, not the case's",
  "rfc5280::aki::leaf-missing-aki": "the key identifiers are hints for path building, nothing more",
  "rfc5280::aki::intermediate-missing-aki": "the key identifiers are hints for path building, nothing more",
  "rfc5280::aki::cross-signed-root-missing-aki":
    "the key identifiers are hints for path building, nothing more",
  "rfc5280::ski::root-missing-ski": "the key identifiers are hints for path building, nothing more",
  "rfc5280::ski::intermediate-missing-ski": "the key identifiers are hints for path building, nothing more",
  "rfc5280::nc::permitted-dns-match-noncritical": "the constraint is applied, critical or not",
  "rfc5280::pc::ica-noncritical-pc":
    "an extension that is not critical and not understood is passed over (RFC 5280 §4.2)",
  "rfc5280::root-non-critical-basic-constraints":
    "they are applied, critical or not; many roots are written so",
  "rfc5280::san::noncritical-with-empty-subject": "the name is read, critical or not",
  "rfc5280::san::underscore-dns": "DNS names mean nothing in an SVID",
  "rfc5280::san::ip-in-dns": "DNS names mean nothing in an SVID",
  "rfc5280::serial::zero": "RFC 5280 §4.1.2.2: be prepared to handle it gracefully",
};

const cases: readonly LimboCase[] = (
  await Bun.file(new URL("../fixtures/x509_limbo/cases.jsonl", import.meta.url)).text()
)
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line));

const decode = (base64: string): Uint8Array => Uint8Array.from(Buffer.from(base64, "base64"));
const certificate = (base64: string): Certificate => parseCertificate(decode(base64));

async function validate(one: LimboCase, verifier: SignatureVerifier): Promise<CertificationPath> {
  const nowMs = one.time === null ? Date.now() : Date.parse(one.time);
  const anchors = new TrustAnchors(one.roots.map(certificate));
  const path = await validatePath(
    {
      leaf: certificate(one.leaf),
      intermediates: one.intermediates.map(certificate),
      anchors,
      usage: one.usage === "SERVER" ? "serverAuth" : "clientAuth",
      nowMs,
    },
    verifier,
  );
  const lists = new RevocationLists(verifier);
  const sources = one.crls.map((base64, index) => ({ name: `${index}`, bytes: decode(base64) }));
  await lists.replace(sources, [...anchors.certificates, ...path.certificates.slice(1)]);
  for (const [index, issuer] of path.certificates.slice(1).entries()) {
    const { issuer: name = "", serialNumber = "" } = path.certificates[index] ?? {};
    const finding = lists.look({ authorityKey: issuer.authorityKey, issuer: name, serialNumber }, nowMs);
    if (finding === "revoked" || finding === "doubtful")
      throw new MeshError("certificate_revoked", "peer", finding);
  }
  return path;
}

test("all cases are here", () => {
  expect(cases.length).toBe(135);
  expect(new Set(cases.map((one) => one.id)).size).toBe(135);
});

for (const provider of [runtimeProvider(), peculiarProvider()]) {
  test(`x509-limbo on ${provider.name}: every difference is one that is meant`, async () => {
    const verifier = new SignatureVerifier(provider);
    const refused: string[] = [];
    const accepted: string[] = [];
    for (const one of cases) {
      const cpuMs = cpuTimer();
      try {
        await validate(one, verifier);
        if (one.expected === "FAILURE") accepted.push(one.id);
      } catch (error) {
        if (!(error instanceof MeshError)) throw error;
        if (one.expected === "SUCCESS") refused.push(one.id);
      }
      // The pathological cases are long chains of look-alikes: the work for them is bounded.
      expect(cpuMs()).toBeLessThan(2_000);
    }
    expect(refused.toSorted()).toEqual(Object.keys(stricter).toSorted());
    expect(accepted.toSorted()).toEqual(Object.keys(laxer).toSorted());
  });
}
