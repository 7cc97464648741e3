/** Certificate requests (PKCS #10, RFC 2986): ours made as ztunnel's are, others' read and their key proven. */
import { MeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { publicKeyKind } from "../crypto/public_key.ts";
import { buffer, type SignatureVerifier, type Signed } from "../crypto/signature.ts";
import { contextTag, DerReader, derTag, malformed, readSingle } from "../der/der.ts";
import { encodeDer, fromHex } from "../der/encode.ts";
import { decodePem, encodePem } from "../der/pem.ts";
import { readOctetAlignedBits, readSmallInteger } from "../der/values.ts";
import { encodeExtension, encodeSigned } from "./signed_der.ts";

export interface CertificateRequest {
  readonly csrPem: string;
  readonly keys: CryptoKeyPair;
}

/**
 * A new ECDSA P-256 key and a request for `id`: empty subject, the identity as the only name. Written here rather than by the library, which
 * takes 25 ms of a node's start to load; the library is the tests' judge of it.
 */
export async function createCertificateRequest(
  provider: CryptoProvider,
  id: SpiffeId,
): Promise<CertificateRequest> {
  const { subtle } = provider.crypto;
  // Extractable because the TLS library takes its key as PKCS#8 text.
  const keys = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign", "verify"]);
  const publicKeyInfo = new Uint8Array(await subtle.exportKey("spki", keys.publicKey));
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const sign = async (bytes: Uint8Array): Promise<Uint8Array> =>
    new Uint8Array(await subtle.sign(algorithm, keys.privateKey, buffer(bytes)));
  const der = await encodeSigned({ algorithm, sign }, () =>
    encodeDer(derTag.sequence, version, noSubject, publicKeyInfo, encodeAttributes(id)),
  );
  return { csrPem: encodePem("CERTIFICATE REQUEST", der), keys };
}

const version = fromHex("020100");
const noSubject = fromHex("3000");
/** extensionRequest, 1.2.840.113549.1.9.14 (RFC 2985 §5.4.2). */
const extensionRequest = fromHex("06092a864886f70d01090e");

/** `[0] { SEQUENCE { extensionRequest, SET { Extensions } } }`: the name, critical since the subject is empty (RFC 5280 §4.2.1.6). */
function encodeAttributes(id: SpiffeId): Uint8Array {
  // Printable ASCII by what a SpiffeId is.
  const uri = encodeDer(contextTag(6, false), new TextEncoder().encode(id.uri));
  const name = encodeExtension("551d11", encodeDer(derTag.sequence, uri), "critical");
  const extensions = encodeDer(derTag.set, encodeDer(derTag.sequence, name));
  return encodeDer(contextTag(0, true), encodeDer(derTag.sequence, extensionRequest, extensions));
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
