/** Certificate requests (PKCS #10, RFC 2986): ours made as ztunnel's are, others' read and their key proven. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { publicKeyKind } from "../crypto/public_key.ts";
import type { SignatureVerifier, Signed } from "../crypto/signature.ts";
import { contextTag, DerReader, derTag, malformed, readSingle } from "../der/der.ts";
import { decodePem } from "../der/pem.ts";
import { readOctetAlignedBits, readSmallInteger } from "../der/values.ts";
import { Pkcs10CertificateRequestGenerator, SubjectAlternativeNameExtension } from "./peculiar.ts";

export interface CertificateRequest {
  readonly csrPem: string;
  readonly keys: CryptoKeyPair;
}

/** A new ECDSA P-256 key and a request for `id`: empty subject, the identity as the only name. */
export async function createCertificateRequest(
  provider: CryptoProvider,
  id: SpiffeId,
): Promise<CertificateRequest> {
  const { crypto } = provider;
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  // Extractable because the TLS library takes its key as PKCS#8 text.
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const request = await Pkcs10CertificateRequestGenerator.create(
    {
      keys,
      signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
      extensions: [new SubjectAlternativeNameExtension([{ type: "url", value: id.uri }], true)],
    },
    crypto,
  );
  return { csrPem: request.toString("pem"), keys };
}

const proof = Symbol("proof of possession");

/**
 * A request whose sender has proven to hold the key. It cannot be made outside this file, so that what is one needs no second
 * look. What else the request asks for is not read: a CA decides that.
 */
export class ProvenRequest {
  /** SubjectPublicKeyInfo, whole. */
  readonly publicKeyInfo: Uint8Array;
  readonly #proof: typeof proof;

  constructor(key: typeof proof, publicKeyInfo: Uint8Array) {
    if (key !== proof) throw new TypeError("a ProvenRequest is made by proveCertificateRequest alone");
    this.#proof = key;
    this.publicKeyInfo = publicKeyInfo;
  }

  /** Whether this really is one, not an object that looks like one. */
  static isGenuine(value: unknown): value is ProvenRequest {
    return typeof value === "object" && value !== null && #proof in value;
  }
}

/**
 * Reads a request and checks its signature by its own key.
 *
 * @throws MeshError `certificate_malformed`, `certificate_algorithm`, `certificate_signature`; blame peer.
 */
export async function proveCertificateRequest(
  csrPem: string,
  verifier: SignatureVerifier,
): Promise<ProvenRequest> {
  const request = parseCertificateRequest(csrPem);
  publicKeyKind(request.publicKeyInfo);
  if (await verifier.verify(request, request)) return new ProvenRequest(proof, request.publicKeyInfo);
  throw new MeshError("certificate_signature", "peer", "certificate request is not signed by its own key");
}

function parseCertificateRequest(csrPem: string): Signed & { readonly publicKeyInfo: Uint8Array } {
  // Base64 makes three bytes four; the rest is the lines around it.
  if (csrPem.length > pkiLimits.maxCsrBytes * 1.5)
    throw malformed("certificate request is larger than the limit");
  const [block, ...more] = decodeRequestPem(csrPem);
  if (block === undefined || more.length > 0 || !/^(NEW )?CERTIFICATE REQUEST$/.test(block.label)) {
    throw malformed("not exactly one certificate request in PEM");
  }
  const outer = readSingle(block.der, derTag.sequence);
  const signed = outer.expect(derTag.sequence);
  const signatureAlgorithm = outer.expect(derTag.sequence).whole;
  const signature = readOctetAlignedBits(outer.content(derTag.bitString));
  outer.end();
  const info = new DerReader(signed.content);
  if (readSmallInteger(info.content(derTag.integer)) !== 0)
    throw malformed("certificate request of an unknown version");
  info.expect(derTag.sequence);
  const publicKeyInfo = info.expect(derTag.sequence).whole;
  info.optional(contextTag(0, true));
  info.end();
  return { signed: signed.whole, signatureAlgorithm, signature, publicKeyInfo };
}

function decodeRequestPem(csrPem: string): ReturnType<typeof decodePem> {
  try {
    return decodePem(csrPem);
  } catch (error) {
    throw malformed(error instanceof Error ? error.message : String(error));
  }
}
