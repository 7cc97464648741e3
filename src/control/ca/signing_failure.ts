/** What a caller is told when its certificate could not be made: its own mistakes by name, ours not at all. */
import { MeshError } from "../../base/errors.ts";
import { type GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import type { Refusals, Refused } from "../identity/refusals.ts";

export type RefusedCall = Pick<Refused, "action" | "actor" | "target">;

/** @throws whatever is no MeshError: a refusal that was said already, or a bug of ours. */
export function describeSigningFailure(error: unknown, call: RefusedCall, refusals: Refusals): GrpcError {
  if (!(error instanceof MeshError)) throw error;
  const { code, blame, message } = error;
  const refused = { ...call, reason: code, detail: message };
  // About a request that its sender knows: nothing is given away (istiod: InvalidArgument).
  if (blame === "peer")
    return refusals.refuse(grpcCode.invalidArgument, `certificate request: ${message}`, refused);
  // Revoked while it asked.
  if (blame === "policy")
    return refusals.refuse(grpcCode.unauthenticated, "request authenticate failure", refused);
  const isPassing = passing.has(code);
  return refusals.refuse(
    isPassing ? grpcCode.unavailable : grpcCode.internal,
    isPassing ? "the certificate authority cannot sign now" : "the certificate could not be made",
    { ...refused, outcome: "failed" },
  );
}

/** What another attempt may find better. */
const passing: ReadonlySet<string> = new Set([
  "authority_unavailable",
  "limit_reached",
  "connect_refused",
  "connect_timeout",
  "connect_unreachable",
  "connection_closed",
  "disk_full",
  "database_locked",
]);
