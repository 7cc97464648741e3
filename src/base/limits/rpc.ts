/** The bounds of gRPC and xDS. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */
import { doorLimits } from "./door.ts";

/** Delta ADS, and the control plane's xDS server. */
export const adsLimits = {
  /**
   * One request: whoever comes back names everything it has, with versions, at some 100 bytes each. More than the 4 MiB of other
   * methods, because a client whose request is refused comes back with the same for ever; of callers that are known alone.
   */
  maxRequestBytes: 16 * 1024 * 1024,
  /** Names that one stream may be subscribed to, all types together, and characters of one: a uid holds a cluster, a namespace and two names. */
  maxNamesPerStream: 10_000,
  maxNameChars: 1_024,
  /** Types one stream may ask for; ztunnel asks for two, a waypoint's documents are about twenty. */
  maxTypesPerStream: 64,
  /**
   * Entries of `initial_resource_versions`: ztunnel and istiod's other clients name each resource they have, and Kubernetes' largest cluster has
   * 150,000 Pods (kubernetes.io, "Considerations for large clusters"). Read in slices.
   */
  maxInitialVersions: 500_000,
  /** Requests on one stream: an acknowledgement for each response, and lookups. */
  requests: { burst: 1_000, perSecond: 200 },
  /** Characters of a refusal (NACK) that are sent or kept. */
  maxErrorChars: 4_096,
  /** One response that changes what a client has. A resource that is larger by itself goes alone. */
  responseBytes: 1024 * 1024,
  /**
   * The first response of a type on a stream: ztunnel carries traffic as soon as it has acknowledged one, so it should be whole. Its
   * own bound is 200 MiB.
   */
  firstResponseBytes: 64 * 1024 * 1024,
  /** A client that leaves a response unanswered for this long loses its stream. */
  acknowledgeTimeoutMs: 60_000,
  /** From the beginning of a stream until it has said who it is and what it wants. */
  firstRequestTimeoutMs: 15_000,
  /** From the end of the token that a stream was opened with, to the end of the stream: time for the next token to be there. */
  expiredTokenGraceMs: 60_000,
  /** How long what depends on the order of policies and addresses waits for the request for the other type on a new stream. */
  policiesFirstMs: 50,
  /** Changes remembered by revision; a client that is further behind is given what differs, by name. */
  maxRememberedChanges: 100_000,
  /** Changes are pushed when it has been quiet for this long, or after so long at the most; istiod: 100 ms and 10 s. */
  quietMs: 10,
  maxDelayMs: 200,
  /** Resources made of the mesh in one go; more are made in slices, between which connections have their turn. */
  encodedAtOnce: 200,
  /** Streams at one time, all clients together, and of one client: a client that reconnects leaves its last stream for a while. */
  maxStreams: 10_000,
  maxStreamsPerClient: 8,
  /** Of `maxStreams`, what is kept for hosts that have joined: other identities, and their addresses, share the rest. */
  reservedStreams: 2_500,
  /** What a node calls itself. */
  maxNodeIdChars: 1_024,
} as const;

/** gRPC, and the connections that carry it to and from the control plane. */
export const grpcLimits = {
  /** A request to us; what gRPC's implementations take by default. */
  maxRequestBytes: 4 * 1024 * 1024,
  /** Fields of one request, messages within it included: decoded in one turn, some 10 ms. A CreateCertificate has some ten. */
  maxFieldsPerRequest: 10_000,
  /** A request of more bytes is decoded in slices, where its method can. */
  decodedAtOnceBytes: 64 * 1024,
  /** A response to us: the whole mesh in one; ztunnel's value for xDS. */
  maxResponseBytes: 200 * 1024 * 1024,
  /** Requests that are not whole yet, of one connection, of one address (IPv6: one /64) and of all. */
  maxAssembledBytesPerConnection: 24 * 1024 * 1024,
  maxAssembledBytesPerAddress: 64 * 1024 * 1024,
  maxAssembledBytes: 128 * 1024 * 1024,
  /** From the beginning of a request to its end: whoever does not finish one holds its bytes and its call for nothing. */
  requestTimeoutMs: 60_000,
  /** Handlers that run for one connection, one address and for all, those of calls that were given up included. */
  maxHandlersPerConnection: 2_000,
  maxHandlersPerAddress: 12_500,
  maxHandlers: 50_000,
  /** Characters of `grpc-message`. */
  maxStatusMessageChars: 1_024,
  /** A deadline further away is none. */
  maxTimeoutMs: 2_147_483_647,
  /** Connections to the control plane's port whose callers are known: all, and of one address. */
  maxConnections: 20_000,
  maxConnectionsPerAddress: 1_024,
  /** Those whose callers are not, TLS handshakes under way among them. */
  maxUnproven: doorLimits.maxUnproven,
  maxUnprovenPerAddress: doorLimits.maxUnprovenPerAddress,
  maxUnprovenPerNeighbourhood: doorLimits.maxUnprovenPerNeighbourhood,
  handshakeTimeoutMs: 10_000,
  /** Calls at one time on one connection. */
  maxStreamsPerConnection: 1_024,
  /** Windows of one call and of one connection: what a peer may send before it is read. */
  streamWindowBytes: 256 * 1024,
  connectionWindowBytes: 1024 * 1024,
  maxFrameBytes: 64 * 1024,
  /** Windows of our own connection to a control plane, which sends the whole mesh at once. */
  channelStreamWindowBytes: 4 * 1024 * 1024,
  channelConnectionWindowBytes: 16 * 1024 * 1024,
  /** A connection without calls is drained after this. */
  idleMs: 5 * 60_000,
  /** PING, and how long its answer may take; ztunnel's values toward istiod. */
  keepAliveIntervalMs: 30_000,
  keepAliveTimeoutMs: 10_000,
  /** TCP connect toward the control plane; ztunnel's value. */
  connectTimeoutMs: 5_000,
  /** Back-off of a channel after a failed connection; ztunnel's values toward istiod. */
  backoffStartMs: 10,
  backoffFactor: 2,
  backoffJitter: 0.2,
  backoffMaxMs: 15_000,
  /** A connection that lived this long makes the next one's back-off start again. */
  backoffResetMs: 10_000,
  /** Addresses of a control plane's name that are tried. */
  maxAddresses: 4,
  /** Calls that wait for one connection to be made. */
  maxWaitingCalls: 1_024,
  /** A peer that does not read our last words is cut after this. */
  lingerMs: 2_000,
  /** How long calls may finish when the server stops. */
  drainDeadlineMs: 5_000,
} as const;
