import { type ErrorCode, MeshError } from "../../base/errors.ts";

/** Error codes of RST_STREAM and GOAWAY (RFC 9113 §7). */
export const h2ErrorCode = {
  noError: 0x0,
  protocolError: 0x1,
  internalError: 0x2,
  flowControlError: 0x3,
  settingsTimeout: 0x4,
  streamClosed: 0x5,
  frameSizeError: 0x6,
  refusedStream: 0x7,
  cancel: 0x8,
  compressionError: 0x9,
  connectError: 0xa,
  enhanceYourCalm: 0xb,
  inadequateSecurity: 0xc,
  http11Required: 0xd,
} as const;

const names = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
] as const;

/** The RFC's name of a code, for messages: `CANCEL`, or `0x1f` for one that is not registered. */
export function h2ErrorName(code: number): string {
  return names[code] ?? `0x${code.toString(16)}`;
}

/** What the peer did wrong, as the error that streams and the connection end with. */
export function peerFault(code: number, message: string): MeshError {
  return new MeshError(meshCode(code), "peer", `${h2ErrorName(code)}: ${message}`);
}

function meshCode(code: number): ErrorCode {
  switch (code) {
    case h2ErrorCode.flowControlError:
      return "h2_flow_control";
    case h2ErrorCode.refusedStream:
      return "h2_refused";
    case h2ErrorCode.enhanceYourCalm:
      return "h2_flood";
    default:
      return "h2_protocol";
  }
}
