/** Header fields of gRPC over HTTP/2 (grpc/doc/PROTOCOL-HTTP2.md): content type, time-out, status, metadata. */
import { grpcLimits } from "../../base/limits/rpc.ts";
import { type HeaderFields, headerValue } from "../h2/headers.ts";
import { GrpcError, grpcCode, grpcCodeOf } from "./status.ts";

export const contentType = "application/grpc";

/** What a content type says: `proto` for messages we read, `other` for gRPC with messages in another form, null for no gRPC. */
export function grpcContent(headers: HeaderFields): "proto" | "other" | null {
  const value = headerValue(headers, "content-type")?.toLowerCase();
  if (value === undefined || !value.startsWith(contentType)) return null;
  const rest = value.slice(contentType.length);
  if (rest === "" || rest.startsWith(";")) return "proto";
  // `application/grpc-web` is another protocol.
  if (!rest.startsWith("+")) return null;
  return /^\+proto(?:;|$)/.test(rest) ? "proto" : "other";
}

const unitMs: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** `grpc-timeout` in milliseconds; null when there is none. @throws GrpcError when it is no time-out. */
export function readTimeoutMs(headers: HeaderFields): number | null {
  const value = headerValue(headers, "grpc-timeout");
  if (value === null) return null;
  const [, digits = "", unit = ""] = /^([0-9]{1,8})([HMSmun])$/.exec(value) ?? [];
  const factor = unitMs[unit];
  if (factor === undefined) throw new GrpcError(grpcCode.internal, "grpc-timeout is malformed");
  return Number(digits) * factor;
}

/** At most eight digits: milliseconds while they fit, then seconds, minutes, hours. Never less than what was asked for. */
export function formatTimeout(timeoutMs: number): string {
  for (const unit of ["m", "S", "M", "H"]) {
    const amount = Math.max(0, Math.ceil(timeoutMs / (unitMs[unit] ?? 1)));
    if (amount < 1e8) return `${amount}${unit}`;
  }
  return "99999999H";
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** `grpc-message`: UTF-8, with everything but printable ASCII, and `%`, written as `%XX`. Cut to the bound. */
export function percentEncode(text: string): string {
  let encoded = "";
  for (const byte of encoder.encode(text.slice(0, grpcLimits.maxStatusMessageChars))) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}

/** What is not well encoded stays as it came: a message is for people, and never a reason to fail. */
export function percentDecode(text: string): string {
  const bytes: number[] = [];
  for (let index = 0; index < text.length; index++) {
    const pair = text.charCodeAt(index) === 0x25 ? text.slice(index + 1, index + 3) : "";
    if (/^[0-9a-fA-F]{2}$/.test(pair)) {
      bytes.push(Number.parseInt(pair, 16));
      index += 2;
    } else bytes.push(text.charCodeAt(index) & 0xff);
  }
  return decoder.decode(new Uint8Array(bytes)).slice(0, grpcLimits.maxStatusMessageChars);
}

/** Trailers, or what ends a call without any message. */
export function statusFields(error: GrpcError | null): HeaderFields {
  if (error === null) return ["grpc-status", "0"];
  const status = ["grpc-status", String(error.code)];
  return error.message === "" ? status : [...status, "grpc-message", percentEncode(error.message)];
}

/** @returns null for OK; `missing` when the fields say no status at all. */
export function readStatus(fields: HeaderFields): GrpcError | null | "missing" {
  const status = headerValue(fields, "grpc-status");
  if (status === null) return "missing";
  if (status === "0") return null;
  const code = /^[0-9]{1,4}$/.test(status) ? grpcCodeOf(Number(status)) : grpcCode.unknown;
  return new GrpcError(code, percentDecode(headerValue(fields, "grpc-message") ?? ""));
}

/** Custom metadata as it may be sent: names of their own, no field that the protocol writes itself. */
export function isCustomMetadata(name: string): boolean {
  return (
    /^[0-9a-z_.-]+$/.test(name) &&
    !name.startsWith("grpc-") &&
    !["content-type", "te", "host", "connection", "content-length", "user-agent"].includes(name)
  );
}

/** The value of a `-bin` field. */
export function encodeBinaryMetadata(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes)).replace(/=+$/, "");
}

/** The first value of a `-bin` field; several may be joined by commas. Null when there is none or it is no base64. */
export function binaryMetadata(fields: HeaderFields, name: string): Uint8Array | null {
  const value = headerValue(fields, name)?.split(",")[0]?.trim();
  if (value === undefined) return null;
  try {
    return Uint8Array.from(atob(value), (char) => char.charCodeAt(0));
  } catch {
    return null;
  }
}
