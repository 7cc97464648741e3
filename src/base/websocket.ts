/** The handshake of WebSocket (RFC 6455 §4.2.2). */
import { sha1 } from "@noble/hashes/legacy.js";

const textEncoder = new TextEncoder();

/** What a server answers to a `Sec-WebSocket-Key`. */
export function websocketAccept(key: string): string {
  return base64(sha1(textEncoder.encode(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)));
}

/** A key shows that the other end speaks WebSocket, and is no secret (RFC 6455 §10.3): the same seed gives the same one. */
export function websocketKey(seed: string): string {
  return base64(sha1(textEncoder.encode(seed)).subarray(0, 16));
}

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
