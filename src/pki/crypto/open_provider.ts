/** Which provider a configuration names. */
import { type CryptoProvider, runtimeProvider } from "./provider.ts";

/** The one that was chosen. The other is not even loaded: most programs never use it. */
export async function openProvider(name: CryptoProvider["name"]): Promise<CryptoProvider> {
  if (name === "runtime") return runtimeProvider();
  const { peculiarProvider } = await import("./peculiar_provider.ts");
  return peculiarProvider();
}
