/** What a call ended with when no server said a status: from HTTP's status, or from the end of the stream. */
import type { MeshError } from "../../base/errors.ts";
import { h2ErrorCode } from "../h2/error_code.ts";
import { type GrpcCode, GrpcError, grpcCode } from "./status.ts";

/** grpc/doc/http-grpc-status-mapping.md. */
const byHttpStatus: ReadonlyMap<string, GrpcCode> = new Map([
  ["400", grpcCode.internal],
  ["401", grpcCode.unauthenticated],
  ["403", grpcCode.permissionDenied],
  ["404", grpcCode.unimplemented],
  ["429", grpcCode.unavailable],
  ["502", grpcCode.unavailable],
  ["503", grpcCode.unavailable],
  ["504", grpcCode.unavailable],
]);

export function errorOfHttpStatus(status: string): GrpcError {
  const code = byHttpStatus.get(status) ?? grpcCode.unknown;
  return new GrpcError(code, `the server answered HTTP status ${status} and no gRPC status`);
}

/** PROTOCOL-HTTP2.md, "Errors". */
const byResetCode: ReadonlyMap<number, GrpcCode> = new Map([
  [h2ErrorCode.noError, grpcCode.internal],
  [h2ErrorCode.protocolError, grpcCode.internal],
  [h2ErrorCode.internalError, grpcCode.internal],
  [h2ErrorCode.flowControlError, grpcCode.internal],
  [h2ErrorCode.settingsTimeout, grpcCode.internal],
  [h2ErrorCode.frameSizeError, grpcCode.internal],
  [h2ErrorCode.refusedStream, grpcCode.unavailable],
  [h2ErrorCode.cancel, grpcCode.cancelled],
  [h2ErrorCode.compressionError, grpcCode.internal],
  [h2ErrorCode.connectError, grpcCode.internal],
  [h2ErrorCode.enhanceYourCalm, grpcCode.resourceExhausted],
  [h2ErrorCode.inadequateSecurity, grpcCode.permissionDenied],
]);

/** A stream that ended without trailers. The cause says whose fault it was. */
export function errorOfReset(errorCode: number, cause: MeshError): GrpcError {
  return new GrpcError(codeOfReset(errorCode, cause), cause.message, { cause });
}

function codeOfReset(errorCode: number, cause: MeshError): GrpcCode {
  if (cause.code === "h2_reset") return byResetCode.get(errorCode) ?? grpcCode.unknown;
  // The peer broke HTTP/2's rules: trying again would not help. All else is a connection that went away.
  return cause.code === "h2_protocol" || cause.code === "h2_flow_control"
    ? grpcCode.internal
    : grpcCode.unavailable;
}
