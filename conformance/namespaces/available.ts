/** Whether these tests can run here. Where they cannot, each is skipped by name, and the name says why. */
import { test } from "bun:test";
import { hangMs } from "../peer/lab/eventually.ts";

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

/** Each wait within a test has a limit of its own, which says what it waited for; this one is above them all. */
const testLimitMs = 10 * hangMs;
/** Of what is done before all tests, and after them. */
export const hookLimitMs = 5 * hangMs;

export function namespaceTest(name: string, body: () => Promise<void>): void {
  if (unavailable === null) test(name, body, testLimitMs);
  else test.skip(`${name} (${unavailable})`, body);
}
