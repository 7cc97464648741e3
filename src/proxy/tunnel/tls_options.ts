/**
 * How HBONE does TLS: our SVID, ALPN `h2`, a bounded handshake, no server name (ztunnel `src/tls/certificate.rs`,
 * `server_config` and `client_config`).
 */
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { TlsOptions } from "../../host/host.ts";
import type { Svid } from "../../pki/svid/svid.ts";

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
