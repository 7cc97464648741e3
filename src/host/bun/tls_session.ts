/** What Bun is told about a TLS session beforehand, and what is read from it afterwards. */
import { assert } from "../../base/assert.ts";
import type { MeshError } from "../../base/errors.ts";
import type { TlsOptions } from "../host.ts";
import {
  judgeSession,
  type LinkedCertificate,
  type TlsRole,
  type TlsSession,
} from "../system/tls_session.ts";
import type { NativeSocket } from "./native.ts";

const tls13 = 0x0304;

/** No resumption, as ztunnel: each connection shows its certificate and proves its key again, and no ticket outlives either. */
const sslOpNoTicket = 0x4000;

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
  // `false` asks for the whole chain; the published types leave the argument out, and without it only the leaf comes.
  const readCertificate = native.getPeerCertificate as (
    abbreviated: boolean,
  ) => LinkedCertificate | undefined;
  const found = {
    tlsVersion: native.getTLSVersion(),
    cipherSuite: native.getCipher().standardName,
    alpn: native.alpnProtocol,
    certificate: readCertificate.call(native, false),
    keyExchange: readKeyExchange(native),
  };
  return judgeSession(found, options, role);
}

/** BoringSSL tells nothing for TLS 1.3 today; should it, the name is there. */
function readKeyExchange(native: NativeSocket): string | null {
  const info = native.getEphemeralKeyInfo();
  return info !== null && "name" in info && typeof info.name === "string" ? info.name : null;
}
