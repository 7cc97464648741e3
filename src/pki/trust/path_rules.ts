/** What a single certificate must fulfil for its place in a path (RFC 5280 §6.1, X509-SVID §4). Each returns an error or null. */
import type { ErrorCode } from "../../base/errors.ts";
import { MeshError } from "../../base/errors.ts";
import { publicKeyKind } from "../crypto/public_key.ts";
import { type CertificateUsage, oid } from "../der/oids.ts";
import type { Certificate } from "../x509/certificate.ts";
import { isSelfIssued } from "../x509/certificate.ts";
import { keyUsageBit } from "../x509/extensions.ts";
import { violatedNameConstraint } from "./name_constraints.ts";

export function pathError(code: ErrorCode, certificate: Certificate, message: string): MeshError {
  return new MeshError(code, "peer", `certificate ${describe(certificate)} ${message}`);
}

/** `"O=mesh, CN=root" (serial 01ab)`. */
export function describe(certificate: Certificate): string {
  return `"${certificate.subjectText}" (serial ${certificate.serialNumber})`;
}

/** Both instants count as valid (RFC 5280 §4.1.2.5), the last second to its end. */
export function checkValidity(certificate: Certificate, nowMs: number): MeshError | null {
  if (nowMs < certificate.notBeforeMs) {
    return pathError(
      "certificate_not_yet_valid",
      certificate,
      `is not valid before ${isoTime(certificate.notBeforeMs)}`,
    );
  }
  if (nowMs >= certificate.notAfterMs + 1000) {
    return pathError("certificate_expired", certificate, `expired at ${isoTime(certificate.notAfterMs)}`);
  }
  return null;
}

/** @throws MeshError `certificate_algorithm` for a key that is not good enough. */
export function checkLeaf(leaf: Certificate, usage: CertificateUsage, nowMs: number): MeshError | null {
  const { basicConstraints, keyUsage, extendedKeyUsage, nameConstraints } = leaf.extensions;
  const unknown = checkUnknownCritical(leaf);
  if (unknown !== null) return unknown;
  if (basicConstraints?.isCa === true)
    return pathError("certificate_constraints", leaf, "is a CA, not a leaf");
  if (nameConstraints !== null)
    return pathError("certificate_constraints", leaf, "has name constraints, which only a CA has");
  // X509-SVID §4.3 wants the extension on every SVID; RFC 5280 alone would let a leaf go without.
  if (keyUsage === null) return pathError("certificate_usage", leaf, "has no key usage");
  if (!hasBit(keyUsage, keyUsageBit.digitalSignature)) {
    return pathError("certificate_usage", leaf, "has a key usage without digitalSignature");
  }
  if (hasBit(keyUsage, keyUsageBit.keyCertSign)) {
    return pathError("certificate_usage", leaf, "has key usage keyCertSign, which a leaf must not have");
  }
  // Fails closed where RFC 5280 would take absence for any usage: every CA of a mesh writes it (istiod: both).
  if (extendedKeyUsage === null || !extendedKeyUsage.includes(oid[usage])) {
    return pathError("certificate_usage", leaf, `has no extended key usage ${usage}`);
  }
  publicKeyKind(leaf.publicKeyInfo);
  return checkValidity(leaf, nowMs);
}

/**
 * @param below how many certificates that are not self-issued stand between this one and the leaf (RFC 5280 §6.1.4 (l)).
 * @param isAnchor trust anchors made by `openssl req -x509` have no key usage; intermediates must.
 */
export function checkIssuer(
  issuer: Certificate,
  usage: CertificateUsage,
  nowMs: number,
  below: number,
  isAnchor: boolean,
): MeshError | null {
  const { basicConstraints, keyUsage, extendedKeyUsage } = issuer.extensions;
  const unknown = checkUnknownCritical(issuer);
  if (unknown !== null) return unknown;
  if (basicConstraints?.isCa !== true)
    return pathError("certificate_constraints", issuer, "is no CA but has issued");
  if (basicConstraints.pathLength !== null && below > basicConstraints.pathLength) {
    return pathError(
      "certificate_constraints",
      issuer,
      `permits ${basicConstraints.pathLength} CAs below it, there are ${below}`,
    );
  }
  if (keyUsage === null ? !isAnchor : !hasBit(keyUsage, keyUsageBit.keyCertSign)) {
    return pathError("certificate_usage", issuer, "has no key usage keyCertSign but has issued");
  }
  const limits = extendedKeyUsage !== null && !extendedKeyUsage.includes(oid.anyExtendedKeyUsage);
  if (limits && !extendedKeyUsage.includes(oid[usage])) {
    return pathError("certificate_usage", issuer, `does not permit extended key usage ${usage} below it`);
  }
  return checkValidity(issuer, nowMs);
}

/** @param path leaf first, anchor last. */
export function checkNameConstraints(path: readonly Certificate[]): MeshError | null {
  for (const [position, issuer] of path.entries()) {
    const constraints = issuer.extensions.nameConstraints;
    if (constraints === null) continue;
    for (const [below, certificate] of path.slice(0, position).entries()) {
      // RFC 5280 §6.1.3 (b): self-issued intermediates are exempt, the leaf never is.
      if (below > 0 && isSelfIssued(certificate)) continue;
      const violation = violatedNameConstraint(certificate, constraints);
      if (violation !== null) return pathError("certificate_constraints", certificate, violation);
    }
  }
  return null;
}

function checkUnknownCritical(certificate: Certificate): MeshError | null {
  const [first] = certificate.extensions.unknownCritical;
  if (first === undefined) return null;
  return pathError(
    "certificate_extension",
    certificate,
    `has the critical extension ${first}, which is not understood`,
  );
}

function hasBit(usage: number, bit: number): boolean {
  return (usage & (1 << bit)) !== 0;
}

function isoTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}
