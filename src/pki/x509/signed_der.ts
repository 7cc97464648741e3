/** What certificates and revocation lists have in common when they are written: extensions, and the signature around it all. */

import type { KeyAlgorithmParameters, SigningKey } from "../crypto/private_key.ts";
import { contextTag, derTag } from "../der/der.ts";
import { concatBytes, encodeDer, encodeUnsigned, fromHex } from "../der/encode.ts";
import { hex } from "../der/values.ts";
import type { Certificate } from "./certificate.ts";

/** `SEQUENCE { signed, AlgorithmIdentifier, BIT STRING }`. @param signed what is signed, given the AlgorithmIdentifier that it repeats. */
export async function encodeSigned(
  key: SigningKey,
  signed: (algorithm: Uint8Array) => Uint8Array,
): Promise<Uint8Array> {
  const algorithm = signatureAlgorithmIdentifier(key.algorithm);
  const content = signed(algorithm);
  const signature = signatureToDer(await key.sign(content), key.algorithm);
  return encodeDer(
    derTag.sequence,
    content,
    algorithm,
    encodeDer(derTag.bitString, Uint8Array.of(0), signature),
  );
}

/** @param oid its content in hexadecimal. */
export function encodeExtension(
  oid: string,
  value: Uint8Array,
  criticality: "critical" | "optional",
): Uint8Array {
  return encodeDer(
    derTag.sequence,
    encodeDer(derTag.oid, fromHex(oid)),
    // X.690 §11.5: the default, false, is left out.
    criticality === "critical" ? encodeDer(derTag.boolean, Uint8Array.of(0xff)) : nothing,
    encodeDer(derTag.octetString, value),
  );
}

/** The issuer's own subject key identifier, however it was made (RFC 5280 §4.2.1.1); nothing when it has none. */
export function encodeAuthorityKeyId(issuer: Certificate): Uint8Array {
  const { subjectKeyId } = issuer.extensions;
  if (subjectKeyId === null) return nothing;
  const keyId = encodeDer(derTag.sequence, encodeDer(contextTag(0, false), fromHex(subjectKeyId)));
  return encodeExtension("551d23", keyId, "optional");
}

const nothing = new Uint8Array(0);

const algorithmIdentifiers: Readonly<Record<string, string>> = {
  "ECDSA SHA-256": "300a06082a8648ce3d040302",
  "ECDSA SHA-384": "300a06082a8648ce3d040303",
  "RSASSA-PKCS1-v1_5 SHA-256": "300d06092a864886f70d01010b0500",
  Ed25519: "300506032b6570",
};

/** AlgorithmIdentifier of the signatures that a key makes, whole. */
function signatureAlgorithmIdentifier(algorithm: KeyAlgorithmParameters): Uint8Array {
  const name = "hash" in algorithm ? `${algorithm.name} ${algorithm.hash}` : algorithm.name;
  const identifier = algorithmIdentifiers[name];
  // Every kind of key that `private_key.ts` knows is in the table.
  if (identifier === undefined) throw new TypeError(`no signature algorithm for ${name}`);
  return fromHex(identifier);
}

/** `SEQUENCE { r, s }` (RFC 3279 §2.2.3) out of WebCrypto's r and s at full length; other kinds are as they are. */
function signatureToDer(signature: Uint8Array, algorithm: KeyAlgorithmParameters): Uint8Array {
  if (algorithm.name !== "ECDSA") return signature;
  const half = signature.length / 2;
  const numbers = [signature.subarray(0, half), signature.subarray(half)].map((bytes) =>
    BigInt(`0x${hex(bytes)}`),
  );
  return encodeDer(derTag.sequence, concatBytes(...numbers.map(encodeUnsigned)));
}
