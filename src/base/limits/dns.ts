/** The bounds of the DNS proxy. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */
export const dnsLimits = {
  /** Of answers about the mesh; ztunnel's `DEFAULT_TTL_SECONDS` (`dns/server.rs`). */
  ttlSeconds: 30,
  /** Addresses in one answer: some 65 fill what UDP carries; the rest is told over TCP, and of a service with thousands no client needs all. */
  maxAddresses: 256,
  /** All of one forwarded query, every server tried; ztunnel's time-out. */
  forwardTimeoutMs: 5_000,
  /** One server: the next is asked when it has not answered by then. */
  serverTimeoutMs: 1_500,
  /** A server that failed is asked last for so long. */
  failedServerMs: 30_000,
  /** Servers of resolv.conf that are read; the C library reads three. */
  maxServers: 8,
  /** Queries forwarded at one time, for all clients and for one address: each holds a socket. What is beyond is answered SERVFAIL at once. */
  maxForwarded: 1_024,
  maxForwardedPerClient: 256,
  /** Connections over TCP, and those of one address; how long one may say nothing, and how long a query may be. */
  maxTcpClients: 256,
  maxTcpPerClient: 64,
  tcpIdleMs: 10_000,
  maxQueryBytes: 4_096,
  /** How soon a resolver's file that another program changed is set again; more often than so many times in a row it is left alone for a while. */
  repairDelayMs: 500,
  maxRepairsInARow: 5,
  repairPauseMs: 60_000,
} as const;
