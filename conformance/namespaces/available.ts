/** Whether these tests can run here. Where they cannot, each is skipped by name, and the name says why. */
import { test } from "bun:test";

function whyNot(): string | null {
  if (process.platform !== "linux") return "network namespaces need Linux";
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const tool of ["ip", "nft", "openssl", "curl", "prlimit", "mount"])
    if (Bun.which(tool) === null) return `\`${tool}\` is not installed`;
  const listed = Bun.spawnSync(["ip", "netns", "list"]);
  return listed.exitCode === 0 ? null : `no network namespaces: ${listed.stderr.toString().trim()}`;
}

/** Null when they can. */
export const unavailable = whyNot();
if (unavailable !== null) console.warn(`skipping the tests in network namespaces: ${unavailable}`);

/** A test that has `limitMs` for itself. */
export function namespaceTest(name: string, limitMs: number, body: () => Promise<void>): void {
  if (unavailable === null) test(name, body, limitMs);
  else test.skip(`${name} (${unavailable})`, body);
}
