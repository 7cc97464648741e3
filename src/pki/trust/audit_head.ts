/** Signed heads of the control plane's audit log: what is signed, and who may have signed it. Nodes judge one as the control plane does. */
import type { SpiffeId } from "../../mesh/identity.ts";
import { readSigningKey } from "../crypto/private_key.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { buffer, SignatureVerifier } from "../crypto/signature.ts";
import { decodePemLabel } from "../der/pem.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { TrustAnchors } from "./anchors.ts";
import { leafIdentity } from "./leaf_identity.ts";
import { validatePath } from "./path.ts";

/** The last row of the log at one time. */
export interface UnsignedHead {
  readonly id: number;
  /** Hexadecimal. */
  readonly hash: string;
  readonly atMs: number;
}

export interface SignedHead extends UnsignedHead {
  /** ECDSA P-256 with SHA-256 over `headText`, base64. */
  readonly signature: string;
  /** Of the signer, leaf first. */
  readonly chainPem: string;
}

export interface HeadSigner {
  readonly provider: CryptoProvider;
  /** The control plane's identity. */
  readonly id: SpiffeId;
  /** Roots that a signer's certificate may lead to. */
  readonly rootsPem: () => string;
}

/** The service account of the control plane, in the mesh's root namespace. */
export const controlServiceAccount = "fairlead-control";

/** @returns the signature, base64. @throws MeshError for a key that cannot be used. */
export async function signHead(
  stateId: string,
  head: UnsignedHead,
  privateKeyPem: string,
  provider: CryptoProvider,
): Promise<string> {
  const key = await readSigningKey(privateKeyPem, provider);
  return (await key.sign(headText(stateId, head))).toBase64();
}

/**
 * Who has signed it. At the head's own time: the certificate of then has mostly ended.
 *
 * @returns `another root`: it would be the control plane's if its root were in force. Never rejects.
 */
export async function signerOf(
  stateId: string,
  head: SignedHead,
  { provider, id, rootsPem }: HeadSigner,
): Promise<"control plane" | "another root" | "unknown"> {
  try {
    const [leaf, ...intermediates] = decodePemLabel(head.chainPem, "CERTIFICATE").map(parseCertificate);
    if (leaf === undefined || !leafIdentity(leaf).equals(id)) return "unknown";
    const { subtle } = provider.crypto;
    const curve = { name: "ECDSA", namedCurve: "P-256" };
    const key = await subtle.importKey("spki", buffer(leaf.publicKeyInfo), curve, false, ["verify"]);
    const signature = buffer(Uint8Array.fromBase64(head.signature));
    const algorithm = { name: "ECDSA", hash: "SHA-256" };
    const isSigned = await subtle.verify(algorithm, key, signature, buffer(headText(stateId, head)));
    if (!isSigned) return "unknown";
    const anchors = new TrustAnchors(decodePemLabel(rootsPem(), "CERTIFICATE").map(parseCertificate));
    const question = { leaf, intermediates, anchors, usage: "serverAuth", nowMs: head.atMs } as const;
    return await validatePath(question, new SignatureVerifier(provider)).then(
      () => "control plane",
      () => "another root",
    );
  } catch {
    return "unknown";
  }
}

function headText(stateId: string, { id, hash, atMs }: UnsignedHead): Uint8Array {
  return new TextEncoder().encode(`fairlead audit head 1\n${stateId}\n${id}\n${hash}\n${atMs}\n`);
}
