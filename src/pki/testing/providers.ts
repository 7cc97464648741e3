/** The providers that every suite of `pki/` runs on, and one that tells whether it is at work. */
import { peculiarProvider } from "../crypto/peculiar_provider.ts";
import { type CryptoProvider, runtimeProvider } from "../crypto/provider.ts";

export const providers: readonly CryptoProvider[] = [runtimeProvider(), peculiarProvider()];

/** The same provider, with a count of the operations under way, as WebCrypto works on other threads. */
export function observed(provider: CryptoProvider): { provider: CryptoProvider; isBusy: () => boolean } {
  let underWay = 0;
  const { crypto } = provider;
  const subtle = new Proxy(crypto.subtle, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name);
      if (typeof method !== "function") return method;
      return async (...args: readonly unknown[]): Promise<unknown> => {
        underWay++;
        try {
          return await Reflect.apply(method, target, args);
        } finally {
          underWay--;
        }
      };
    },
  });
  const getRandomValues = <T extends ArrayBufferView>(array: T): T => crypto.getRandomValues(array);
  const watched = { subtle, getRandomValues, randomUUID: () => crypto.randomUUID() } as Crypto;
  return { provider: { name: provider.name, crypto: watched }, isBusy: () => underWay > 0 };
}
