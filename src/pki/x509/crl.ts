/** Certificate revocation lists (RFC 5280 §5): complete lists of one issuer. Delta and indirect lists are refused. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { Signed } from "../crypto/signature.ts";
import { contextTag, DerReader, derTag, malformed, readSingle } from "../der/der.ts";
import { formatName } from "../der/distinguished_name.ts";
import { oid } from "../der/oids.ts";
import { decodePem } from "../der/pem.ts";
import { bytesEqual, hex, readInteger, readOctetAlignedBits, readSmallInteger } from "../der/values.ts";
import { readSerialNumber, readTime } from "./certificate.ts";
import { type Extension, readAuthorityKeyId, readExtensionList } from "./extensions.ts";

export interface RevocationList extends Signed {
  /** As it came. */
  readonly der: Uint8Array;
  /** The issuer's name as DER in hexadecimal, and for people. */
  readonly issuer: string;
  readonly issuerText: string;
  /** Milliseconds since the Unix epoch. */
  readonly thisUpdateMs: number;
  /** Null when the issuer does not say when the next one comes. */
  readonly nextUpdateMs: number | null;
  /** Zero without the extension. */
  readonly number: bigint;
  readonly authorityKeyId: string | null;
  /** Serial numbers as in `Certificate.serialNumber`. */
  readonly serialNumbers: ReadonlySet<string>;
}

/** Splits what a file holds, PEM or DER, into lists in DER. @throws MeshError `certificate_malformed` for damaged PEM. */
export function splitRevocationLists(bytes: Uint8Array): readonly Uint8Array[] {
  if (bytes[0] === derTag.sequence) return [bytes];
  const blocks = decodePem(new TextDecoder().decode(bytes));
  const other = blocks.find((block) => block.label !== "X509 CRL");
  if (other !== undefined) throw malformed(`a block of ${other.label} where revocation lists were expected`);
  if (blocks.length === 0) throw malformed("neither PEM nor DER of a revocation list");
  return blocks.map((block) => block.der);
}

/** @throws MeshError `certificate_malformed`, or `unsupported` for a list that may not be used as a complete one. */
export function parseRevocationList(der: Uint8Array): RevocationList {
  if (der.length > pkiLimits.maxCrlBytes) throw malformed("revocation list is larger than the limit");
  const outer = readSingle(der, derTag.sequence);
  const signed = outer.expect(derTag.sequence);
  const signatureAlgorithm = outer.expect(derTag.sequence).whole;
  const signature = readOctetAlignedBits(outer.content(derTag.bitString));
  outer.end();

  const tbs = new DerReader(signed.content);
  const version = tbs.optional(derTag.integer);
  if (version !== null && readSmallInteger(version) !== 1)
    throw malformed("revocation list of an unknown version");
  if (!bytesEqual(tbs.expect(derTag.sequence).whole, signatureAlgorithm)) {
    throw malformed("the two signature algorithms of the revocation list differ");
  }
  const issuer = tbs.expect(derTag.sequence).whole;
  const thisUpdateMs = readTime(tbs);
  const isTime = tbs.nextTag === derTag.utcTime || tbs.nextTag === derTag.generalizedTime;
  const nextUpdateMs = isTime ? readTime(tbs) : null;
  const entries = tbs.optional(derTag.sequence);
  const tail = tbs.optional(contextTag(0, true));
  tbs.end();
  const extensions = tail === null ? [] : readExtensionList(readSingle(tail, derTag.sequence));
  return {
    der,
    signed: signed.whole,
    signatureAlgorithm,
    signature,
    issuer: hex(issuer),
    issuerText: formatName(issuer),
    thisUpdateMs,
    nextUpdateMs,
    ...readListExtensions(extensions),
    serialNumbers: entries === null ? new Set() : readEntries(entries),
  };
}

function readListExtensions(extensions: readonly Extension[]): {
  number: bigint;
  authorityKeyId: string | null;
} {
  let number = 0n;
  let authorityKeyId: string | null = null;
  for (const extension of extensions) {
    if (extension.id === oid.crlNumber) number = readCrlNumber(extension.value);
    else if (extension.id === oid.authorityKeyIdentifier)
      authorityKeyId = readAuthorityKeyId(extension.value);
    // RFC 5280 §5.2: a list with a critical extension that is not understood decides nothing. That takes in delta lists
    // (§5.2.4) and issuing distribution points (§5.2.5), which make a list partial or speak for other issuers.
    else if (extension.critical) throw unsupported(`has the critical extension ${extension.id}`);
  }
  return { number, authorityKeyId };
}

function readCrlNumber(value: Uint8Array): bigint {
  const reader = new DerReader(value);
  const bytes = readInteger(reader.content(derTag.integer));
  reader.end();
  if ((bytes[0] ?? 0) >= 0x80 || bytes.length > 21) throw malformed("revocation list has a bad number");
  return BigInt(`0x${hex(bytes)}`);
}

function readEntries(content: Uint8Array): ReadonlySet<string> {
  const serialNumbers = new Set<string>();
  const list = new DerReader(content);
  while (!list.atEnd) {
    const entry = list.enter(derTag.sequence);
    serialNumbers.add(readSerialNumber(entry.content(derTag.integer)));
    // When it was revoked decides nothing: it is revoked now. Reading the date would be most of the work for a long list.
    entry.expect(entry.nextTag === derTag.utcTime ? derTag.utcTime : derTag.generalizedTime);
    const extensions = entry.optional(derTag.sequence);
    entry.end();
    if (extensions !== null) checkEntryExtensions(extensions);
    if (serialNumbers.size > pkiLimits.maxCrlEntries)
      throw malformed("revocation list has more entries than the limit");
  }
  return serialNumbers;
}

// Whatever the reason, on hold included, the certificate is not to be trusted now.
function checkEntryExtensions(content: Uint8Array): void {
  // RFC 5280 §5.3 has no empty list, but @peculiar/x509 writes one for an entry without extensions.
  if (content.length === 0) return;
  for (const extension of readExtensionList(new DerReader(content))) {
    // RFC 5280 §5.3.3: certificateIssuer is critical and means an indirect list.
    if (extension.critical && extension.id !== oid.crlReason) {
      throw unsupported(`has an entry with the critical extension ${extension.id}`);
    }
  }
}

function unsupported(message: string): MeshError {
  return new MeshError("unsupported", "local", `revocation list ${message}`);
}
