/**
 * Makes certificates, good and bad, for tests: every field can be set to what a CA would never write. For tests alone; the
 * program signs through `issue/authority.ts`.
 */

import type { CryptoProvider } from "../crypto/provider.ts";
import { buffer } from "../crypto/signature.ts";
import { encodePem } from "../der/pem.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  type Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "../x509/peculiar.ts";

export const serverAuth = "1.3.6.1.5.5.7.3.1";
export const clientAuth = "1.3.6.1.5.5.7.3.2";

export type KeyKind = "P-256" | "P-384" | "RSA" | "RSA-PSS" | "Ed25519";

/** A certificate together with its key, so that it can issue. */
export interface Forged {
  readonly der: Uint8Array;
  readonly pem: string;
  readonly keys: CryptoKeyPair;
  /** @throws for one that is malformed on purpose. */
  readonly parsed: Certificate;
}

export interface ForgeOptions {
  /** `CN=…`; "" for none. */
  readonly subject?: string | Name;
  /** Written in place of the issuer's own name. */
  readonly issuerName?: string;
  /** Null for self-signed. */
  readonly issuer?: Forged | null;
  /** Sign with this key although the name says something else. */
  readonly signWith?: CryptoKeyPair;
  readonly keys?: CryptoKeyPair;
  readonly hash?: "SHA-1" | "SHA-256" | "SHA-384" | "SHA-512";
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly serialNumber?: string;
  /** Null for no extension. */
  readonly basicConstraints?: { readonly ca: boolean; readonly pathLength?: number } | null;
  readonly keyUsage?: number | null;
  /** Null for no extension; else it is made of the key. */
  readonly subjectKeyId?: null;
  readonly extendedKeyUsage?: readonly string[] | null;
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly ipAddresses?: readonly string[];
  readonly extra?: readonly Extension[];
}

export class Forge {
  readonly provider: CryptoProvider;
  readonly #now: Date;
  #serial = 0x1000;

  constructor(provider: CryptoProvider, nowMs: number) {
    this.provider = provider;
    this.#now = new Date(nowMs);
  }

  async keys(kind: KeyKind = "P-256", rsaBits = 2048): Promise<CryptoKeyPair> {
    const { subtle } = this.provider.crypto;
    if (kind === "Ed25519")
      return (await subtle.generateKey({ name: "Ed25519" }, true, ["sign", "verify"])) as CryptoKeyPair;
    if (kind === "P-256" || kind === "P-384") {
      return await subtle.generateKey({ name: "ECDSA", namedCurve: kind }, true, ["sign", "verify"]);
    }
    const name = kind === "RSA" ? "RSASSA-PKCS1-v1_5" : "RSA-PSS";
    const publicExponent = Uint8Array.of(1, 0, 1);
    return await subtle.generateKey({ name, hash: "SHA-256", modulusLength: rsaBits, publicExponent }, true, [
      "sign",
      "verify",
    ]);
  }

  /** A self-signed root, or with `issuer` an intermediate. */
  async ca(options: ForgeOptions = {}): Promise<Forged> {
    return await this.certificate({
      subject: "CN=test root",
      basicConstraints: { ca: true },
      keyUsage: KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign,
      extendedKeyUsage: null,
      ...options,
    });
  }

  /** A good SVID of `issuer` but for what the options change. */
  async leaf(issuer: Forged, options: ForgeOptions = {}): Promise<Forged> {
    return await this.certificate({
      subject: "",
      issuer,
      basicConstraints: { ca: false },
      keyUsage: KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment,
      extendedKeyUsage: [serverAuth, clientAuth],
      uris: ["spiffe://cluster.local/ns/shop/sa/cart"],
      ...options,
    });
  }

  async certificate(options: ForgeOptions): Promise<Forged> {
    const keys = options.keys ?? (await this.keys());
    const issuer = options.issuer ?? null;
    const signer = options.signWith ?? issuer?.keys ?? keys;
    const issuerName =
      options.issuerName ??
      (issuer === null ? options.subject : new X509Certificate(buffer(issuer.der)).subjectName);
    const hash = options.hash ?? "SHA-256";
    const made = await X509CertificateGenerator.create(
      {
        serialNumber: options.serialNumber ?? (this.#serial++).toString(16),
        ...(options.subject ? { subject: options.subject } : {}),
        ...(issuerName ? { issuer: issuerName } : {}),
        notBefore: options.notBefore ?? new Date(this.#now.getTime() - 60_000),
        notAfter: options.notAfter ?? new Date(this.#now.getTime() + 24 * 3_600_000),
        publicKey: keys.publicKey,
        signingKey: signer.privateKey,
        signingAlgorithm: signingAlgorithm(signer, hash),
        extensions: await this.#extensions(options, keys, issuer),
      },
      this.provider.crypto,
    );
    const der = new Uint8Array(made.rawData);
    return forged(der, keys);
  }

  async #extensions(options: ForgeOptions, keys: CryptoKeyPair, issuer: Forged | null): Promise<Extension[]> {
    const {
      basicConstraints,
      keyUsage,
      extendedKeyUsage,
      uris = [],
      dnsNames = [],
      ipAddresses = [],
    } = options;
    const names = [
      ...uris.map((value) => ({ type: "url" as const, value })),
      ...dnsNames.map((value) => ({ type: "dns" as const, value })),
      ...ipAddresses.map((value) => ({ type: "ip" as const, value })),
    ];
    const issuerKeyId = issuer?.parsed.extensions.subjectKeyId ?? null;
    const extensions: (Extension | null)[] = [
      basicConstraints
        ? new BasicConstraintsExtension(basicConstraints.ca, basicConstraints.pathLength, true)
        : null,
      keyUsage ? new KeyUsagesExtension(keyUsage, true) : null,
      extendedKeyUsage ? new ExtendedKeyUsageExtension([...extendedKeyUsage]) : null,
      names.length > 0 ? new SubjectAlternativeNameExtension(names, true) : null,
      options.subjectKeyId === null
        ? null
        : await SubjectKeyIdentifierExtension.create(keys.publicKey, false, this.provider.crypto),
      issuerKeyId === null ? null : new AuthorityKeyIdentifierExtension(issuerKeyId),
      ...(options.extra ?? []),
    ];
    return extensions.filter((extension) => extension !== null);
  }
}

/** Other bytes under the same key: a certificate that was changed after signing. */
export function forged(der: Uint8Array, keys: CryptoKeyPair): Forged {
  return {
    der,
    pem: encodePem("CERTIFICATE", der),
    keys,
    get parsed() {
      return parseCertificate(der);
    },
  };
}

function signingAlgorithm(
  signer: CryptoKeyPair,
  hash: string,
): Algorithm & { hash?: string; saltLength?: number } {
  const { name } = signer.privateKey.algorithm;
  if (name === "Ed25519") return { name };
  return name === "RSA-PSS" ? { name, hash, saltLength: 32 } : { name, hash };
}
