/**
 * `npm test`: every suite, and one closing line that counts what really ran. `npm test -- unit simulation` runs only those. Suites that
 * wait more than they compute run up to four at a time, and so do the files of suites of `bun test`. Each has a temporary folder of its
 * own, and fails for what it leaves in there.
 */
import { existsSync, readdirSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { runQueue } from "./suite_queue.ts";
import { removeFolder, runCommand, type Surroundings, suiteFolder } from "./suite_run.ts";
import {
  addTallies,
  countTogether,
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

/** Files that one process of `bun test` is given. Fewer would be loading the same modules again and again. */
const filesAtOnce = 12;
/** That all suites together are given. A test of bytes or of processes uses one, or none. */
const cores = Math.min(2, availableParallelism());
/** Processes of `bun test`, where they have all cores: one of them waits for a disk, or for a process. */
const workers = cores + 1;

interface Suite {
  readonly name: string;
  /** How many processors it keeps busy, of two: the last column of the table at the end, by its seconds. */
  readonly cores: number;
  run(surroundings: Surroundings): Promise<Tally>;
}

/** Told again at the end, where somebody looks. */
const failures: string[] = [];

/** Of `bun test`, so far. */
let reports = 0;

const overIpv6 = "conformance/flows/over_ipv6.ts";

/** In this order, as far as there is room. What uses both cores runs alone, and so does what looks for long turns under attack. */
const suites: readonly Suite[] = [
  { name: "check", cores: 2, run: runChecks },
  // Property tests stand beside the unit they test.
  bunSuite("unit", 2, ["src", "wasm", "scripts", "bench", ...conformanceFolders(["namespaces"])]),
  // Their own addresses are IPv4, and are rewritten.
  bunSuite("flows by IPv6", 2, ["conformance/flows"], { preload: [overIpv6] }),
  programSuite("simulation", 2, "conformance/sim/run.ts", ["--seeds=200", "--no-keep"]),
  programSuite("simulator", 2, "conformance/sim/run.ts", ["--mutants", "--sample=6"]),
  programSuite("races", 2, "conformance/sim/awaits/run.ts", []),
  programSuite("mutants", 2, "scripts/mutants.ts", ["--recorded", "--sample=300"]),
  programSuite("adversary", 2, "conformance/run.ts", ["adversary"]),
  // One order of events each time: a fresh one might fail any commit. It looks for long turns as well: beside one that waits, and no more.
  programSuite("soak", 1.5, "conformance/soak/run.ts", ["--smoke", "--seed=1"]),
  // The longest first, and beside those that wait what computes.
  programSuite("capture", 1, "conformance/run.ts", ["capture"]),
  programSuite("vm", 0.4, "conformance/run.ts", ["vm"]),
  bunSuite("namespaces", 0.4, ["conformance/namespaces"], { isSerial: true }),
  programSuite("control", 0.3, "conformance/run.ts", ["control"]),
  programSuite("runtime", 1.2, "conformance/run.ts", [
    "runtime",
    ...["base", "wire", "policy", "mesh", "transport", "host", "tunnel"],
  ]),
  // Capture, rules and rough cables are tried in both families by their own tests.
  bunSuite(
    "namespaces by IPv6",
    0.4,
    [
      ...["exhaustion", "identities", "life_cycle", "many_connections"],
      ...["revocation", "rotation", "transfer"],
    ].map((name) => `conformance/namespaces/${name}.test.ts`),
    { preload: [overIpv6], isSerial: true },
  ),
  programSuite("waypoint", 0.5, "conformance/run.ts", ["waypoint"]),
  programSuite("docs", 0.6, "conformance/run.ts", ["docs"]),
  programSuite("peers", 0.5, "conformance/run.ts", ["peer"]),
  // Whether the benchmarks run at all: no figure of them is looked at.
  programSuite("bench", 1, "bench/smoke.ts", []),
  programSuite("upgrade", 0.4, "conformance/run.ts", ["upgrade", "--short"]),
  programSuite("workers", 0.4, "conformance/run.ts", ["workers"]),
  programSuite("demo", 0.5, "conformance/demo/demo.ts", []),
  programSuite("control demo", 0.5, "conformance/demo/control.ts", []),
  programSuite("power", 0.7, "conformance/run.ts", ["power"]),
  programSuite("tenants", 1, "conformance/run.ts", ["tenants"]),
  programSuite("http", 0.5, "conformance/run.ts", ["http"]),
  programSuite("h2spec", 0.3, "conformance/spec/h2spec.ts", []),
  // The same inputs each time, for the same reason. Fresh ones are for `npm run fuzz -- SECONDS`.
  programSuite("fuzz", 1, "conformance/fuzz/run.ts", ["--fixed"]),
  programSuite("istio", 1, "conformance/run.ts", ["istio"]),
];

/** Every folder of conformance/ but those that are suites of their own. */
function conformanceFolders(others: readonly string[]): readonly string[] {
  return readdirSync(join(root, "conformance"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !others.includes(entry.name))
    .map((entry) => `conformance/${entry.name}`);
}

/** Types, lint and format, and that generated files are what their sources give; each counts as one test. */
async function runChecks(surroundings: Surroundings): Promise<Tally> {
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
    const { exitCode } = await runCommand(command, suiteLimitMs, surroundings);
    if (exitCode !== 0) failures.push(`check: ${command.join(" ").replaceAll(`${root}/`, "")}`);
    tally = addTallies(tally, exitCode === 0 ? { ...emptyTally, passed: 1 } : oneFailure);
  }
  return tally;
}

interface BunOptions {
  /** Modules that are loaded before the tests. */
  readonly preload?: readonly string[];
  /** Its files take what a host has one of. */
  readonly isSerial?: boolean;
}

function bunSuite(
  name: string,
  cores: number,
  folders: readonly string[],
  { preload = [], isSerial = false }: BunOptions = {},
): Suite {
  return {
    name,
    cores,
    run: async (surroundings) => {
      const files = folders.flatMap(testsIn);
      const atATime = isSerial ? 1 : workers;
      // So many groups for each that none works alone for long in the end.
      const size = Math.min(filesAtOnce, Math.ceil(files.length / (4 * atATime)));
      const groups = Array.from({ length: Math.ceil(files.length / size) }, (_, index) =>
        files.slice(index * size, (index + 1) * size),
      );
      return countTogether(groups, atATime, (group) => runFiles(name, group, preload, surroundings));
    },
  };
}

async function runFiles(
  name: string,
  files: readonly string[],
  preload: readonly string[],
  surroundings: Surroundings,
): Promise<Tally> {
  const report = join(surroundings.folder, `${reports++}.junit.xml`);
  const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
  const before = preload.map((path) => `--preload=./${path}`);
  const command = [bun, "test", ...before, `--timeout=${testLimitMs}`, ...reporter, ...files];
  // Whole, since others run at the same time.
  const silent: Surroundings = { ...surroundings, write() {} };
  const { exitCode, text } = await runCommand(command, suiteLimitMs, silent);
  surroundings.write(text);
  const xml = existsSync(report) ? await readFile(report, "utf8") : "";
  await rm(report, { force: true });
  for (const skipped of skippedNames(xml)) surroundings.write(`skipped: ${skipped}\n`);
  const tally = judge(parseJunit(xml), exitCode);
  failures.push(...whatFailed(name, tally, failedNames(xml), text));
  return tally;
}

/** Paths that `bun test` takes as files. @param folder or a file itself. */
function testsIn(folder: string): readonly string[] {
  const path = join(root, folder);
  if (folder.endsWith(".test.ts")) return [`./${folder}`];
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true })
    .map(String)
    .filter((entry) => entry.endsWith(".test.ts"))
    .sort()
    .map((entry) => `./${folder}/${entry}`);
}

