/** gRPC status codes (grpc/doc/statuscodes.md), and the error that becomes one on the wire. */
export const grpcCode = {
  ok: 0,
  cancelled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

export type GrpcCode = (typeof grpcCode)[keyof typeof grpcCode];

const codes: ReadonlyMap<number, GrpcCode> = new Map(Object.values(grpcCode).map((code) => [code, code]));

/** @returns `unknown` for a number that is not registered, as the specification asks. */
export function grpcCodeOf(value: number): GrpcCode {
  return codes.get(value) ?? grpcCode.unknown;
}

const names: ReadonlyMap<GrpcCode, string> = new Map(
  Object.entries(grpcCode).map(([name, code]) => [
    code,
    name.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase(),
  ]),
);

/** The specification's name, for messages and logs: `UNAVAILABLE`. */
export function grpcCodeName(code: GrpcCode): string {
  return names.get(code) ?? "UNKNOWN";
}

/**
 * The end of a call that did not succeed. Thrown by a handler it goes over the wire as it is: the message is for
 * outsiders. Received by a client it is what the server, or the call itself (deadline, cancellation), said.
 */
export class GrpcError extends Error {
  override readonly name = "GrpcError";
  readonly code: GrpcCode;

  constructor(code: GrpcCode, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
