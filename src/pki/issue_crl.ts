/**
 * Revocation lists (RFC 5280 §5), written here rather than by the library: that one looks through all entries for each, and
 * a list of twenty thousand would hold up the process for seconds.
 */
import type { Certificate } from "./certificate.ts";
import { contextTag, derTag } from "./der.ts";
import { concatBytes, encodeDer, encodeTime, encodeUnsigned, fromHex } from "./der_encode.ts";
import { hex } from "./der_values.ts";
import type { KeyAlgorithmParameters, SigningKey } from "./private_key.ts";

export interface Revocation {
  /** Lower case hexadecimal, as in `VerifiedPeer.serialNumber`. */
  readonly serialNumber: string;
  readonly revokedAtMs: number;
  readonly reason: "keyCompromise" | "superseded" | "cessationOfOperation" | "privilegeWithdrawn";
}

/** CRLReason (RFC 5280 §5.3.1). */
const reasonCodes = {
  keyCompromise: 1,
  superseded: 4,
  cessationOfOperation: 5,
  privilegeWithdrawn: 9,
} as const;

const oidBytes = { crlNumber: "551d14", crlReason: "551d15", authorityKeyIdentifier: "551d23" } as const;

/** A complete list. @returns DER. */
export async function issueRevocationList(
  issuer: { readonly certificate: Certificate; readonly key: SigningKey },
  list: {
    readonly revoked: readonly Revocation[];
    /** Must grow with each list (RFC 5280 §5.2.3). */
    readonly number: bigint;
    readonly thisUpdateMs: number;
    readonly nextUpdateMs: number;
  },
): Promise<Uint8Array> {
  const { certificate, key } = issuer;
  const algorithm = signatureAlgorithmIdentifier(key.algorithm);
  const entries = list.revoked.map(encodeEntry);
  const signed = encodeDer(
    derTag.sequence,
    encodeUnsigned(1n),
    algorithm,
    fromHex(certificate.subject),
    encodeTime(list.thisUpdateMs),
    encodeTime(list.nextUpdateMs),
    // RFC 5280 §5.1.2.6: absent, not empty, when nothing is revoked.
    entries.length === 0 ? new Uint8Array(0) : encodeDer(derTag.sequence, ...entries),
    encodeDer(contextTag(0, true), encodeDer(derTag.sequence, ...listExtensions(certificate, list.number))),
  );
  const signature = signatureToDer(await key.sign(signed), key.algorithm);
  return encodeDer(
    derTag.sequence,
    signed,
    algorithm,
    encodeDer(derTag.bitString, Uint8Array.of(0), signature),
  );
}

function encodeEntry(one: Revocation): Uint8Array {
  const reason = encodeDer(derTag.enumerated, Uint8Array.of(reasonCodes[one.reason]));
  return encodeDer(
    derTag.sequence,
    encodeUnsigned(BigInt(`0x${one.serialNumber}`)),
    encodeTime(one.revokedAtMs),
    encodeDer(derTag.sequence, extension(oidBytes.crlReason, reason)),
  );
}

function listExtensions(issuer: Certificate, number: bigint): readonly Uint8Array[] {
  const numbered = extension(oidBytes.crlNumber, encodeUnsigned(number));
  const { subjectKeyId } = issuer.extensions;
  if (subjectKeyId === null) return [numbered];
  const keyId = encodeDer(derTag.sequence, encodeDer(contextTag(0, false), fromHex(subjectKeyId)));
  return [numbered, extension(oidBytes.authorityKeyIdentifier, keyId)];
}

function extension(oid: string, value: Uint8Array): Uint8Array {
  return encodeDer(
    derTag.sequence,
    encodeDer(derTag.oid, fromHex(oid)),
    encodeDer(derTag.octetString, value),
  );
}

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
  // Every kind of key that `private_key.ts` knows stands in the table.
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
