/** An X.509 certificate (RFC 5280 §4.1) as a value: what path validation looks at, read once and strictly. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { contextTag, DerReader, derTag, malformed, readSingle } from "../der/der.ts";
import { formatName } from "../der/distinguished_name.ts";
import {
  bytesEqual,
  hex,
  readGeneralizedTime,
  readInteger,
  readOctetAlignedBits,
  readSmallInteger,
  readUtcTime,
} from "../der/values.ts";
import { type CertificateExtensions, readCertificateExtensions, readExtensionList } from "./extensions.ts";

export interface Certificate {
  readonly der: Uint8Array;
  /** What the signature is over. */
  readonly signed: Uint8Array;
  /** AlgorithmIdentifier, whole. */
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
  /** Lower case hexadecimal of the integer's bytes, without a leading zero byte. */
  readonly serialNumber: string;
  /** Names as DER in hexadecimal: chains are followed by comparing them. */
  readonly issuer: string;
  readonly subject: string;
  /** For people. */
  readonly subjectText: string;
  readonly issuerText: string;
  readonly hasSubject: boolean;
  /** Milliseconds since the Unix epoch, both inclusive (RFC 5280 §4.1.2.5). */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** SubjectPublicKeyInfo, whole. */
  readonly publicKeyInfo: Uint8Array;
  /** Who signs with this certificate: subject and key, whatever certificate says so. A renewed root keeps it. */
  readonly authorityKey: string;
  readonly extensions: CertificateExtensions;
}

const noExtensions: CertificateExtensions = {
  basicConstraints: null,
  keyUsage: null,
  extendedKeyUsage: null,
  subjectAltNames: [],
  nameConstraints: null,
  authorityKeyId: null,
  subjectKeyId: null,
  unknownCritical: [],
};

/** @throws MeshError `certificate_malformed`, blame peer. */
export function parseCertificate(der: Uint8Array): Certificate {
  if (der.length > pkiLimits.maxCertificateBytes) throw malformed("certificate is larger than the limit");
  const outer = readSingle(der, derTag.sequence);
  const signed = outer.expect(derTag.sequence);
  const signatureAlgorithm = outer.expect(derTag.sequence).whole;
  const signature = readOctetAlignedBits(outer.content(derTag.bitString));
  outer.end();

  const tbs = new DerReader(signed.content);
  const version = readVersion(tbs);
  const serialNumber = readSerialNumber(tbs.content(derTag.integer));
  // RFC 5280 §4.1.1.2: the algorithm outside the signature must be the one inside it.
  if (!bytesEqual(tbs.expect(derTag.sequence).whole, signatureAlgorithm)) {
    throw malformed("the two signature algorithms of the certificate differ");
  }
  const issuer = tbs.expect(derTag.sequence);
  const validity = tbs.enter(derTag.sequence);
  const notBeforeMs = readTime(validity);
  const notAfterMs = readTime(validity);
  validity.end();
  const subject = tbs.expect(derTag.sequence);
  const publicKeyInfo = tbs.expect(derTag.sequence).whole;
  const extensions = readTail(tbs, version);
  if (issuer.content.length === 0) throw malformed("certificate without an issuer name");
  const subjectKey = hex(subject.whole);
  return {
    der,
    signed: signed.whole,
    signatureAlgorithm,
    signature,
    serialNumber,
    issuer: hex(issuer.whole),
    subject: subjectKey,
    subjectText: formatName(subject.whole),
    issuerText: formatName(issuer.whole),
    hasSubject: subject.content.length > 0,
    notBeforeMs,
    notAfterMs,
    publicKeyInfo,
    authorityKey: `${subjectKey}/${hex(publicKeyInfo)}`,
    extensions,
  };
}

/** Parses what an operator, not a peer, has given us. @throws MeshError `configuration`, blame local, naming `what`. */
export function parseLocalCertificate(der: Uint8Array, what: string): Certificate {
  try {
    return parseCertificate(der);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new MeshError("configuration", "local", `${what}: ${message}`, { cause: error });
  }
}

/** Issued by itself under its own name; its signature is not looked at. */
export function isSelfIssued(certificate: Certificate): boolean {
  return certificate.issuer === certificate.subject;
}

/** UTCTime or GeneralizedTime. */
export function readTime(reader: DerReader): number {
  const utc = reader.optional(derTag.utcTime);
  return utc === null ? readGeneralizedTime(reader.content(derTag.generalizedTime)) : readUtcTime(utc);
}

/** RFC 5280 §4.1.2.2: at most 20 octets and not negative. @returns hexadecimal. */
export function readSerialNumber(content: Uint8Array): string {
  const bytes = readInteger(content);
  // 21 with the zero byte that keeps a number with its top bit set positive.
  if (bytes.length > 21 || (bytes.length === 21 && bytes[0] !== 0))
    throw malformed("serial number is too long");
  if ((bytes[0] ?? 0) >= 0x80) throw malformed("serial number is negative");
  return hex(bytes.length > 1 && bytes[0] === 0 ? bytes.subarray(1) : bytes);
}

function readVersion(tbs: DerReader): 1 | 3 {
  const content = tbs.optional(contextTag(0, true));
  // RFC 5280 §4.1.2.1: absent is version 1. Version 2 was never used.
  if (content === null) return 1;
  const reader = new DerReader(content);
  const version = readSmallInteger(reader.content(derTag.integer));
  reader.end();
  if (version !== 2) throw malformed(`certificate version ${version + 1}`);
  return 3;
}

function readTail(tbs: DerReader, version: 1 | 3): CertificateExtensions {
  // issuerUniqueID and subjectUniqueID: RFC 5280 §4.1.2.8 says not to use them; they decide nothing.
  if (version === 3) {
    tbs.optional(contextTag(1, false));
    tbs.optional(contextTag(2, false));
  }
  const content = version === 3 ? tbs.optional(contextTag(3, true)) : null;
  tbs.end();
  if (content === null) return noExtensions;
  return readCertificateExtensions(readExtensionList(readSingle(content, derTag.sequence)));
}
