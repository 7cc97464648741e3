/**
 * `npm test`: every suite, one after the other, and one closing line that counts what really ran.
 * `npm test -- unit simulation` runs only those.
 */
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  addTallies,
  emptyTally,
  failedNames,
  failureLines,
  formatTally,
  oneFailure,
  parseJunit,
  parseTally,
  skippedNames,
  type Tally,
  whatFailed,
} from "./tally.ts";

const root = join(import.meta.dir, "..");
const bun = process.execPath;
const bin = join(root, "node_modules", ".bin");

/** Of one test. A test that waits for a process must not fail because the machine is busy: only a hang reaches this. */
const testLimitMs = 300_000;
/** Of a suite. They take from seconds to ten minutes on a quiet machine, and several times as long on a busy one. */
const suiteLimitMs = 90 * 60_000;

interface Suite {
  readonly name: string;
  /** A suite that takes longer is stopped and has failed: it hangs. */
  readonly limitMs: number;
  run(limitMs: number): Promise<Tally>;
}

/** Told again at the end, where somebody looks. */
const failures: string[] = [];

const suites: readonly Suite[] = [
  { name: "check", limitMs: suiteLimitMs, run: runChecks },
  // Property tests stand beside the unit they test.
  bunSuite("unit", ["src", "wasm", "scripts", "bench", ...conformanceFolders(["namespaces"])]),
  // Their own addresses are IPv4, and are rewritten.
  bunSuite("flows by IPv6", ["conformance/flows"], ["conformance/flows/over_ipv6.ts"]),
  programSuite("simulation", "conformance/sim/run.ts", ["--seeds=200", "--no-keep"]),
  programSuite("simulator", "conformance/sim/run.ts", ["--mutants", "--sample=6"]),
  programSuite("races", "conformance/sim/awaits/run.ts", []),
  programSuite("power", "conformance/run.ts", ["power"]),
  programSuite("mutants", "scripts/mutants.ts", ["--recorded", "--sample=300"]),
  // The same inputs each time: a fresh seed might fail any commit. Fresh ones are for `npm run fuzz -- SECONDS`.
  programSuite("fuzz", "conformance/fuzz/run.ts", ["--fixed"]),
  programSuite("runtime", "conformance/run.ts", [
    "runtime",
    "base",
    "wire",
    "policy",
    "mesh",
    "transport",
    "host",
    "tunnel",
  ]),
  programSuite("istio", "conformance/run.ts", ["istio"]),
  programSuite("h2spec", "conformance/spec/h2spec.ts", []),
  programSuite("peers", "conformance/run.ts", ["peer"]),
  programSuite("control", "conformance/run.ts", ["control"]),
  programSuite("tenants", "conformance/run.ts", ["tenants"]),
  programSuite("adversary", "conformance/run.ts", ["adversary"]),
  programSuite("http", "conformance/run.ts", ["http"]),
  programSuite("waypoint", "conformance/run.ts", ["waypoint"]),
  programSuite("docs", "conformance/run.ts", ["docs"]),
  programSuite("soak", "conformance/soak/run.ts", ["--smoke"]),
  programSuite("capture", "conformance/run.ts", ["capture"]),
  programSuite("upgrade", "conformance/run.ts", ["upgrade", "--short"]),
  programSuite("vm", "conformance/run.ts", ["vm"]),
  bunSuite("namespaces", ["conformance/namespaces"]),
  programSuite("bench", "bench/smoke.ts", []),
  programSuite("demo", "conformance/demo/demo.ts", []),
  programSuite("control demo", "conformance/demo/control.ts", []),
];

