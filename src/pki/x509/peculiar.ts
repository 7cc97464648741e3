/**
 * The one door to @peculiar/x509, which makes certificates, requests and revocation lists here. Reading what strangers
 * present and deciding about it is our own code: `certificate.ts`, `path.ts`.
 */
// The library throws at import without a Reflect polyfill, so this stands first.
import "reflect-metadata";

export {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  Extension,
  GeneralNames,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  X509ChainBuilder,
  X509CrlGenerator,
  X509CrlReason,
} from "@peculiar/x509";
