/** `@peculiar/webcrypto` as a provider. */
import { Crypto as PeculiarCrypto } from "@peculiar/webcrypto";
import type { CryptoProvider } from "./provider.ts";

/** `node:crypto` underneath, synchronous, so that each signature holds up the data path for its duration. */
export function peculiarProvider(): CryptoProvider {
  // Bun's types add `timingSafeEqual` to Crypto; nothing here uses it.
  return { name: "peculiar", crypto: new PeculiarCrypto() as Crypto };
}
