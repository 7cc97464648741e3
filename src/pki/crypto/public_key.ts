/** Which public keys and which signature algorithms are good enough, and how WebCrypto calls them. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { type DerReader, derTag, malformed, readSingle } from "../der/der.ts";
import { hex, readInteger, readOctetAlignedBits, readOid } from "../der/values.ts";

export type PublicKeyKind = "P-256" | "P-384" | "RSA" | "Ed25519";

/** How one AlgorithmIdentifier of a signature is verified. */
export interface SignatureScheme {
  readonly name: string;
  readonly keys: readonly PublicKeyKind[];
  readonly hash: "SHA-256" | "SHA-384" | "SHA-512" | null;
  readonly webCrypto: "ECDSA" | "RSASSA-PKCS1-v1_5" | "RSA-PSS" | "Ed25519";
}

const ec = ["P-256", "P-384"] as const;

function pss(hash: "SHA-256" | "SHA-384" | "SHA-512"): SignatureScheme {
  return { name: `RSA-PSS with ${hash}`, keys: ["RSA"], hash, webCrypto: "RSA-PSS" };
}

function pkcs1(hash: "SHA-256" | "SHA-384" | "SHA-512"): SignatureScheme {
  return { name: `RSA with ${hash}`, keys: ["RSA"], hash, webCrypto: "RSASSA-PKCS1-v1_5" };
}

function ecdsa(hash: "SHA-256" | "SHA-384" | "SHA-512"): SignatureScheme {
  return { name: `ECDSA with ${hash}`, keys: ec, hash, webCrypto: "ECDSA" };
}

/** RSASSA-PSS-params (RFC 4055 §3.1) for the hash with this last arc in NIST's tree. */
function pssParameters(arc: string, saltBytes: string, hasNulls: boolean): string {
  return hasNulls
    ? `304106092a864886f70d01010a3034a00f300d060960864801650304020${arc}0500a11c301a06092a864886f70d010108300d060960864801650304020${arc}0500a2030201${saltBytes}`
    : `303d06092a864886f70d01010a3030a00d300b060960864801650304020${arc}a11a301806092a864886f70d010108300b060960864801650304020${arc}a2030201${saltBytes}`;
}

/**
 * By the whole AlgorithmIdentifier in hexadecimal, parameters included, as webpki does it: what is not written exactly so
 * is refused. RSA stands with the NULL of its hash and without (RFC 4055 §2.1 and §5: both must be taken). RSA-PSS has the
 * hash's own length as salt and the same hash in MGF1.
 */
const schemes: ReadonlyMap<string, SignatureScheme> = new Map([
  ["300a06082a8648ce3d040302", ecdsa("SHA-256")],
  ["300a06082a8648ce3d040303", ecdsa("SHA-384")],
  ["300a06082a8648ce3d040304", ecdsa("SHA-512")],
  ["300d06092a864886f70d01010b0500", pkcs1("SHA-256")],
  ["300b06092a864886f70d01010b", pkcs1("SHA-256")],
  ["300d06092a864886f70d01010c0500", pkcs1("SHA-384")],
  ["300b06092a864886f70d01010c", pkcs1("SHA-384")],
  ["300d06092a864886f70d01010d0500", pkcs1("SHA-512")],
  ["300b06092a864886f70d01010d", pkcs1("SHA-512")],
  [pssParameters("1", "20", true), pss("SHA-256")],
  [pssParameters("1", "20", false), pss("SHA-256")],
  [pssParameters("2", "30", true), pss("SHA-384")],
  [pssParameters("2", "30", false), pss("SHA-384")],
  [pssParameters("3", "40", true), pss("SHA-512")],
  [pssParameters("3", "40", false), pss("SHA-512")],
  ["300506032b6570", { name: "Ed25519", keys: ["Ed25519"], hash: null, webCrypto: "Ed25519" }],
]);

/** Names for messages about what is refused. */
const refusedAlgorithms: Readonly<Record<string, string>> = {
  "1.2.840.113549.1.1.4": "RSA with MD5",
  "1.2.840.113549.1.1.5": "RSA with SHA-1",
  "1.2.840.10045.4.1": "ECDSA with SHA-1",
  "1.2.840.113549.1.1.14": "RSA with SHA-224",
  "1.2.840.10045.4.3.1": "ECDSA with SHA-224",
  "1.2.840.113549.1.1.10": "RSA-PSS with unusual parameters",
};

