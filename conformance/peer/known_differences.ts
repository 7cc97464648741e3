/**
 * Where a peer is known to do otherwise than the case expects, and why that is no fault of ours. Such a case counts as
 * skipped; should it one day hold, it fails until its line here is removed.
 */
const known: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  fairlead: {
    "tls-sends-no-root":
      "BoringSSL completes a chain without intermediates from the trust store, which must hold the roots for CertificateRequest",
  },
  ztunnel: {
    "two-spiffe-names":
      "it takes a certificate when any of its names fits; we ask for exactly one (SPIFFE X509-SVID §2)",
    "cancels-the-abandoned-stream": "it does not look at the application until CONNECT is answered",
  },
  "→ envoy": {
    "bytes-after-half-close-arrived": "its HTTP side ends the whole exchange when the upstream ends first",
  },
};

/** @returns the reason, or null. `subject` is the implementation whose behaviour the case depends on, or `outbound → inbound`. */
export function knownDifference(subject: string, name: string): string | null {
  const inbound = subject.slice(Math.max(subject.indexOf("→"), 0));
  return known[subject]?.[name] ?? known[inbound]?.[name] ?? null;
}
