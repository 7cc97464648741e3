/**
 * What a completed TLS handshake has to have come to, whatever library did it: 1.3, AES-GCM, a protocol in common, a
 * certificate where one is demanded. Whether that certificate is trusted is asked elsewhere, of `pki/trust/verifier`.
 */
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { TlsOptions } from "../host.ts";

/** RFC 8446 §9.1 and Istio's compliance. ChaCha20 cannot be left out of every library's offer, so it is refused afterwards. */
const cipherSuites: ReadonlySet<string> = new Set(["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"]);

export type TlsRole = "server" | "client";

/** What a completed handshake agreed on. */
export interface TlsSession {
  readonly peerChain: readonly Uint8Array[];
  /** Null when none was offered. */
  readonly alpn: string | null;
  readonly tlsVersion: string;
  readonly cipherSuite: string;
  readonly keyExchange: string | null;
}

/** A certificate as `getPeerCertificate` gives it. Without one the object is empty, or none. */
export interface LinkedCertificate {
  /** DER. */
  readonly raw?: Uint8Array;
  /** A root is its own. */
  readonly issuerCertificate?: LinkedCertificate;
}

/** As the runtime says it. */
export interface FoundSession {
  readonly tlsVersion: string | null;
  readonly cipherSuite: string | undefined;
  readonly alpn: string | false | null;
  readonly certificate: LinkedCertificate | null | undefined;
  readonly keyExchange: string | null;
}

/** @returns what is wrong with it, when it is not what this program speaks. */
export function judgeSession(
  found: FoundSession,
  options: TlsOptions,
  role: TlsRole,
): TlsSession | MeshError {
  const { tlsVersion, cipherSuite = "none", keyExchange } = found;
  if (tlsVersion !== "TLSv1.3") return parametersError(`${tlsVersion} was negotiated, not TLSv1.3`);
  if (!cipherSuites.has(cipherSuite))
    return parametersError(`the cipher suite ${cipherSuite} is not allowed`);
  const negotiated = found.alpn;
  const alpn = typeof negotiated === "string" && options.alpn.includes(negotiated) ? negotiated : null;
  if (alpn === null && options.alpn.length > 0)
    return parametersError(`no protocol of ${options.alpn.join(", ")} was negotiated`);
  const peerChain = readChain(found.certificate);
  if (peerChain === null)
    return handshakeError(`the peer showed more than ${hostLimits.maxPeerCertificates} certificates`);
  const mayBeNone = role === "server" && options.clientCertificate === "request";
  if (peerChain.length === 0 && !mayBeNone)
    return new MeshError(
      "certificate_missing",
      "peer",
      `the ${role === "server" ? "client" : "server"} showed no certificate`,
    );
  return { peerChain, alpn, tlsVersion, cipherSuite, keyExchange };
}

/**
 * Runtimes give the chain as linked objects in issuing order, and end it with the trust anchor where they know one.
 *
 * @returns null when it is longer than the limit.
 */
function readChain(leaf: LinkedCertificate | null | undefined): Uint8Array[] | null {
  const chain: Uint8Array[] = [];
  let certificate = leaf;
  while (certificate?.raw !== undefined) {
    if (chain.length === hostLimits.maxPeerCertificates) return null;
    chain.push(new Uint8Array(certificate.raw));
    const issuer: LinkedCertificate | undefined = certificate.issuerCertificate;
    // A root that issued itself: the same object, or one more of the same certificate.
    if (issuer === certificate || isSame(issuer?.raw, certificate.raw)) break;
    certificate = issuer;
  }
  return chain;
}

function isSame(one: Uint8Array | undefined, other: Uint8Array): boolean {
  return one?.length === other.length && one.every((byte, index) => byte === other[index]);
}

export function handshakeError(message: string): MeshError {
  return new MeshError("tls_handshake", "peer", message);
}

function parametersError(message: string): MeshError {
  return new MeshError("tls_parameters", "peer", message);
}

/**
 * OpenSSL's names for what can be wrong with a certificate (X509_V_ERR_*, as every runtime spells them). A TLS handshake
 * that ends with one of these was itself completed: both sides hold the keys, and only the runtime's opinion of the
 * certificate is negative. Any other error is a handshake that failed.
 */
const codes: ReadonlySet<string> = new Set([
  "AKID_ISSUER_SERIAL_MISMATCH",
  "AKID_SKID_MISMATCH",
  "APPLICATION_VERIFICATION",
  "CERT_CHAIN_TOO_LONG",
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "CERT_REJECTED",
  "CERT_REVOKED",
  "CERT_SIGNATURE_FAILURE",
  "CERT_UNTRUSTED",
  "CRL_HAS_EXPIRED",
  "CRL_NOT_YET_VALID",
  "CRL_PATH_VALIDATION_ERROR",
  "CRL_SIGNATURE_FAILURE",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "DIFFERENT_CRL_SCOPE",
  "EE_KEY_TOO_SMALL",
  "ERROR_IN_CERT_NOT_AFTER_FIELD",
  "ERROR_IN_CERT_NOT_BEFORE_FIELD",
  "ERROR_IN_CRL_LAST_UPDATE_FIELD",
  "ERROR_IN_CRL_NEXT_UPDATE_FIELD",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "EXCLUDED_VIOLATION",
  "HOSTNAME_MISMATCH",
  "INVALID_CA",
  "INVALID_EXTENSION",
  "INVALID_NON_CA",
  "INVALID_POLICY_EXTENSION",
  "INVALID_PURPOSE",
  "IP_ADDRESS_MISMATCH",
  "KEYUSAGE_NO_CERTSIGN",
  "KEYUSAGE_NO_CRL_SIGN",
  "KEYUSAGE_NO_DIGITAL_SIGNATURE",
  "NAME_CONSTRAINTS_WITHOUT_SANS",
  "NO_EXPLICIT_POLICY",
  "PATH_LENGTH_EXCEEDED",
  "PERMITTED_VIOLATION",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "SUBJECT_ISSUER_MISMATCH",
  "SUBTREE_MINMAX",
  "UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY",
  "UNABLE_TO_DECRYPT_CERT_SIGNATURE",
  "UNABLE_TO_GET_CRL",
  "UNABLE_TO_GET_CRL_ISSUER",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNHANDLED_CRITICAL_CRL_EXTENSION",
  "UNHANDLED_CRITICAL_EXTENSION",
  "UNNESTED_RESOURCE",
  "UNSUPPORTED_CONSTRAINT_SYNTAX",
  "UNSUPPORTED_CONSTRAINT_TYPE",
  "UNSUPPORTED_EXTENSION_FEATURE",
  "UNSUPPORTED_NAME_SYNTAX",
]);

export function isVerificationCode(code: string): boolean {
  return codes.has(code);
}
