/** The extensions that path validation understands (RFC 5280 §4.2.1). Errors are `certificate_malformed`, blame peer. */
import { contextTag, type DerElement, DerReader, derTag, malformed, readSingle } from "../der/der.ts";
import { oid } from "../der/oids.ts";
import { hex, latin1, readBitString, readBoolean, readOid, readSmallInteger } from "../der/values.ts";

export interface Extension {
  readonly id: string;
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** The names that matter here; the others are kept as their kind alone. */
export type GeneralName =
  | { readonly kind: "uri"; readonly value: string }
  | { readonly kind: "dns"; readonly value: string }
  /** 4 or 16 bytes in a name, as many again for the mask in a constraint; no length is promised. */
  | { readonly kind: "ip"; readonly value: null; readonly bytes: Uint8Array }
  | { readonly kind: "directory" | "email" | "other"; readonly value: null };

export interface NameConstraints {
  /** Null when nothing is said about what is permitted. */
  readonly permitted: readonly GeneralName[] | null;
  readonly excluded: readonly GeneralName[];
}

/** Bit numbers of KeyUsage, RFC 5280 §4.2.1.3. */
export const keyUsageBit = { digitalSignature: 0, keyCertSign: 5, cRLSign: 6 } as const;

export interface CertificateExtensions {
  readonly basicConstraints: { readonly isCa: boolean; readonly pathLength: number | null } | null;
  /** Bit n of RFC 5280's KeyUsage is `1 << n`; null without the extension. */
  readonly keyUsage: number | null;
  /** Dotted OIDs; null without the extension. */
  readonly extendedKeyUsage: readonly string[] | null;
  readonly subjectAltNames: readonly GeneralName[];
  readonly nameConstraints: NameConstraints | null;
  /** Hexadecimal key identifiers. */
  readonly authorityKeyId: string | null;
  readonly subjectKeyId: string | null;
  /** Critical extensions that are not understood here: RFC 5280 §4.2 says to refuse such a certificate. */
  readonly unknownCritical: readonly string[];
}

/** `Extensions ::= SEQUENCE SIZE (1..MAX) OF Extension`; one that comes twice is an error (RFC 5280 §4.2). */
export function readExtensionList(list: DerReader): readonly Extension[] {
  const extensions: Extension[] = [];
  const seen = new Set<string>();
  while (!list.atEnd) {
    const fields = list.enter(derTag.sequence);
    const id = readOid(fields.content(derTag.oid));
    const criticalContent = fields.optional(derTag.boolean);
    const value = fields.content(derTag.octetString);
    fields.end();
    if (seen.has(id)) throw malformed(`extension ${id} comes twice`);
    seen.add(id);
    extensions.push({ id, critical: criticalContent !== null && readBoolean(criticalContent), value });
  }
  if (extensions.length === 0) throw malformed("empty list of extensions");
  return extensions;
}

export function readCertificateExtensions(extensions: readonly Extension[]): CertificateExtensions {
  const find = (id: string): Uint8Array | null =>
    extensions.find((extension) => extension.id === id)?.value ?? null;
  const map = <T>(id: string, read: (value: Uint8Array) => T): T | null => {
    const value = find(id);
    return value === null ? null : read(value);
  };
  return {
    basicConstraints: map(oid.basicConstraints, readBasicConstraints),
    keyUsage: map(oid.keyUsage, readKeyUsage),
    extendedKeyUsage: map(oid.extendedKeyUsage, readExtendedKeyUsage),
    subjectAltNames:
      map(oid.subjectAltName, (value) => readGeneralNames(readSingle(value, derTag.sequence))) ?? [],
    nameConstraints: map(oid.nameConstraints, readNameConstraints),
    authorityKeyId: map(oid.authorityKeyIdentifier, readAuthorityKeyId),
    subjectKeyId: map(oid.subjectKeyIdentifier, readSubjectKeyId),
    unknownCritical: extensions.filter((one) => one.critical && !understood.has(one.id)).map((one) => one.id),
  };
}

// The key identifiers are no part of it: RFC 5280 §4.2.1.1 and §4.2.1.2 forbid to mark them critical.
const understood: ReadonlySet<string> = new Set([
  oid.basicConstraints,
  oid.keyUsage,
  oid.extendedKeyUsage,
  oid.subjectAltName,
  oid.nameConstraints,
]);

function readBasicConstraints(value: Uint8Array): { isCa: boolean; pathLength: number | null } {
  const fields = readSingle(value, derTag.sequence);
  const ca = fields.optional(derTag.boolean);
  const pathLength = fields.optional(derTag.integer);
  fields.end();
  const isCa = ca !== null && readBoolean(ca);
  if (pathLength !== null && !isCa) throw malformed("path length without CA");
  return { isCa, pathLength: pathLength === null ? null : readSmallInteger(pathLength) };
}

function readKeyUsage(value: Uint8Array): number {
  const reader = new DerReader(value);
  const { bytes } = readBitString(reader.content(derTag.bitString));
  reader.end();
  let usage = 0;
  for (let bit = 0; bit < Math.min(bytes.length * 8, 16); bit++) {
    if (((bytes[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0) usage |= 1 << bit;
  }
  if (usage === 0) throw malformed("key usage without a usage");
  return usage;
}

function readExtendedKeyUsage(value: Uint8Array): readonly string[] {
  const list = readSingle(value, derTag.sequence);
  const usages: string[] = [];
  do usages.push(readOid(list.content(derTag.oid)));
  while (!list.atEnd);
  return usages;
}

function readSubjectKeyId(value: Uint8Array): string {
  const reader = new DerReader(value);
  const id = reader.content(derTag.octetString);
  reader.end();
  return hex(id);
}

export function readAuthorityKeyId(value: Uint8Array): string | null {
  const id = readSingle(value, derTag.sequence).optional(contextTag(0, false));
  return id === null ? null : hex(id);
}

function readNameConstraints(value: Uint8Array): NameConstraints {
  const fields = readSingle(value, derTag.sequence);
  const permitted = fields.optional(contextTag(0, true));
  const excluded = fields.optional(contextTag(1, true));
  fields.end();
  if (permitted === null && excluded === null) throw malformed("name constraints without a subtree");
  return {
    permitted: permitted === null ? null : readSubtrees(permitted),
    excluded: excluded === null ? [] : readSubtrees(excluded),
  };
}

function readSubtrees(content: Uint8Array): readonly GeneralName[] {
  const list = new DerReader(content);
  const names: GeneralName[] = [];
  do {
    const subtree = list.enter(derTag.sequence);
    names.push(readGeneralName(subtree.element()));
    // RFC 5280 §4.2.1.10: minimum is always zero and so absent in DER, maximum is absent.
    subtree.end();
  } while (!list.atEnd);
  return names;
}

function readGeneralNames(list: DerReader): readonly GeneralName[] {
  const names: GeneralName[] = [];
  do names.push(readGeneralName(list.element()));
  while (!list.atEnd);
  return names;
}

function readGeneralName(name: DerElement): GeneralName {
  switch (name.tag) {
    case contextTag(6, false):
      return { kind: "uri", value: latin1(name.content) };
    case contextTag(2, false):
      return { kind: "dns", value: latin1(name.content) };
    case contextTag(4, true):
      return { kind: "directory", value: null };
    case contextTag(7, false):
      return { kind: "ip", value: null, bytes: name.content };
    case contextTag(1, false):
      return { kind: "email", value: null };
    case contextTag(0, true):
    case contextTag(3, true):
    case contextTag(5, true):
    case contextTag(8, false):
      return { kind: "other", value: null };
    default:
      throw malformed(`general name with tag ${name.tag}`);
  }
}
