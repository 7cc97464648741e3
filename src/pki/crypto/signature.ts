/** Checks signatures on certificates, requests and revocation lists through a crypto provider. */
import { MeshError } from "../../base/errors.ts";
import type { CryptoProvider } from "./provider.ts";
import {
  ecdsaSignatureToRaw,
  type PublicKeyKind,
  publicKeyKind,
  type SignatureScheme,
  signatureScheme,
} from "./public_key.ts";

/** Anything signed: a certificate, a certificate request, a revocation list. */
export interface Signed {
  readonly signed: Uint8Array;
  readonly signatureAlgorithm: Uint8Array;
  readonly signature: Uint8Array;
}

/** Whose key a signature is checked with. Imported keys are remembered for as long as the object lives. */
export interface KeyHolder {
  readonly publicKeyInfo: Uint8Array;
}

export class SignatureVerifier {
  readonly #crypto: Crypto;
  readonly #keys = new WeakMap<KeyHolder, Map<string, Promise<CryptoKey>>>();

  constructor(provider: CryptoProvider) {
    this.#crypto = provider.crypto;
  }

  /**
   * Whether `holder`'s key made the signature.
   *
   * @throws MeshError `certificate_algorithm` or `certificate_malformed`, blame peer, for a key or an algorithm that is not accepted.
   */
  async verify(signed: Signed, holder: KeyHolder): Promise<boolean> {
    const scheme = signatureScheme(signed.signatureAlgorithm);
    const kind = publicKeyKind(holder.publicKeyInfo);
    // Not an error of its own: another issuer of the same name may have the right kind of key.
    if (!scheme.keys.includes(kind)) return false;
    const key = await this.#key(holder, kind, scheme);
    try {
      const isEcdsa = scheme.webCrypto === "ECDSA";
      const signature = isEcdsa ? ecdsaSignatureToRaw(signed.signature, kind) : signed.signature;
      return await this.#crypto.subtle.verify(
        verifyAlgorithm(scheme),
        key,
        buffer(signature),
        buffer(signed.signed),
      );
    } catch {
      // A signature of another curve, or of a length that WebCrypto throws about: it does not hold, that is all.
      return false;
    }
  }

  async #key(holder: KeyHolder, kind: PublicKeyKind, scheme: SignatureScheme): Promise<CryptoKey> {
    let keys = this.#keys.get(holder);
    if (keys === undefined) {
      keys = new Map();
      this.#keys.set(holder, keys);
    }
    const name = `${scheme.webCrypto} ${scheme.hash}`;
    let key = keys.get(name);
    if (key === undefined) {
      key = importPublicKey(this.#crypto, holder.publicKeyInfo, kind, scheme);
      keys.set(name, key);
    }
    return await key;
  }
}

/** Bytes as WebCrypto's types want them: over an ArrayBuffer, never a shared one. */
export function buffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : bytes.slice();
}

async function importPublicKey(
  crypto: Crypto,
  publicKeyInfo: Uint8Array,
  kind: PublicKeyKind,
  scheme: SignatureScheme,
): Promise<CryptoKey> {
  try {
    return await crypto.subtle.importKey(
      "spki",
      buffer(publicKeyInfo),
      importAlgorithm(kind, scheme),
      false,
      ["verify"],
    );
  } catch (error) {
    // A point off its curve, for example.
    throw new MeshError("certificate_malformed", "peer", "public key cannot be read", { cause: error });
  }
}

function importAlgorithm(
  kind: PublicKeyKind,
  scheme: SignatureScheme,
): EcKeyImportParams | RsaHashedImportParams | Algorithm {
  if (kind === "P-256" || kind === "P-384") return { name: "ECDSA", namedCurve: kind };
  if (scheme.hash === null) return { name: scheme.webCrypto };
  return { name: scheme.webCrypto, hash: scheme.hash };
}

const saltBytes = { "SHA-256": 32, "SHA-384": 48, "SHA-512": 64 } as const;

function verifyAlgorithm(scheme: SignatureScheme): Algorithm | EcdsaParams | RsaPssParams {
  if (scheme.hash === null) return { name: scheme.webCrypto };
  if (scheme.webCrypto === "ECDSA") return { name: "ECDSA", hash: scheme.hash };
  if (scheme.webCrypto === "RSA-PSS") return { name: "RSA-PSS", saltLength: saltBytes[scheme.hash] };
  return { name: scheme.webCrypto };
}
