/** What is asked of a peer besides a chain that holds. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CertificateUsage } from "../der/oids.ts";

export interface PeerExpectation {
  /** `clientAuth` for who calls us, `serverAuth` for whom we call. */
  readonly usage: CertificateUsage;
  /** The peer must be one of these; null for anyone of the trust domain. */
  readonly identities: readonly SpiffeId[] | null;
}

/** @throws MeshError `certificate_unexpected`, blame peer. */
export function checkExpected(id: SpiffeId, { identities }: PeerExpectation): void {
  if (identities === null || identities.some((one) => one.equals(id))) return;
  const wanted = identities.length === 0 ? "no identity" : identities.slice(0, 4).join(", ");
  throw new MeshError("certificate_unexpected", "peer", `peer is ${id}, expected was ${wanted}`);
}

/** @throws MeshError `certificate_trust_domain`, blame peer. ztunnel has no list of aliases either. */
export function checkTrustDomain(id: SpiffeId, trustDomain: string): void {
  if (id.trustDomain === trustDomain) return;
  throw new MeshError("certificate_trust_domain", "peer", `${id} is not of trust domain ${trustDomain}`);
}

/** Before anything is read. @throws MeshError `certificate_missing`, `certificate_chain`; blame peer. */
export function checkPresented(chain: readonly Uint8Array[]): void {
  if (chain.length === 0) throw new MeshError("certificate_missing", "peer", "peer presented no certificate");
  if (chain.length > pkiLimits.maxPresentedCertificates) {
    throw new MeshError("certificate_chain", "peer", `peer presented ${chain.length} certificates`);
  }
  if (chain.some((one) => one.length > pkiLimits.maxCertificateBytes)) {
    throw new MeshError("certificate_chain", "peer", "peer presented a certificate larger than the limit");
  }
}
