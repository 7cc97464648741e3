/** How the library that writes certificates signs with a key that may be anywhere. */
import type { KeyAlgorithmParameters, SigningKey } from "../crypto/private_key.ts";
import type { CryptoProvider } from "../crypto/provider.ts";

/** What the library's generators take: a key that says what it is, and a `Crypto` whose `sign` asks the real one. */
export interface LibrarySigning {
  readonly crypto: Crypto;
  readonly signingKey: CryptoKey;
  readonly signingAlgorithm: KeyAlgorithmParameters & { readonly hash: string };
}

export function librarySigning(key: SigningKey, provider: CryptoProvider): LibrarySigning {
  const { algorithm } = key;
  // The library wants a hash for every algorithm; Ed25519 has its own and the word is not used.
  const hash = "hash" in algorithm ? algorithm.hash : "SHA-512";
  return {
    crypto: signingCrypto(key, provider.crypto),
    signingKey: { type: "private", extractable: false, algorithm, usages: ["sign"] },
    signingAlgorithm: { ...algorithm, hash },
  };
}

/** `crypto`, but for signing. */
function signingCrypto(key: SigningKey, crypto: Crypto): Crypto {
  const sign = async (_algorithm: unknown, _key: unknown, bytes: BufferSource): Promise<ArrayBuffer> => {
    const signature = await key.sign(bytesOf(bytes));
    return signature.slice().buffer;
  };
  const subtle = overriding(crypto.subtle, "sign", sign);
  return overriding(crypto, "subtle", subtle);
}

function overriding<T extends object>(target: T, name: keyof T, value: unknown): T {
  return new Proxy(target, {
    get(_target, wanted) {
      if (wanted === name) return value;
      const own: unknown = Reflect.get(target, wanted, target);
      // Native methods want their own object as `this`.
      return typeof own === "function" ? own.bind(target) : own;
    },
  });
}

function bytesOf(source: BufferSource): Uint8Array {
  return ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
}
