/**
 * Whose fault a failure is. It decides what is counted, what is logged and what the other side is told.
 *
 * - `peer`: the other end of a connection broke a protocol or showed credentials that do not hold.
 * - `local`: this host (configuration, file descriptors, disk).
 * - `upstream`: the application or the next hop we dialled.
 * - `policy`: a rule the operator wrote refused it.
 */
export type Blame = "peer" | "local" | "upstream" | "policy";

/** Every kind of failure the program tells apart. Operators see these words in logs; they do not change lightly. */
export type ErrorCode =
  // transport
  | "address_in_use"
  | "connect_refused"
  | "connect_timeout"
  | "connect_unreachable"
  | "connection_reset"
  | "connection_closed"
  | "descriptors_exhausted"
  | "permission_denied"
  | "name_not_found"
  | "address_forbidden"
  | "io"
  // TLS and identity
  | "tls_handshake"
  | "tls_parameters"
  | "certificate_missing"
  | "certificate_malformed"
  | "certificate_chain"
  | "certificate_untrusted"
  | "certificate_signature"
  | "certificate_algorithm"
  | "certificate_constraints"
  | "certificate_extension"
  | "certificate_expired"
  | "certificate_not_yet_valid"
  | "certificate_usage"
  | "certificate_identity"
  | "certificate_trust_domain"
  | "certificate_unexpected"
  | "certificate_revoked"
  | "certificate_revocation_unknown"
  | "identity_unavailable"
  | "authority_unavailable"
  | "control_unavailable"
  | "control_refused"
  // HTTP/2 and HBONE
  | "h2_protocol"
  | "h2_flow_control"
  | "h2_refused"
  | "h2_flood"
  | "h2_reset"
  | "h2_keepalive_timeout"
  | "hbone_status"
  | "hbone_request"
  // gRPC and what it carries
  | "message_malformed"
  | "http_protocol"
  // routing and policy
  | "no_route"
  | "no_healthy_upstream"
  | "self_call"
  | "unknown_workload"
  /** The workload of an address is another by now than the one whose identity was verified. */
  | "workload_changed"
  | "policy_denied"
  | "policy_missing"
  | "policy_changed"
  /** Of an end user: it is over, or does not hold any more. */
  | "token_ended"
  | "trust_changed"
  // limits and life cycle
  | "limit_reached"
  | "idle_timeout"
  | "draining"
  | "stopped"
  // the control plane's state
  | "disk_full"
  | "disk_read_only"
  | "database_locked"
  | "database_damaged"
  | "database_missing"
  | "database_version"
  // a defect of this program, whoever's connection it ended
  | "bug"
  // configuration
  | "configuration"
  | "unsupported";

/** A fault of a peer, of an upstream or of this host, with the blame. A refusal by policy is a `Denial` value; a bug of ours is an `AssertionError`. */
export class MeshError extends Error {
  override readonly name = "MeshError";

  readonly code: ErrorCode;
  readonly blame: Blame;

  constructor(code: ErrorCode, blame: Blame, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.blame = blame;
  }
}

/** Turns whatever was thrown into a `MeshError`, keeping the original as its cause. */
export function asMeshError(thrown: unknown, code: ErrorCode, blame: Blame): MeshError {
  if (thrown instanceof MeshError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new MeshError(code, blame, message, { cause: thrown });
}

/**
 * What ended a connection. Sockets, flows and verifiers throw `MeshError`; anything else that comes out of them is a bug of
 * ours, and is never told as a peer's or an upstream's fault.
 */
export function faultOf(thrown: unknown): MeshError {
  if (thrown instanceof MeshError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new MeshError("bug", "local", `a bug of ours: ${message}`, { cause: thrown });
}