/** Every folder of conformance/ but those that are suites of their own. */
function conformanceFolders(others: readonly string[]): readonly string[] {
  return readdirSync(join(root, "conformance"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !others.includes(entry.name))
    .map((entry) => `conformance/${entry.name}`);
}

/** Types, lint and format, and that generated files are what their sources give; each counts as one test. */
async function runChecks(limitMs: number): Promise<Tally> {
  const checks: readonly (readonly string[])[] = [
    [join(bin, "tsc"), "-p", "."],
    [join(bin, "biome"), "check", "."],
    [bun, "wasm/build.ts", "--check"],
    [bun, "scripts/messages.ts", "--check"],
    [bun, "scripts/schemas.ts", "--check"],
    [bun, "scripts/tree.ts"],
  ];
  let tally = emptyTally;
  for (const command of checks) {
    const { exitCode } = await runCommand(command, limitMs);
    if (exitCode !== 0) failures.push(`check: ${command.join(" ").replaceAll(`${root}/`, "")}`);
    tally = addTallies(tally, exitCode === 0 ? { ...emptyTally, passed: 1 } : oneFailure);
  }
  return tally;
}

/** @param preload a module that is loaded before the tests. */
function bunSuite(name: string, folders: readonly string[], preload: readonly string[] = []): Suite {
  return {
    name,
    limitMs: suiteLimitMs,
    run: async (limit) => {
      const present = folders.filter(hasTests).map((folder) => `./${folder}`);
      if (present.length === 0) return emptyTally;
      const scratch = await mkdtemp(join(tmpdir(), "fairlead-test-"));
      try {
        const report = join(scratch, "junit.xml");
        const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
        const before = preload.map((path) => `--preload=./${path}`);
        const command = [bun, "test", ...before, `--timeout=${testLimitMs}`, ...reporter, ...present];
        const { exitCode, output } = await runCommand(command, limit);
        const xml = existsSync(report) ? await readFile(report, "utf8") : "";
        for (const skipped of skippedNames(xml)) console.log(`skipped: ${skipped}`);
        const tally = judge(parseJunit(xml), exitCode);
        failures.push(...whatFailed(name, tally, failedNames(xml), output));
        return tally;
      } finally {
        await rm(scratch, { recursive: true, force: true });
      }
    },
  };
}

function hasTests(folder: string): boolean {
  const path = join(root, folder);
  return (
    existsSync(path) &&
    readdirSync(path, { recursive: true }).some((entry) => String(entry).endsWith(".test.ts"))
  );
}

/** A program that prints its own closing line. */
function programSuite(name: string, path: string, args: readonly string[]): Suite {
  return {
    name,
    limitMs: suiteLimitMs,
    run: async (limit) => {
      if (!existsSync(join(root, path))) return emptyTally;
      const { exitCode, output } = await runCommand([bun, path, ...args], limit);
      const tally = judge(parseTally(output), exitCode);
      failures.push(...whatFailed(name, tally, failureLines(output), output));
      return tally;
    },
  };
}

/** A run that broke without saying which test failed (a crash, an error between tests, a time-out) has still failed. */
function judge(tally: Tally | null, exitCode: number): Tally {
  if (tally === null) return oneFailure;
  return exitCode !== 0 && tally.failed === 0 ? addTallies(tally, oneFailure) : tally;
}

async function runCommand(
  command: readonly string[],
  limitMs: number,
): Promise<{ readonly exitCode: number; readonly output: string }> {
  let output = "";
  const child = Bun.spawn([...command], { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const timer = setTimeout(() => {
    output += `stopped after ${limitMs / 1000} s\n`;
    console.log(`stopped after ${limitMs / 1000} s`);
    child.kill("SIGKILL");
  }, limitMs);
  const follow = async (from: ReadableStream<Uint8Array>, to: NodeJS.WriteStream): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of from) {
      to.write(chunk);
      output += decoder.decode(chunk, { stream: true });
    }
  };
  const both = Promise.all([follow(child.stdout, process.stdout), follow(child.stderr, process.stderr)]);
  // A process that it left behind may hold its output open for ever.
  await Promise.race([both, child.exited.then(() => Bun.sleep(10_000))]);
  const exitCode = await child.exited;
  clearTimeout(timer);
  return { exitCode, output };
}

function select(names: readonly string[]): readonly Suite[] {
  const unknown = names.filter((name) => !suites.some((suite) => suite.name === name));
  if (unknown.length > 0) {
    console.error(
      `no such suite: ${unknown.join(", ")}; there are ${suites.map((suite) => suite.name).join(", ")}`,
    );
    process.exit(2);
  }
  return names.length === 0 ? suites : suites.filter((suite) => names.includes(suite.name));
}

async function main(): Promise<void> {
  const selected = select(process.argv.slice(2));
  // The peers other programs need; what cannot be installed here is said aloud and its checks are skipped.
  if (selected.some((suite) => ["peers", "h2spec", "control", "runtime"].includes(suite.name)))
    await runCommand([bun, "scripts/peers.ts"], 600_000);
  const rows: string[] = [];
  let total = emptyTally;
  for (const suite of selected) {
    console.log(`\n── ${suite.name} ──`);
    const started = performance.now();
    const ran = await suite.run(suite.limitMs);
    const empty = ran.passed + ran.failed + ran.skipped === 0;
    if (empty) console.log(`${suite.name}: no test ran, which is a failure`);
    const tally = empty ? oneFailure : ran;
    if (empty) failures.push(`${suite.name}: no test ran`);
    total = addTallies(total, tally);
    const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
    rows.push(`${suite.name.padEnd(13)} ${seconds} s  ${formatTally(tally)}`);
  }
  console.log(`\n${rows.join("\n")}`);
  // Last, where somebody looks who sees the end alone.
  if (failures.length > 0) console.log(`\n── what failed ──\n${failures.join("\n")}`);
  console.log(`\n${formatTally(total)}`);
  process.exit(total.failed === 0 ? 0 : 1);
}

await main();
