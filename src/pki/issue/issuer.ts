/** Who issues: a CA's certificate with its key, which may be anywhere. */
import type { SigningKey } from "../crypto/private_key.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import type { Certificate } from "../x509/certificate.ts";

export interface Issuer {
  readonly certificate: Certificate;
  readonly key: SigningKey;
  readonly provider: CryptoProvider;
}

/** 128 random bits, positive, never short (RFC 5280 §4.1.2.2: at most 20 octets). */
export function randomSerialNumber(crypto: Crypto): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes;
}