/** A program that prints its own closing line. */
function programSuite(name: string, cores: number, path: string, args: readonly string[]): Suite {
  return {
    name,
    cores,
    run: async (surroundings) => {
      if (!existsSync(join(root, path))) return emptyTally;
      const { exitCode, text } = await runCommand([bun, path, ...args], suiteLimitMs, surroundings);
      const tally = judge(parseTally(text), exitCode);
      failures.push(...whatFailed(name, tally, failureLines(text), text));
      return tally;
    },
  };
}

/** A run that broke without saying which test failed (a crash, an error between tests, a time-out) has still failed. */
function judge(tally: Tally | null, exitCode: number): Tally {
  if (tally === null) return oneFailure;
  return exitCode !== 0 && tally.failed === 0 ? addTallies(tally, oneFailure) : tally;
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

/** @returns a line of the table, and what was counted. */
async function runSuite(
  suite: Suite,
  lane: number,
  write: (text: string) => void,
): Promise<{ readonly row: string; readonly tally: Tally }> {
  write(`\n── ${suite.name} ──\n`);
  const started = performance.now();
  let processorSeconds = 0;
  const used = (seconds: number): void => {
    processorSeconds += seconds;
  };
  const folder = suiteFolder();
  let tally = await suite.run({ lane, folder, write, used });
  const left = await removeFolder(folder);
  const fail = (what: string): void => {
    write(`failed: ${suite.name}: ${what}\n`);
    failures.push(`${suite.name}: ${what}`);
    tally = addTallies(tally, oneFailure);
  };
  if (tally.passed + tally.failed + tally.skipped === 0) fail("no test ran");
  if (left.length > 0) fail(`left behind in the temporary folder: ${left.join(", ")}`);
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
  const processors = processorSeconds.toFixed(0).padStart(4);
  return {
    row: `${suite.name.padEnd(18)} ${seconds} s, ${processors} s of processors  ${formatTally(tally)}`,
    tally,
  };
}

async function main(): Promise<void> {
  const started = performance.now();
  const selected = select(process.argv.slice(2));
  const live = (text: string): void => void process.stdout.write(text);
  // The peers other programs need; what cannot be installed here is said aloud and its checks are skipped.
  if (selected.some((suite) => ["peers", "h2spec", "control", "runtime"].includes(suite.name))) {
    const folder = suiteFolder();
    await runCommand([bun, "scripts/peers.ts"], 600_000, { lane: 0, folder, write: live, used() {} });
    await removeFolder(folder, 0);
  }
  const rows: string[] = [];
  let total = emptyTally;
  await runQueue(selected, cores, async (suite, lane) => {
    const isAlone = suite.cores >= cores || selected.length === 1;
    const gathered: string[] = [];
    if (!isAlone) live(`\n── ${suite.name} begins ──\n`);
    const { row, tally } = await runSuite(suite, lane, isAlone ? live : (text) => void gathered.push(text));
    live(gathered.join(""));
    rows.push(row);
    total = addTallies(total, tally);
  });
  console.log(`\n${rows.join("\n")}`);
  console.log(`${((performance.now() - started) / 60_000).toFixed(1)} minutes`);
  // Last, where somebody looks who sees the end alone.
  if (failures.length > 0) console.log(`\n── what failed ──\n${failures.join("\n")}`);
  console.log(`\n${formatTally(total)}`);
  process.exit(total.failed === 0 ? 0 : 1);
}

await main();
