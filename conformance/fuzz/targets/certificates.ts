/** DER, PEM, certificates, revocation lists and certificate requests, beside OpenSSL's reader (BoringSSL's, in Bun). */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../../src/base/errors.ts";
import { SpiffeId } from "../../../src/mesh/identity.ts";
import { peculiarProvider } from "../../../src/pki/crypto/peculiar_provider.ts";
import { runtimeProvider } from "../../../src/pki/crypto/provider.ts";
import { publicKeyKind } from "../../../src/pki/crypto/public_key.ts";
import { SignatureVerifier } from "../../../src/pki/crypto/signature.ts";
import { decodePem, encodePem } from "../../../src/pki/der/pem.ts";
import { leafIdentity } from "../../../src/pki/trust/leaf_identity.ts";
import { type Certificate, parseCertificate } from "../../../src/pki/x509/certificate.ts";
import { parseRevocationList, splitRevocationLists } from "../../../src/pki/x509/crl.ts";
import { createCertificateRequest, proveCertificateRequest } from "../../../src/pki/x509/csr.ts";
import { bytesOf, type Look, latin1, same, type Target, unlessRefused } from "../target.ts";

const verifier = new SignatureVerifier(runtimeProvider());
const refuses = (error: unknown) => error instanceof MeshError && error.code !== "bug";

function checkCertificate(bytes: Uint8Array, look: Look): void {
  const certificate = look.turn(() => unlessRefused(() => parseCertificate(bytes), refuses));
  if (certificate === null) return;
  unlessRefused(() => publicKeyKind(certificate.publicKeyInfo), refuses);
  const id = unlessRefused(() => leafIdentity(certificate), refuses);
  const theirs = openssl(bytes);
  // What we take and they do not decides nothing: they sit in front of us in the handshake. What both take is the same.
  if (theirs === null) return;
  same(
    certificate.serialNumber.replace(/^0+(?=.)/, ""),
    theirs.serialNumber.toLowerCase().replace(/^0+(?=.)/, ""),
    "serial number, ours and OpenSSL's",
  );
  if (id !== null) checkName(certificate, id.uri, theirs);
}

/** An identity that OpenSSL does not see in the certificate would be one that we made up. */
function checkName(certificate: Certificate, uri: string, theirs: X509Certificate): void {
  const names = theirs.subjectAltName ?? "";
  same(
    names.split(", ").filter((name) => name.startsWith("URI:")),
    [`URI:${uri}`],
    "URI names, OpenSSL's and ours",
  );
  same(certificate.extensions.subjectAltNames.filter(({ kind }) => kind === "uri").length, 1, "URI names");
}

function openssl(der: Uint8Array): X509Certificate | null {
  try {
    const read = new X509Certificate(der);
    // Read late, and thrown late.
    void [read.serialNumber, read.subjectAltName];
    return read;
  } catch {
    return null;
  }
}

async function run(input: Uint8Array, look: Look): Promise<void> {
  const bytes = input.slice(1);
  switch ((input[0] ?? 0) % 4) {
    case 0:
      checkCertificate(bytes, look);
      return;
    case 1: {
      const lists = look.turn(() => unlessRefused(() => splitRevocationLists(bytes), refuses)) ?? [];
      for (const list of lists) look.turn(() => unlessRefused(() => parseRevocationList(list), refuses));
      return;
    }
    case 2: {
      const blocks = look.turn(() => unlessRefused(() => decodePem(latin1(bytes)), refuses)) ?? [];
      for (const { label, der } of blocks)
        same(decodePem(encodePem(label, der)), [{ label, der }], "PEM, written and read again");
      return;
    }
    default:
      try {
        await proveCertificateRequest(encodePem("CERTIFICATE REQUEST", bytes), verifier);
      } catch (error) {
        if (!refuses(error)) throw error;
      }
  }
}

async function seeds(): Promise<readonly Uint8Array[]> {
  const found: Uint8Array[] = [];
  const lines = readFileSync(
    join(import.meta.dir, "..", "..", "fixtures", "x509_limbo", "cases.jsonl"),
    "utf8",
  ).split("\n");
  for (const line of lines.slice(0, 60)) {
    if (line === "") continue;
    const { leaf, crls }: { readonly leaf: string; readonly crls: readonly string[] } = JSON.parse(line);
    found.push(Uint8Array.of(0, ...Uint8Array.fromBase64(leaf)));
    for (const crl of crls) found.push(Uint8Array.of(1, ...Uint8Array.fromBase64(crl)));
    if (found.length < 3)
      found.push(Uint8Array.of(2, ...bytesOf(encodePem("CERTIFICATE", Uint8Array.fromBase64(leaf)))));
  }
  const id = new SpiffeId("cluster.local", "shop", "cart");
  const { csrPem } = await createCertificateRequest(peculiarProvider(), id);
  found.push(Uint8Array.of(3, ...(decodePem(csrPem)[0]?.der ?? [])));
  return found;
}

export const target: Target = {
  maxBytes: 4096,
  seeds,
  dictionary: [
    "-----BEGIN CERTIFICATE-----",
    "-----END CERTIFICATE-----",
    "spiffe://cluster.local/ns/a/sa/b",
    // Extensions of RFC 5280.
    ...[0x0e, 0x0f, 0x11, 0x13, 0x14, 0x1e, 0x23, 0x25].map((last) => Uint8Array.of(6, 3, 0x55, 0x1d, last)),
    Uint8Array.of(0x30, 0x80),
    Uint8Array.of(0x30, 0x82, 0, 0x80),
    Uint8Array.of(1, 1, 0xff),
    bytesOf("20240101000000Z"),
  ],
  run,
};
