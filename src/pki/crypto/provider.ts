/** The seam to cryptography: everything in `pki/` takes a provider, so that another implementation can be put in its place. */
export interface CryptoProvider {
  readonly name: "runtime" | "peculiar";
  readonly crypto: Crypto;
}

/** The runtime's own WebCrypto; its work runs on other threads. */
export function runtimeProvider(): CryptoProvider {
  return { name: "runtime", crypto: globalThis.crypto };
}
