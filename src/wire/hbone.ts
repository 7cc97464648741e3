/**
 * HBONE's own rules on top of HTTP/2: what a CONNECT looks like, which answers there are and what a reset means
 * (ztunnel `src/proxy/outbound.rs`, `src/proxy/inbound.rs`, `src/copy.rs`; RFC 9113 §8.5).
 */
import { MeshError } from "../base/errors.ts";
import { parseHostPort } from "../base/ip.ts";
import { type HeaderFields, headerValue } from "./h2/headers.ts";

/** The answers an HBONE server gives. A refusal by policy is 401, never 403; an unknown destination is 400 or 503, never 404. */
export type HboneStatus = 200 | 400 | 401 | 503;

export interface HboneRequest {
  /** `ip:port` or `hostname:port`. */
  readonly authority: string;
  readonly baggage: string | null;
  readonly forwarded: string | null;
  readonly traceparent: string | null;
  readonly forwardedNetwork: string | null;
}

/** The header block of a CONNECT. Plain, not extended CONNECT: no `:scheme`, `:path` or `:protocol`. */
export function connectHeaders(request: HboneRequest): HeaderFields {
  const fields = [":method", "CONNECT", ":authority", request.authority];
  if (request.baggage !== null && request.baggage !== "") fields.push("baggage", request.baggage);
  if (request.forwarded !== null) fields.push("forwarded", request.forwarded);
  if (request.traceparent !== null) fields.push("traceparent", request.traceparent);
  if (request.forwardedNetwork !== null) fields.push("x-forwarded-network", request.forwardedNetwork);
  return fields;
}

/** Reads a request that the HTTP/2 engine found well-formed. @returns the status and reason to refuse it with otherwise. */
export function parseConnect(
  fields: HeaderFields,
): HboneRequest | { readonly status: 400; readonly message: string } {
  const method = headerValue(fields, ":method");
  if (method !== "CONNECT") return { status: 400, message: `method ${method ?? "missing"} is not CONNECT` };
  if (headerValue(fields, ":protocol") !== null)
    return { status: 400, message: "extended CONNECT is not HBONE" };
  const authority = headerValue(fields, ":authority");
  if (authority === null || authority === "") return { status: 400, message: "CONNECT without an authority" };
  if (parseHostPort(authority) === null) return { status: 400, message: "the authority is not host:port" };
  return {
    authority,
    baggage: joinedValues(fields, "baggage"),
    forwarded: headerValue(fields, "forwarded"),
    traceparent: headerValue(fields, "traceparent"),
    forwardedNetwork: headerValue(fields, "x-forwarded-network"),
  };
}

/** The header block of an answer; `baggage` describes the destination and goes with 200 alone. */
export function answerHeaders(status: HboneStatus, baggage: string | null): HeaderFields {
  const fields = [":status", String(status)];
  if (status === 200 && baggage !== null && baggage !== "") fields.push("baggage", baggage);
  return fields;
}

export interface HboneAnswer {
  readonly status: number;
  readonly baggage: string | null;
}

/** Reads the final answer. @throws MeshError `hbone_status`, blame upstream, unless it is 200. */
export function parseAnswer(fields: HeaderFields): HboneAnswer {
  const status = Number(headerValue(fields, ":status"));
  if (status === 200) return { status, baggage: joinedValues(fields, "baggage") };
  throw new MeshError("hbone_status", "upstream", `the tunnel answered ${status}${meaning(status)}`);
}

function meaning(status: number): string {
  switch (status) {
    case 400:
      return ": it does not take this destination";
    case 401:
      return ": its policy refuses us";
    case 503:
      return ": the application cannot be reached";
    default:
      return "";
  }
}

/** RFC 9113 §7. */
export const resetCode = {
  noError: 0x0,
  internalError: 0x2,
  refusedStream: 0x7,
  cancel: 0x8,
  /** RFC 9113 §8.5: the TCP connection of a CONNECT was reset or abnormally closed. */
  connectError: 0xa,
} as const;

/** ztunnel ends streams it has no more use for with NO_ERROR or CANCEL, and reads both as the end of data; any other code is an error. */
export function isEndOfData(errorCode: number): boolean {
  return errorCode === resetCode.noError || errorCode === resetCode.cancel;
}

function joinedValues(fields: HeaderFields, name: string): string | null {
  let joined: string | null = null;
  for (let index = 0; index < fields.length; index += 2) {
    if (fields[index] !== name) continue;
    joined = joined === null ? (fields[index + 1] ?? "") : `${joined},${fields[index + 1]}`;
  }
  return joined;
}
