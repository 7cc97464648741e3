/** Keys to sign with: anything that signs, and those that are in this process, in the forms that OpenSSL and Istio write. */
import { MeshError } from "../../base/errors.ts";
import { DerReader, derTag, readSingle } from "../der/der.ts";
import { concatBytes, encodeDer, fromHex } from "../der/encode.ts";
import { decodePem, type PemBlock } from "../der/pem.ts";
import { readOid } from "../der/values.ts";
import type { CryptoProvider } from "./provider.ts";
import { buffer } from "./signature.ts";

/** A key to sign with, wherever it is: here, or behind a service that never gives it away. */
export interface SigningKey {
  /** In WebCrypto's words; it names the hash, and the curve. */
  readonly algorithm: KeyAlgorithmParameters;
  /**
   * Hashes `bytes` and signs. @returns the signature as WebCrypto has it: r and s at full length for ECDSA.
   *
   * @throws MeshError `authority_unavailable` when a key that is elsewhere cannot be reached.
   */
  sign(bytes: Uint8Array): Promise<Uint8Array>;
}

/** A key that is in this process. */
export interface LocalSigningKey extends SigningKey {
  /** PKCS#8. */
  readonly pkcs8: Uint8Array;
}

export type KeyAlgorithmParameters =
  | { readonly name: string; readonly namedCurve: string; readonly hash: string }
  | { readonly name: string; readonly hash: string }
  | { readonly name: string };

const ecPublicKey = "1.2.840.10045.2.1";
const rsaEncryption = "1.2.840.113549.1.1.1";
const ed25519 = "1.3.101.112";
const p256 = "1.2.840.10045.3.1.7";
const p384 = "1.3.132.0.34";

/**
 * Reads `PRIVATE KEY` (PKCS#8), `EC PRIVATE KEY` (SEC 1) or `RSA PRIVATE KEY` (PKCS#1). `EC PARAMETERS`, which OpenSSL puts
 * in front, is skipped.
 *
 * @throws MeshError `configuration`, blame local. No message ever holds a part of the key.
 */
export async function readSigningKey(pem: string, provider: CryptoProvider): Promise<LocalSigningKey> {
  try {
    const keys = decodePem(pem).filter((block) => block.label.endsWith("PRIVATE KEY"));
    const [block, ...more] = keys;
    if (block === undefined) throw bad("is missing");
    if (more.length > 0) throw bad("is not the only one there");
    return await importSigningKey(toPkcs8(block), provider);
  } catch (error) {
    if (error instanceof MeshError && error.code === "configuration") throw error;
    // Without its cause: what a library says about a key it cannot read may quote it.
    throw bad("cannot be read");
  }
}

/** @param pkcs8 PrivateKeyInfo. */
export async function importSigningKey(
  pkcs8: Uint8Array,
  provider: CryptoProvider,
): Promise<LocalSigningKey> {
  const { subtle } = provider.crypto;
  const algorithm = signingAlgorithm(pkcs8);
  const key = await subtle.importKey("pkcs8", buffer(pkcs8), algorithm, false, ["sign"]);
  const sign = async (bytes: Uint8Array): Promise<Uint8Array> =>
    new Uint8Array(await subtle.sign(algorithm, key, buffer(bytes)));
  return { algorithm, pkcs8, sign };
}

/** A new ECDSA P-256 key, and its SubjectPublicKeyInfo. */
export async function generateSigningKey(
  provider: CryptoProvider,
): Promise<{ readonly key: LocalSigningKey; readonly publicKeyInfo: Uint8Array }> {
  const { subtle } = provider.crypto;
  const keys = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const pkcs8 = new Uint8Array(await subtle.exportKey("pkcs8", keys.privateKey));
  const publicKeyInfo = new Uint8Array(await subtle.exportKey("spki", keys.publicKey));
  return { key: await importSigningKey(pkcs8, provider), publicKeyInfo };
}

function signingAlgorithm(pkcs8: Uint8Array): KeyAlgorithmParameters {
  const info = readSingle(pkcs8, derTag.sequence);
  info.content(derTag.integer);
  const algorithm = info.enter(derTag.sequence);
  const id = readOid(algorithm.content(derTag.oid));
  if (id === rsaEncryption) return { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
  if (id === ed25519) return { name: "Ed25519" };
  const curve = id === ecPublicKey ? readOid(algorithm.content(derTag.oid)) : null;
  if (curve === p256) return { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  if (curve === p384) return { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" };
  throw bad("is of a kind that is not supported (ECDSA P-256 or P-384, RSA, Ed25519)");
}

function toPkcs8(block: PemBlock): Uint8Array {
  switch (block.label) {
    case "PRIVATE KEY":
      return block.der;
    case "RSA PRIVATE KEY":
      return privateKeyInfo(concatBytes(oidElement("2a864886f70d010101"), fromHex("0500")), block.der);
    case "EC PRIVATE KEY":
      return privateKeyInfo(concatBytes(oidElement("2a8648ce3d0201"), sec1Curve(block.der)), block.der);
    default:
      throw bad("is encrypted or of a kind that is not supported");
  }
}

/** The `parameters [0]` of ECPrivateKey (RFC 5915 §3), an object identifier, whole. */
function sec1Curve(der: Uint8Array): Uint8Array {
  const fields = readSingle(der, derTag.sequence);
  fields.content(derTag.integer);
  fields.content(derTag.octetString);
  const parameters = fields.optional(0xa0);
  if (parameters === null) throw bad("does not name its curve");
  return new DerReader(parameters).expect(derTag.oid).whole;
}

/** PrivateKeyInfo (RFC 5208 §5), version 0. */
function privateKeyInfo(algorithm: Uint8Array, key: Uint8Array): Uint8Array {
  const parts = concatBytes(
    fromHex("020100"),
    encodeDer(derTag.sequence, algorithm),
    encodeDer(derTag.octetString, key),
  );
  return encodeDer(derTag.sequence, parts);
}

function oidElement(content: string): Uint8Array {
  return encodeDer(derTag.oid, fromHex(content));
}

function bad(message: string): MeshError {
  return new MeshError("configuration", "local", `the private key ${message}`);
}
