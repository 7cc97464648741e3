/**
 * How HBONE does TLS: our SVID, ALPN `h2`, a bounded handshake, no server name (ztunnel `src/tls/certificate.rs`,
 * `server_config` and `client_config`).
 */
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { TlsOptions, TlsSocket } from "../../host/host.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { VerifiedPeer } from "../../pki/trust/verifier.ts";

/** A handshake whose other end we believe. */
export interface Verified {
  /** What we showed. */
  readonly svid: Svid;
  readonly peer: VerifiedPeer;
  readonly socket: TlsSocket;
}

const alpn = ["h2"] as const;

export function tlsOptions(svid: Svid, trust: { readonly rootsPem: string }): TlsOptions {
  return {
    credentials: {
      certificateChainPem: svid.certificateChainPem,
      privateKeyPem: svid.privateKeyPem,
      trustedRootsPem: trust.rootsPem,
    },
    alpn,
    timeoutMs: proxyLimits.handshakeTimeoutMs,
  };
}
