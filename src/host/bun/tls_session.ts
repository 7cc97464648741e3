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
