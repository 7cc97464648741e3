/** One round from a new key to a checked SVID. What a signer returns is believed as little as what a peer shows. */
import { MeshError } from "../../base/errors.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import type { SignatureVerifier } from "../crypto/signature.ts";
import { decodePemLabel, encodePem } from "../der/pem.ts";
import { bytesEqual } from "../der/values.ts";
import type { CertificateSigner } from "../issue/ca.ts";
import { parseRoots, TrustAnchors } from "../trust/anchors.ts";
import { leafIdentity } from "../trust/leaf_identity.ts";
import { validatePath } from "../trust/path.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { createCertificateRequest } from "../x509/csr.ts";
import type { Svid } from "./svid.ts";

export interface SvidQuestion {
  readonly id: SpiffeId;
  readonly lifetimeMs: number;
  readonly signer: CertificateSigner;
  readonly provider: CryptoProvider;
  readonly verifier: SignatureVerifier;
  /** Milliseconds since the Unix epoch, asked when the answer is there. */
  readonly wallMs: () => number;
}

export interface IssuedSvid {
  readonly svid: Svid;
  readonly rootsPem: string;
}

/**
 * Makes a key, has it signed, and checks the answer: our key, our identity, and a chain that every peer with these roots
 * will accept in both roles.
 *
 * @throws MeshError the signer's, or `certificate_*` and `identity_unavailable` for an answer that does not hold.
 */
export async function requestSvid(question: SvidQuestion): Promise<IssuedSvid> {
  const { id, provider, signer } = question;
  const { csrPem, keys } = await createCertificateRequest(provider, id);
  const { chainPem, rootsPem } = await signer.sign({ csrPem, id, lifetimeMs: question.lifetimeMs });
  const anchors = new TrustAnchors(parseRoots(rootsPem));
  const [leaf, ...rest] = decodePemLabel(chainPem.join("\n"), "CERTIFICATE").map(parseCertificate);
  if (leaf === undefined) throw unusable("the signer returned no certificate");

  const publicKeyInfo = new Uint8Array(await provider.crypto.subtle.exportKey("spki", keys.publicKey));
  if (!bytesEqual(publicKeyInfo, leaf.publicKeyInfo))
    throw unusable("the signer returned a certificate for another key");
  const returned = leafIdentity(leaf);
  if (!returned.equals(id)) throw unusable(`the signer returned a certificate for ${returned}`);
  const intermediates = rest.filter((one) => !anchors.has(one));
  await checkPaths(leaf, intermediates, anchors, question);

  const chain = [leaf, ...intermediates];
  const pkcs8 = new Uint8Array(await provider.crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const svid: Svid = {
    id,
    chain: chain.map((one) => one.der),
    certificateChainPem: chain.map((one) => encodePem("CERTIFICATE", one.der)).join(""),
    privateKeyPem: encodePem("PRIVATE KEY", pkcs8),
    serialNumber: leaf.serialNumber,
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: Math.min(...chain.map((one) => one.notAfterMs)),
  };
  return { svid, rootsPem };
}

async function checkPaths(
  leaf: Certificate,
  intermediates: readonly Certificate[],
  anchors: TrustAnchors,
  question: SvidQuestion,
): Promise<void> {
  const nowMs = question.wallMs();
  await validatePath({ leaf, intermediates, anchors, usage: "clientAuth", nowMs }, question.verifier);
  await validatePath({ leaf, intermediates, anchors, usage: "serverAuth", nowMs }, question.verifier);
}

function unusable(message: string): MeshError {
  return new MeshError("identity_unavailable", "local", message);
}
