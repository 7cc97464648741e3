/** How long a request may take in all: what its route says, and what a gRPC client says of its own (gRPC over HTTP/2, "Timeout"). */
import { field, type RequestHead } from "../exchange.ts";

const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};
const pattern = /^([0-9]{1,8})([HMSmun])$/;

/** @returns null without one, and for a value that is none: gRPC leaves such to the server. */
export function grpcTimeoutMs(value: string | null): number | null {
  const match = value === null ? null : pattern.exec(value);
  if (match === null) return null;
  return Number(match[1]) * (unitMs[match[2] ?? ""] ?? 0);
}

export interface TimeLimit {
  readonly ms: number;
  /** The client has set it, and gets gRPC's DEADLINE_EXCEEDED. */
  readonly isDeadline: boolean;
}

/** The shorter of both; null: no limit. @param routeMs 0 or null: none. */
export function timeLimit(
  routeMs: number | null,
  { fields }: RequestHead,
  isGrpc: boolean,
): TimeLimit | null {
  const ofRoute = routeMs === null || routeMs === 0 ? null : { ms: routeMs, isDeadline: false };
  const deadline = isGrpc ? grpcTimeoutMs(field(fields, "grpc-timeout")) : null;
  if (deadline === null || (ofRoute !== null && ofRoute.ms <= deadline)) return ofRoute;
  return { ms: deadline, isDeadline: true };
}
