/** Who calls the control plane, once that is known for certain. */
import type { SocketAddress } from "../../base/ip.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { Registration } from "../records/registrations.ts";

/** The agent of a joined host, by the certificate it got when it joined. */
export interface NodeCaller {
  readonly kind: "node";
  readonly id: SpiffeId;
  readonly node: string;
  readonly registration: Registration;
  /** Hexadecimal, of the certificate it showed. */
  readonly serialNumber: string;
  /** When that certificate begins; left out for a node that is only known to stand behind a workload. */
  readonly notBeforeMs?: number;
  /** After its end the certificate is good for `Renew` alone, and only `authenticateForRenewal` takes it. */
  readonly credential: "valid" | "expired";
}

/** A workload speaking for itself: a real ztunnel in dedicated mode by its token, or whoever holds an SVID. */
export interface WorkloadCaller {
  readonly kind: "workload";
  readonly id: SpiffeId;
  readonly via: "certificate" | "token";
  /** Hexadecimal, of the certificate it showed; none by a token. */
  readonly serialNumber?: string;
  /** Wall clock; of the token it showed, what clocks may differ by included. None by a certificate. */
  readonly expiresAtMs?: number;
  /** What it showed, when that was a token. */
  readonly token?: {
    readonly issuer: string;
    /** `issuer#jti`; null when it has none. */
    readonly id: string | null;
  };
}

/** A person or a program that administers, by a token of an issuer of operators. What it may do is administration's to say. */
export interface OperatorCaller {
  readonly kind: "operator";
  /** `issuer#subject`; no two callers share it. */
  readonly name: string;
  readonly issuer: string;
  readonly subject: string;
  /** The token's payload, for role bindings. */
  readonly claims: Readonly<Record<string, unknown>>;
}

export type Caller = NodeCaller | WorkloadCaller | OperatorCaller;

/** What a caller has shown. None of it is believed yet. */
export interface CallCredentials {
  /** Client certificate in DER, leaf first; empty without one. TLS has proven that the caller holds the leaf's key. */
  readonly chain: readonly Uint8Array[];
  /** The `authorization` header as it came. */
  readonly authorization: string | null;
  readonly remote: SocketAddress;
  /** To be called when the caller is known: its connection is no stranger's any more. */
  readonly proven?: () => void;
}

export interface CallerAuthenticator {
  /** @throws GrpcError `unauthenticated`, or `resourceExhausted` past the address's rate; opaque, the reason is in the audit log. */
  authenticate(credentials: CallCredentials): Promise<Caller>;
  /** As `authenticate`, for nodes alone, and takes a certificate that has expired. */
  authenticateForRenewal(credentials: CallCredentials): Promise<NodeCaller>;
}

/** For the audit log and for rate limits: the identity, or the operator's name. */
export function callerName(caller: Caller): string {
  return caller.kind === "operator" ? caller.name : caller.id.uri;
}
