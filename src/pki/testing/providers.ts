/** The providers that every suite of `pki/` runs on. */
import { type CryptoProvider, peculiarProvider, runtimeProvider } from "../provider.ts";

export const providers: readonly CryptoProvider[] = [runtimeProvider(), peculiarProvider()];
