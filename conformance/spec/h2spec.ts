/**
 * Runs h2spec against the engine's server and h2specd against its client, over plain TCP and TLS, and counts.
 *
 *   bun conformance/spec/h2spec.ts
 *
 * The peers are the Go module `github.com/summerwind/h2spec`; they are looked for in $H2SPEC (the h2spec binary; h2specd beside
 * it), `.peers/bin` and `~/go/bin`, and installed into `.peers/bin` when there is a Go toolchain. Without them: "skipped", and success.
 */
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { emptyTally, formatTally } from "../../scripts/tally.ts";
import { serve } from "./h2spec_server.ts";
import { selfSigned } from "./self_signed.ts";

const goModule = "github.com/summerwind/h2spec";
const goVersion = "v2.2.1+incompatible";
const root = join(import.meta.dir, "..", "..");
const ownBin = join(root, ".peers", "bin");
/** What this version of h2spec has. h2spec exits 0 also when nothing ran, so the count is part of the claim. */
const expectedCases = { server: 145, serverStrict: 146, client: 57 } as const;
const runTimeoutMs = 180_000;
const clientPorts = 31_000;

interface Outcome {
  readonly name: string;
  readonly total: number;
  readonly passed: number;
  readonly skipped: number;
  readonly failed: number;
  readonly expected: number;
  readonly output: string;
}

const peers = await findPeers();
if (peers === null) {
  console.log("skipped: h2spec is not installed and cannot be installed here (needs Go)");
  console.log(formatTally({ ...emptyTally, skipped: 1 }));
  process.exit(0);
}
const outcomes = await runAll(peers);
process.exit(report(outcomes) ? 0 : 1);

async function findPeers(): Promise<{ h2spec: string; h2specd: string } | null> {
  const named = process.env.H2SPEC;
  const folders = [...(named === undefined ? [] : [dirname(named)]), ownBin, join(homedir(), "go", "bin")];
  for (const folder of folders) {
    const found = { h2spec: join(folder, "h2spec"), h2specd: join(folder, "h2specd") };
    if (existsSync(found.h2spec) && existsSync(found.h2specd)) return found;
  }
  return (await install()) ? { h2spec: join(ownBin, "h2spec"), h2specd: join(ownBin, "h2specd") } : null;
}

async function install(): Promise<boolean> {
  if (Bun.which("go") === null) return false;
  await mkdir(ownBin, { recursive: true });
  for (const command of ["h2spec", "h2specd"]) {
    const run = Bun.spawn(["go", "install", `${goModule}/cmd/${command}@${goVersion}`], {
      env: { ...process.env, GOBIN: ownBin },
      stdout: "inherit",
      stderr: "inherit",
    });
    if ((await run.exited) !== 0) return false;
  }
  return true;
}

async function runAll(found: { h2spec: string; h2specd: string }): Promise<Outcome[]> {
  const folder = await mkdtemp(join(tmpdir(), "h2spec-"));
  const tls = await selfSigned();
  const certFile = join(folder, "server.crt");
  const keyFile = join(folder, "server.key");
  await writeFile(certFile, tls.certPem);
  await writeFile(keyFile, tls.keyPem);
  const plainServer = serve(0, null);
  const tlsServer = serve(0, tls);
  const target = (port: number) => [found.h2spec, "-p", String(port), "-o", "20"];
  const clientCommand = `${process.execPath} ${join(import.meta.dir, "h2spec_client.ts")}`;
  const client = (port: number) => [found.h2specd, "-o", "20", "-S", "-f", String(port), "-e", clientCommand];
  try {
    return [
      await run("server, TCP", target(plainServer.address.port), expectedCases.server),
      await run(
        "server, TCP, strict",
        [...target(plainServer.address.port), "-S"],
        expectedCases.serverStrict,
      ),
      await run(
        "server, TLS, strict",
        [...target(tlsServer.address.port), "-S", "-t", "-k"],
        expectedCases.serverStrict,
      ),
      await run("client, TCP, strict", client(clientPorts), expectedCases.client),
      await run(
        "client, TLS, strict",
        [...client(clientPorts + expectedCases.client), "-t", "-c", certFile, "-k", keyFile],
        expectedCases.client,
      ),
    ];
  } finally {
    plainServer.close();
    tlsServer.close();
    await rm(folder, { recursive: true });
  }
}

async function run(name: string, command: string[], expected: number): Promise<Outcome> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe", timeout: runTimeoutMs });
  const output = (await new Response(child.stdout).text()) + (await new Response(child.stderr).text());
  await child.exited;
  const summary = /(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed/.exec(output);
  const [total, passed, skipped, failed] = (summary ?? []).slice(1).map(Number);
  return {
    name,
    expected,
    output,
    total: total ?? 0,
    passed: passed ?? 0,
    skipped: skipped ?? 0,
    failed: failed ?? 0,
  };
}

function report(results: readonly Outcome[]): boolean {
  let good = true;
  console.log(`${"h2spec".padEnd(22)} cases  passed  skipped  failed  expected`);
  for (const result of results) {
    const columns = [result.total, result.passed, result.skipped, result.failed, result.expected];
    const widths = [5, 7, 8, 7, 9];
    console.log(result.name.padEnd(22) + columns.map((n, i) => String(n).padStart(widths[i] ?? 0)).join(" "));
    if (result.failed === 0 && result.passed >= result.expected) continue;
    good = false;
    console.log(failures(result.output));
  }
  const sum = (count: (result: Outcome) => number): number =>
    results.reduce((total, result) => total + count(result), 0);
  // A case that was expected and never ran has failed.
  const missing = sum(({ expected, passed, failed }) => Math.max(0, expected - passed - failed));
  console.log(
    formatTally({
      passed: sum(({ passed }) => passed),
      failed: sum(({ failed }) => failed) + missing,
      skipped: sum(({ skipped }) => skipped),
    }),
  );
  return good;
}

/** The summary of failures, or the end of the output when it never got that far. */
function failures(output: string): string {
  const lines = output.split("\n").filter((line) => !line.includes("use of closed network connection"));
  const start = lines.findIndex((line) => line.startsWith("Failures:"));
  return lines.slice(start === -1 ? -20 : start).join("\n");
}
