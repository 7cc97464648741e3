/**
 * SHA-256 (FIPS 180-4), synchronous: WebCrypto's answers later, which neither a transaction nor a machine can wait for. For
 * content addresses and chains; keys and signatures are `pki/`'s.
 */
import { sha256 as algorithm } from "@noble/hashes/sha2.js";

/** Of the parts as if they were one. @returns 32 bytes. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = algorithm.create();
  for (const part of parts) hash.update(part);
  return hash.digest();
}

export function sha256Hex(...parts: readonly Uint8Array[]): string {
  return sha256(...parts).toHex();
}

/** Of what is large, in steps of a millisecond or two. */
export function* sha256InSteps(bytes: Uint8Array): Generator<void, Uint8Array> {
  const hash = algorithm.create();
  for (let at = 0; at < bytes.length; at += bytesPerStep) {
    hash.update(bytes.subarray(at, at + bytesPerStep));
    yield;
  }
  return hash.digest();
}

const bytesPerStep = 128 * 1024;
