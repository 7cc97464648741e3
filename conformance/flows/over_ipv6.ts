/**
 * Loaded before the flow tests, in memory or in namespaces (`bun test --preload`), it makes IPv6 of every IPv4 address in their text: hosts,
 * documents, settings and what is expected. So each flow runs over both families, and a new test does from its first day.
 *
 * The addresses of src/ are left alone: what it does by itself for IPv4 has to be seen.
 */
import { readFileSync } from "node:fs";
import { rewriteToIpv6 } from "./ipv6_text.ts";

Bun.plugin({
  name: "flows-over-ipv6",
  setup: (build) => {
    build.onLoad({ filter: /\/conformance\/(?:flows|namespaces)\/.*\.ts$/ }, ({ path }) => ({
      // Processes are asked at the ports that they open without being told where.
      contents: rewriteToIpv6(readFileSync(path, "utf8"), path.includes("/namespaces/")),
      loader: "ts",
    }));
  },
});
