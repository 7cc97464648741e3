/** Answers that are the waypoint's own: for a client of HTTP, or of gRPC. */
import { Body } from "./body.ts";
import type { Exchange, LocalReply, ResponseHead } from "./exchange.ts";

const textEncoder = new TextEncoder();

/** @param message for the client: what it may know. @param detail for the record. */
export function localReply(
  status: number,
  flag: string,
  message: string,
  detail: string,
  grpcStatus: number | null = null,
): LocalReply {
  const body = message === "" ? new Uint8Array(0) : textEncoder.encode(message);
  const fields = message === "" ? [] : ["content-type", "text/plain"];
  return { status, fields, body, grpcStatus, flag, detail };
}

/** gRPC's own table (`http-grpc-status-mapping.md`). */
export function grpcStatusOf(httpStatus: number): number {
  switch (httpStatus) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}

/** As it is told: a gRPC client gets HTTP 200 and its status in the only HEADERS frame ("Trailers-Only"). */
export function replyHead(exchange: Exchange, reply: LocalReply): ResponseHead {
  if (!exchange.isGrpc) {
    const fields = [...reply.fields];
    fields.push("content-length", String(reply.body.length));
    return { status: reply.status, fields };
  }
  const fields = [
    "content-type",
    "application/grpc",
    "grpc-status",
    String(reply.grpcStatus ?? grpcStatusOf(reply.status)),
  ];
  if (reply.body.length > 0) fields.push("grpc-message", percentEncoded(reply.body));
  for (let i = 0; i + 1 < reply.fields.length; i += 2) {
    const name = reply.fields[i] ?? "";
    if (name !== "content-type" && name !== "content-length") fields.push(name, reply.fields[i + 1] ?? "");
  }
  return { status: 200, fields };
}

/** gRPC over HTTP/2, "Status-Message": bytes outside of printable ASCII, and `%`. */
function percentEncoded(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes)
    text +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  return text;
}

/** Null where it has none: gRPC's is in its message, and an answer to HEAD has a length alone. */
export function replyBody(exchange: Exchange, reply: LocalReply): Body | null {
  if (exchange.isGrpc || reply.body.length === 0 || exchange.request.method === "HEAD") return null;
  const body = new Body({ onResume: () => {}, onCancel: () => {} });
  body.push(reply.body);
  body.finish(null);
  return body;
}
