/** One round from a new key to a checked SVID. What a signer returns is believed as little as what a peer shows. */
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import type { SignatureVerifier } from "../crypto/signature.ts";
import { encodePem } from "../der/pem.ts";
import type { CertificateSigner } from "../issue/ca.ts";
import { checkIssuedChain, readIssuedChain } from "../trust/issued_chain.ts";
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
  const issued = readIssuedChain(chainPem.join("\n"), rootsPem);
  const publicKeyInfo = new Uint8Array(await provider.crypto.subtle.exportKey("spki", keys.publicKey));
  const usages = ["clientAuth", "serverAuth"] as const;
  const nowMs = question.wallMs();
  await checkIssuedChain(issued, { publicKeyInfo, id, usages, nowMs }, question.verifier);

  const { leaf, certificates: chain } = issued;
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
