/** Names that are not taken yet. */

/** By the global WebCrypto: `node:crypto` would bring the streams with it, which a start has no use for. */
export function randomHex(bytes: number): string {
  return crypto.getRandomValues(new Uint8Array(bytes)).toHex();
}
