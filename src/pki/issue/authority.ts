/** What makes a CA, with a key that may be anywhere: roots, intermediates, and requests for them. `svid.ts` has what a CA issues. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { generateSigningKey, type LocalSigningKey, type SigningKey } from "../crypto/private_key.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { buffer } from "../crypto/signature.ts";
import { hex } from "../der/values.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequestGenerator,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "../x509/peculiar.ts";
import { type Issuer, randomSerialNumber } from "./issuer.ts";
import { librarySigning } from "./signing.ts";

/** A root for `trustDomain` out of a key that may be anywhere. */
export async function createRootCertificate(
  provider: CryptoProvider,
  key: SigningKey,
  publicKeyInfo: Uint8Array,
  trustDomain: string,
  nowMs: number,
): Promise<Certificate> {
  const { crypto, signingKey, signingAlgorithm } = librarySigning(key, provider);
  const serialNumber = serialNumberText(crypto);
  // The serial in the name keeps two roots of one trust domain apart by name, as chains are followed by names.
  const name = [{ O: [trustDomain] }, { CN: [`Fairlead root ${serialNumber.slice(0, 8)}`] }];
  const publicKey = buffer(publicKeyInfo);
  const root = await X509CertificateGenerator.create(
    {
      serialNumber,
      subject: name,
      issuer: name,
      notBefore: new Date(nowMs - pkiLimits.authorityBackdateMs),
      notAfter: new Date(nowMs + pkiLimits.rootLifetimeMs),
      publicKey,
      signingKey,
      signingAlgorithm,
      extensions: await authorityExtensions(publicKey, crypto, undefined),
    },
    crypto,
  );
  return parseCertificate(new Uint8Array(root.rawData));
}

/** A self-signed root for `trustDomain`, ECDSA P-256. */
export async function createSelfSignedRoot(
  provider: CryptoProvider,
  trustDomain: string,
  nowMs: number,
): Promise<{ readonly certificate: Certificate; readonly key: LocalSigningKey }> {
  const { key, publicKeyInfo } = await generateSigningKey(provider);
  const certificate = await createRootCertificate(provider, key, publicKeyInfo, trustDomain, nowMs);
  return { certificate, key };
}

/** An intermediate that issues leaves and nothing else, below `issuer`. */
export async function issueIntermediateCertificate(
  issuer: Issuer,
  request: {
    readonly publicKeyInfo: Uint8Array;
    readonly trustDomain: string;
    readonly notBeforeMs: number;
    readonly notAfterMs: number;
  },
): Promise<Certificate> {
  const { crypto, signingKey, signingAlgorithm } = librarySigning(issuer.key, issuer.provider);
  const serialNumber = serialNumberText(crypto);
  const publicKey = buffer(request.publicKeyInfo);
  const issued = await X509CertificateGenerator.create(
    {
      serialNumber,
      subject: [{ O: [request.trustDomain] }, { CN: [`Fairlead intermediate ${serialNumber.slice(0, 8)}`] }],
      issuer: new X509Certificate(buffer(issuer.certificate.der)).subjectName,
      notBefore: new Date(request.notBeforeMs),
      notAfter: new Date(request.notAfterMs),
      publicKey,
      signingKey,
      signingAlgorithm,
      extensions: [
        ...(await authorityExtensions(publicKey, crypto, 0)),
        authorityKeyId(issuer.certificate),
      ].filter((extension) => extension !== null),
    },
    crypto,
  );
  return namedAsItsIssuer(parseCertificate(new Uint8Array(issued.rawData)), issuer.certificate);
}

/** A request for a CA's certificate that another CA is to sign. @returns PEM. */
export async function createAuthorityRequest(
  provider: CryptoProvider,
  key: SigningKey,
  publicKeyInfo: Uint8Array,
  trustDomain: string,
): Promise<string> {
  const { crypto, signingKey, signingAlgorithm } = librarySigning(key, provider);
  const publicKey = await crypto.subtle.importKey("spki", buffer(publicKeyInfo), signingAlgorithm, true, [
    "verify",
  ]);
  const request = await Pkcs10CertificateRequestGenerator.create(
    {
      name: [{ O: [trustDomain] }, { CN: [`Fairlead intermediate ${serialNumberText(crypto).slice(0, 8)}`] }],
      keys: { publicKey, privateKey: signingKey },
      signingAlgorithm,
      extensions: await authorityExtensions(buffer(publicKeyInfo), crypto, 0),
    },
    crypto,
  );
  return request.toString("pem");
}

async function authorityExtensions(
  publicKey: Uint8Array<ArrayBuffer>,
  crypto: Crypto,
  pathLength: number | undefined,
): Promise<Extension[]> {
  return [
    new BasicConstraintsExtension(true, pathLength, true),
    new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    await SubjectKeyIdentifierExtension.create(publicKey, false, crypto),
  ];
}

/** The library writes the issuer's name by itself, and one byte of difference breaks the chain: a string type it does not know. */
function namedAsItsIssuer(issued: Certificate, issuer: Certificate): Certificate {
  if (issued.issuer === issuer.subject) return issued;
  throw new MeshError("unsupported", "local", "the CA's name is encoded in a way that cannot be repeated");
}

/** The issuer's own subject key identifier, however it was made (RFC 5280 §4.2.1.1); none when it has none. */
function authorityKeyId(issuer: Certificate): Extension | null {
  const { subjectKeyId } = issuer.extensions;
  return subjectKeyId === null ? null : new AuthorityKeyIdentifierExtension(subjectKeyId);
}

/** Hexadecimal, as the library takes it. */
function serialNumberText(crypto: Crypto): string {
  return hex(randomSerialNumber(crypto));
}
