/** The seam to cryptography: everything in `pki/` takes a provider, so that another implementation can be put in its place. */
import { Crypto as PeculiarCrypto } from "@peculiar/webcrypto";

export interface CryptoProvider {
  readonly name: "runtime" | "peculiar";
  readonly crypto: Crypto;
}

/** The runtime's own WebCrypto; its work runs on other threads. */
export function runtimeProvider(): CryptoProvider {
  return { name: "runtime", crypto: globalThis.crypto };
}

/** `@peculiar/webcrypto`: `node:crypto` underneath, synchronous, so that each signature holds up the data path for its duration. */
export function peculiarProvider(): CryptoProvider {
  // Bun's types add `timingSafeEqual` to Crypto; nothing here uses it.
  return { name: "peculiar", crypto: new PeculiarCrypto() as Crypto };
}
