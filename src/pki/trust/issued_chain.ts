/**
 * What came back from a signer, judged as a peer would judge it: a signer may be another program, and what it returns is believed
 * as little as what a stranger shows. The one place where an issued chain is checked, whoever asked for it.
 */
import { MeshError } from "../../base/errors.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { SignatureVerifier } from "../crypto/signature.ts";
import type { CertificateUsage } from "../der/oids.ts";
import { decodePemLabel } from "../der/pem.ts";
import { bytesEqual } from "../der/values.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { parseRoots, TrustAnchors } from "./anchors.ts";
import { leafIdentity } from "./leaf_identity.ts";
import { validatePath } from "./path.ts";

export interface IssuedChain {
  readonly leaf: Certificate;
  /** Leaf first; never a root. */
  readonly certificates: readonly Certificate[];
  readonly anchors: TrustAnchors;
}

/**
 * @param chainPem leaf first; roots in it are left out.
 * @param rootsPem one or more.
 * @throws MeshError `certificate_malformed` and its kin; `identity_unavailable`, blame local, when there is no certificate.
 */
export function readIssuedChain(chainPem: string, rootsPem: string): IssuedChain {
  const anchors = new TrustAnchors(parseRoots(rootsPem));
  const [leaf, ...rest] = decodePemLabel(chainPem, "CERTIFICATE").map(parseCertificate);
  if (leaf === undefined) throw unusable("there is no certificate in it");
  return { leaf, certificates: [leaf, ...rest.filter((one) => !anchors.has(one))], anchors };
}

export interface IssuedExpectation {
  /** The key that was asked for; SubjectPublicKeyInfo, whole. */
  readonly publicKeyInfo: Uint8Array;
  readonly id: SpiffeId;
  /** The roles in which every peer has to accept it. */
  readonly usages: readonly CertificateUsage[];
  /** Milliseconds since the Unix epoch. */
  readonly nowMs: number;
}

/**
 * Key, identity, and a path to the roots for each usage.
 *
 * @throws MeshError `identity_unavailable`, blame local, for another key or identity; `certificate_*` for a path that does not hold.
 */
export async function checkIssuedChain(
  { leaf, certificates, anchors }: IssuedChain,
  { publicKeyInfo, id, usages, nowMs }: IssuedExpectation,
  verifier: SignatureVerifier,
): Promise<void> {
  if (!bytesEqual(publicKeyInfo, leaf.publicKeyInfo)) throw unusable("it is a certificate for another key");
  const issued = leafIdentity(leaf);
  if (!issued.equals(id)) throw unusable(`it is a certificate for ${issued} instead of ${id}`);
  const intermediates = certificates.slice(1);
  for (const usage of usages) await validatePath({ leaf, intermediates, anchors, usage, nowMs }, verifier);
}

function unusable(reason: string): MeshError {
  return new MeshError("identity_unavailable", "local", `the signer's answer cannot be used: ${reason}`);
}
