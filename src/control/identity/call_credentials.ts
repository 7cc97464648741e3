/** What a call shows of its caller, out of the connection and the headers. */
import type { SocketAddress } from "../../base/ip.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { CallCredentials } from "./caller.ts";

/** The part of `RpcPeer` that tells who it is. */
export interface CallPeer {
  readonly remote: SocketAddress;
  /** As presented, not verified; empty without a client certificate. */
  readonly chain: readonly Uint8Array[];
  /** See `RpcPeer`. */
  readonly proven?: () => void;
}

/** The part of `ServerCall` that is read here. */
export interface UnaryCall {
  readonly peer: CallPeer;
  readonly metadata: HeaderFields;
  readonly cancelled: AbortSignal;
}

export function credentialsOf({ peer, metadata }: UnaryCall): CallCredentials {
  const { chain, remote, proven = () => {} } = peer;
  return { chain, remote, authorization: authorizationOf(metadata), proven };
}

/** Two of them are joined, as RFC 9110 §5.3 does, and so are no bearer token: no choice has to be made between them. */
function authorizationOf(metadata: HeaderFields): string | null {
  const values: string[] = [];
  for (let index = 0; index + 1 < metadata.length; index += 2)
    if (metadata[index] === "authorization") values.push(metadata[index + 1] ?? "");
  return values.length === 0 ? null : values.join(", ");
}