/** @throws MeshError `certificate_algorithm`, blame peer: SHA-1, MD5 and everything else that is not in the table. */
export function signatureScheme(algorithmIdentifier: Uint8Array): SignatureScheme {
  const scheme = schemes.get(hex(algorithmIdentifier));
  if (scheme !== undefined) return scheme;
  const id = readOid(readSingle(algorithmIdentifier, derTag.sequence).content(derTag.oid));
  throw refused(`signature algorithm ${refusedAlgorithms[id] ?? id} is not accepted`);
}

const ecPublicKey = "1.2.840.10045.2.1";
const rsaEncryption = "1.2.840.113549.1.1.1";
const ed25519 = "1.3.101.112";
const curves: ReadonlyMap<string, PublicKeyKind> = new Map([
  ["1.2.840.10045.3.1.7", "P-256"],
  ["1.3.132.0.34", "P-384"],
]);

/** @throws MeshError `certificate_algorithm` for a key that is too weak or of no known kind, `certificate_malformed`; blame peer. */
export function publicKeyKind(publicKeyInfo: Uint8Array): PublicKeyKind {
  const fields = readSingle(publicKeyInfo, derTag.sequence);
  const algorithm = fields.enter(derTag.sequence);
  const key = readOctetAlignedBits(fields.content(derTag.bitString));
  fields.end();
  const id = readOid(algorithm.content(derTag.oid));
  if (id === ecPublicKey) {
    const curveId = readOid(algorithm.content(derTag.oid));
    algorithm.end();
    const curve = curves.get(curveId);
    if (curve === undefined) throw refused(`elliptic curve ${curveId} is not accepted`);
    const length = curve === "P-256" ? 65 : 97;
    // RFC 5480 §2.2: only the uncompressed form must be supported.
    if (key[0] !== 0x04 || key.length !== length) throw malformed("elliptic curve point is not uncompressed");
    return curve;
  }
  if (id === rsaEncryption) {
    checkRsa(key);
    return "RSA";
  }
  if (id === ed25519 && algorithm.atEnd && key.length === 32) return "Ed25519";
  throw refused(`public key algorithm ${id} is not accepted`);
}

function checkRsa(key: Uint8Array): void {
  const fields = readSingle(key, derTag.sequence);
  const modulus = readInteger(fields.content(derTag.integer));
  const exponent = readInteger(fields.content(derTag.integer));
  fields.end();
  const [first = 0, second = 0] = modulus;
  if (first >= 0x80) throw malformed("RSA modulus is negative");
  const bits =
    first === 0 ? (modulus.length - 2) * 8 + bitLength(second) : (modulus.length - 1) * 8 + bitLength(first);
  if (bits < pkiLimits.minRsaBits) throw refused(`RSA key of ${bits} bits is too short`);
  // A long key costs the verifier, not the sender.
  if (bits > pkiLimits.maxRsaBits) throw refused(`RSA key of ${bits} bits is too long`);
  const isOdd = ((exponent[exponent.length - 1] ?? 0) & 1) === 1;
  const isOne = exponent.length === 1 && exponent[0] === 1;
  if (!isOdd || isOne || (exponent[0] ?? 0) >= 0x80 || exponent.length > 5)
    throw refused("RSA exponent is not accepted");
}

function bitLength(byte: number): number {
  return 32 - Math.clz32(byte);
}

/** Turns `SEQUENCE { r, s }` (RFC 3279 §2.2.3) into the fixed-length r and s of WebCrypto. @throws MeshError `certificate_malformed`. */
export function ecdsaSignatureToRaw(signature: Uint8Array, kind: PublicKeyKind): Uint8Array {
  const size = kind === "P-384" ? 48 : 32;
  const fields = readSingle(signature, derTag.sequence);
  const raw = new Uint8Array(size * 2);
  placeInteger(fields, raw, size);
  placeInteger(fields, raw, size * 2);
  fields.end();
  return raw;
}

function placeInteger(fields: DerReader, raw: Uint8Array, end: number): void {
  const bytes = readInteger(fields.content(derTag.integer));
  const value = bytes[0] === 0 ? bytes.subarray(1) : bytes;
  const size = raw.length / 2;
  if ((bytes[0] ?? 0) >= 0x80 || value.length > size)
    throw malformed("ECDSA signature does not fit its curve");
  raw.set(value, end - value.length);
}

function refused(message: string): MeshError {
  return new MeshError("certificate_algorithm", "peer", message);
}
