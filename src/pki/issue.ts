/** What our CA signs: its own root, SVIDs in istiod's profile, revocation lists. */
import { MeshError } from "../base/errors.ts";
import { pkiLimits } from "../base/limits.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import { type Certificate, parseCertificate } from "./certificate.ts";
import { hex } from "./der_values.ts";
import { oid } from "./oids.ts";
import { encodePem } from "./pem.ts";
import { importSigningKey, type SigningKey } from "./private_key.ts";
import type { CryptoProvider } from "./provider.ts";
import { buffer } from "./signature.ts";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  X509CrlGenerator,
  X509CrlReason,
} from "./x509.ts";

export interface Issuer {
  readonly certificate: Certificate;
  readonly key: SigningKey;
  readonly provider: CryptoProvider;
}

export interface SvidRequest {
  readonly id: SpiffeId;
  /** SubjectPublicKeyInfo, whole. */
  readonly publicKeyInfo: Uint8Array;
  /** Milliseconds since the Unix epoch; certificates have whole seconds. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface Revocation {
  /** Lower case hexadecimal, as in `VerifiedPeer.serialNumber`. */
  readonly serialNumber: string;
  readonly revokedAtMs: number;
  readonly reason: "keyCompromise" | "superseded" | "cessationOfOperation" | "privilegeWithdrawn";
}

/** A self-signed root for `trustDomain`, ECDSA P-256. */
export async function createSelfSignedRoot(
  provider: CryptoProvider,
  trustDomain: string,
  nowMs: number,
): Promise<{ readonly certificate: Certificate; readonly key: SigningKey }> {
  const { crypto } = provider;
  const keys = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, [
    "sign",
    "verify",
  ]);
  const pkcs8 = new Uint8Array(await crypto.subtle.exportKey("pkcs8", keys.privateKey));
  const key = await importSigningKey(pkcs8, provider);
  const serialNumber = randomSerialNumber(crypto);
  const root = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber,
      // The serial in the name keeps two roots of one trust domain apart by name, as chains are followed by names.
      name: [{ O: [trustDomain] }, { CN: [`Fairlead root ${serialNumber.slice(0, 8)}`] }],
      notBefore: new Date(nowMs - pkiLimits.backdateMs),
      notAfter: new Date(nowMs + pkiLimits.rootLifetimeMs),
      keys,
      signingAlgorithm: key.algorithm,
      extensions: [
        new BasicConstraintsExtension(true, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
        await SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
      ],
    },
    crypto,
  );
  return { certificate: parseCertificate(new Uint8Array(root.rawData)), key };
}

/** istiod's profile (`security/pkg/pki/util`): no subject, critical SAN, both usages. @returns PEM. */
export async function issueSvidCertificate(issuer: Issuer, request: SvidRequest): Promise<string> {
  const { crypto } = issuer.provider;
  const issuerCertificate = new X509Certificate(buffer(issuer.certificate.der));
  const publicKey = buffer(request.publicKeyInfo);
  const issued = await X509CertificateGenerator.create(
    {
      serialNumber: randomSerialNumber(crypto),
      issuer: issuerCertificate.subjectName,
      notBefore: new Date(request.notBeforeMs),
      notAfter: new Date(request.notAfterMs),
      publicKey,
      signingKey: issuer.key.key,
      signingAlgorithm: issuer.key.algorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
        new ExtendedKeyUsageExtension([oid.serverAuth, oid.clientAuth]),
        // RFC 5280 §4.1.2.6: with an empty subject the name stands here alone, and so is critical.
        new SubjectAlternativeNameExtension([{ type: "url", value: request.id.uri }], true),
        await SubjectKeyIdentifierExtension.create(publicKey, false, crypto),
        authorityKeyId(issuer.certificate),
      ].filter((extension) => extension !== null),
    },
    crypto,
  );
  const der = new Uint8Array(issued.rawData);
  // The library writes the issuer's name anew, and one byte of difference breaks the chain: a string type it does not know.
  if (parseCertificate(der).issuer !== issuer.certificate.subject) {
    throw new MeshError("unsupported", "local", "the CA's name is encoded in a way that cannot be repeated");
  }
  return encodePem("CERTIFICATE", der);
}

/** A complete list (RFC 5280 §5). @returns DER. */
export async function issueRevocationList(
  issuer: Issuer,
  list: {
    readonly revoked: readonly Revocation[];
    /** Must grow with each list (RFC 5280 §5.2.3). */
    readonly number: bigint;
    readonly thisUpdateMs: number;
    readonly nextUpdateMs: number;
  },
): Promise<Uint8Array> {
  const issuerCertificate = new X509Certificate(buffer(issuer.certificate.der));
  const crl = await X509CrlGenerator.create(
    {
      issuer: new Name(issuerCertificate.subjectName.toArrayBuffer()),
      thisUpdate: new Date(list.thisUpdateMs),
      nextUpdate: new Date(list.nextUpdateMs),
      signingKey: issuer.key.key,
      signingAlgorithm: issuer.key.algorithm,
      entries: list.revoked.map((one) => ({
        serialNumber: one.serialNumber,
        revocationDate: new Date(one.revokedAtMs),
        // Always given: without any extension the library writes an empty list of them, which RFC 5280 §5.3 does not know.
        reason: X509CrlReason[one.reason],
      })),
      extensions: [
        new Extension(oid.crlNumber, false, encodeInteger(list.number)),
        authorityKeyId(issuer.certificate),
      ].filter((extension) => extension !== null),
    },
    issuer.provider.crypto,
  );
  return new Uint8Array(crl.rawData);
}

/** The issuer's own subject key identifier, however it was made (RFC 5280 §4.2.1.1); none when it has none. */
function authorityKeyId(issuer: Certificate): Extension | null {
  const { subjectKeyId } = issuer.extensions;
  return subjectKeyId === null ? null : new AuthorityKeyIdentifierExtension(subjectKeyId);
}

/** 128 random bits, positive, never short (RFC 5280 §4.1.2.2: at most 20 octets). */
function randomSerialNumber(crypto: Crypto): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return hex(bytes);
}

function encodeInteger(value: bigint): ArrayBuffer {
  const digits = value.toString(16);
  const even = digits.length % 2 === 0 ? digits : `0${digits}`;
  const content = Uint8Array.from(even.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
  const needsZero = (content[0] ?? 0) >= 0x80;
  const bytes = new Uint8Array(content.length + (needsZero ? 3 : 2));
  bytes.set([0x02, bytes.length - 2]);
  bytes.set(content, needsZero ? 3 : 2);
  return bytes.buffer;
}
