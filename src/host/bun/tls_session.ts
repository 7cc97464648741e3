/** What Bun is told about a TLS session beforehand, and what is read from it afterwards. */
import type { DetailedPeerCertificate } from "node:tls";
import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { TlsOptions } from "../host.ts";
import type { NativeSocket } from "./native.ts";

const tls13 = 0x0304;

/** No resumption, as ztunnel: each connection shows its certificate and proves its key again, and no ticket outlives either. */
const sslOpNoTicket = 0x4000;

/** RFC 8446 §9.1 and Istio's compliance: ChaCha20 cannot be left out of Bun's offer, so it is refused afterwards. */
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

export function nativeTlsOptions(options: TlsOptions, role: TlsRole): Bun.TLSOptions {
  const { credentials } = options;
  const common = {
    ...(credentials.certificateChainPem === ""
      ? {}
      : { cert: credentials.certificateChainPem, key: credentials.privateKeyPem }),
    // Without any, Bun is not to fall back on the system's: the peer is judged by `pki/trust/verifier` in any case.
    ...(credentials.trustedRootsPem === "" ? {} : { ca: credentials.trustedRootsPem }),
    // The peer is judged by `pki/trust/verifier`; what Bun refuses for itself it also hides from us.
    rejectUnauthorized: false,
    // Not in the published types, as is `isServer`. A number: Bun takes no name here.
    minVersion: tls13,
    // Wire format (RFC 7301 §3.1); Bun ignores a plain string.
    ...(options.alpn.length === 0 ? {} : { ALPNProtocols: encodeProtocols(options.alpn) }),
  };
  if (role === "server") {
    const server = { isServer: true, requestCert: true, secureOptions: sslOpNoTicket };
    return { ...common, ...server } as Bun.TLSOptions;
  }
  return options.serverName === undefined ? common : { ...common, serverName: options.serverName };
}

function encodeProtocols(protocols: readonly string[]): Uint8Array<ArrayBuffer> {
  const parts = protocols.map((protocol) => new TextEncoder().encode(protocol));
  const wire = new Uint8Array(parts.reduce((total, part) => total + 1 + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    assert(part.length > 0 && part.length < 256, "a protocol name has 1 to 255 bytes");
    wire[offset] = part.length;
    wire.set(part, offset + 1);
    offset += 1 + part.length;
  }
  return wire;
}

/** @returns what is wrong with it, when it is not what this program speaks. */
export function readSession(
  native: NativeSocket,
  options: TlsOptions,
  role: TlsRole,
): TlsSession | MeshError {
  const tlsVersion = native.getTLSVersion();
  if (tlsVersion !== "TLSv1.3") return parametersError(`${tlsVersion} was negotiated, not TLSv1.3`);
  const cipherSuite = native.getCipher().standardName;
  if (!cipherSuites.has(cipherSuite))
    return parametersError(`the cipher suite ${cipherSuite} is not allowed`);
  const negotiated = native.alpnProtocol;
  const alpn = typeof negotiated === "string" && options.alpn.includes(negotiated) ? negotiated : null;
  if (alpn === null && options.alpn.length > 0)
    return parametersError(`no protocol of ${options.alpn.join(", ")} was negotiated`);
  const peerChain = readPeerChain(native);
  if (peerChain === null)
    return handshakeError(`the peer showed more than ${hostLimits.maxPeerCertificates} certificates`);
  const mayBeNone = role === "server" && options.clientCertificate === "request";
  if (peerChain.length === 0 && !mayBeNone)
    return new MeshError(
      "certificate_missing",
      "peer",
      `the ${role === "server" ? "client" : "server"} showed no certificate`,
    );
  return { peerChain, alpn, tlsVersion, cipherSuite, keyExchange: readKeyExchange(native) };
}

/**
 * Bun gives the chain as linked objects in issuing order, and ends it with the trust anchor where it knows one. `false`
 * asks for the whole chain; the published types leave the argument out, and without it only the leaf comes.
 *
 * @returns null when it is longer than the limit.
 */
function readPeerChain(native: NativeSocket): Uint8Array[] | null {
  const read = native.getPeerCertificate.bind(native) as (
    abbreviated: boolean,
  ) => Partial<DetailedPeerCertificate> | undefined;
  const chain: Uint8Array[] = [];
  let certificate = read(false);
  while (certificate?.raw !== undefined) {
    if (chain.length === hostLimits.maxPeerCertificates) return null;
    chain.push(new Uint8Array(certificate.raw));
    const issuer: Partial<DetailedPeerCertificate> | undefined = certificate.issuerCertificate;
    if (issuer === certificate) break;
    certificate = issuer;
  }
  return chain;
}

/** BoringSSL tells nothing for TLS 1.3 today; should it, the name is there. */
function readKeyExchange(native: NativeSocket): string | null {
  const info = native.getEphemeralKeyInfo();
  return info !== null && "name" in info && typeof info.name === "string" ? info.name : null;
}

export function handshakeError(message: string): MeshError {
  return new MeshError("tls_handshake", "peer", message);
}

function parametersError(message: string): MeshError {
  return new MeshError("tls_parameters", "peer", message);
}

/**
 * OpenSSL's names for what can be wrong with a certificate (X509_V_ERR_*, as Node and Bun spell them). A TLS handshake
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
