/** The ports of ambient Istio (ztunnel `src/config.rs`). */
export const ports = {
  outbound: 15001,
  inboundPlaintext: 15006,
  hbone: 15008,
  socks5: 15080,
  /** The DNS proxy. */
  dns: 15053,
  admin: 15000,
  metrics: 15020,
  readiness: 15021,
  /** xDS and the CA; istiod's. */
  control: 15012,
} as const;
