/** One question to a server by c-ares, which has a DNS client of its own: `bun lookup.ts IP:PORT NAME A|AAAA` prints the addresses. */
import { Resolver } from "node:dns/promises";

const [server = "", name = "", type = "A"] = process.argv.slice(2);
const resolver = new Resolver({ timeout: 4_000, tries: 1 });
resolver.setServers([server]);
try {
  const found = type === "A" ? await resolver.resolve4(name) : await resolver.resolve6(name);
  console.log(JSON.stringify(found.sort()));
} catch (thrown) {
  console.log(JSON.stringify((thrown as { readonly code?: string }).code ?? String(thrown)));
}
