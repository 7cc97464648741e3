/** What is known of a request when it is over: the source of its metrics, its access line and its span. */
import { serviceKey } from "../../mesh/service.ts";
import { type Exchange, field } from "../exchange.ts";

export interface RequestRecord {
  readonly exchange: Exchange;
  /** 0 when the client got no answer at all, as in Envoy. */
  readonly status: number;
  /** Null for what is not gRPC, and when no status came. */
  readonly grpcStatus: string | null;
  /** Envoy's short codes, `,` between them; "-" for none. */
  readonly flags: string;
  readonly durationMs: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  /** Why it ended as it did, for the operator; null when there is nothing to say. */
  readonly detail: string | null;
  /** Milliseconds since the Unix epoch when it began. */
  readonly startedWallMs: number;
}

/** @param now monotonic. @param wallMs since the Unix epoch. */
export function recordOf(exchange: Exchange, now: number, wallMs: number): RequestRecord {
  const { response, responseBody, reply, error, body } = exchange;
  const durationMs = now - exchange.startedAtMs;
  return {
    exchange,
    status: response?.status ?? 0,
    grpcStatus: exchange.isGrpc ? grpcStatusOf(exchange) : null,
    flags: flagsOf(exchange),
    durationMs,
    requestBytes: body?.bytes ?? 0,
    responseBytes: responseBody?.bytes ?? 0,
    detail: reply !== null ? reply.detail : error === null ? null : `${error.code}: ${error.message}`,
    startedWallMs: wallMs - durationMs,
  };
}

/** In the trailers, or in the only head (gRPC over HTTP/2, "Trailers-Only"). */
function grpcStatusOf({ response, responseBody }: Exchange): string | null {
  const trailers = responseBody?.trailers ?? null;
  const inTrailers = trailers === null ? null : field([...trailers], "grpc-status");
  return inTrailers ?? (response === null ? null : field(response.fields, "grpc-status"));
}

/** A reply says its own; else a cut says whose it was: DC for a client that left, UC for an upstream that broke off. */
function flagsOf({ reply, error }: Exchange): string {
  if (reply !== null && reply.flag !== "") return reply.flag;
  if (error === null) return "-";
  switch (error.blame) {
    case "peer":
      return "DC";
    case "policy":
      return "UAEX";
    default:
      return error.code === "idle_timeout" ? "UT" : "UC";
  }
}

export function requestProtocol(exchange: Exchange): "grpc" | "http" {
  return exchange.isGrpc ? "grpc" : "http";
}

/** `shop/cart.shop:80`, or the workload's name; "-" for none. */
export function destinationName({ destination, downstream }: Exchange): string {
  if (destination !== null) return `${destination.service}:${destination.port}`;
  const { service, workload, destination: called } = downstream;
  if (service !== null) return `${serviceKey(service)}:${called.port}`;
  return workload === null ? "-" : `${workload.namespace}/${workload.name}:${called.port}`;
}
