/**
 * `npm test`: every suite, and one closing line that counts what really ran. `npm test -- unit simulation` runs only those. Suites that
 * wait more than they compute run two at a time, and so do the files of suites of `bun test`.
 */
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
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
/** A test of bytes or of processes uses one core, or none. */
const workers = Math.min(2, availableParallelism());

interface Suite {
  readonly name: string;
  /** A suite that takes longer is stopped and has failed: it hangs. */
  readonly limitMs: number;
  run(limitMs: number, output: Output): Promise<Tally>;
}

/** Where a suite says what it does: at once, or in one piece at its end, when another one runs beside it. */
interface Output {
  write(text: string): void;
  /** Of which two that run at a time; for ports that both look for (`conformance/control/free_port.ts`). */
  readonly lane: number;
}

/** One or two lists of suites: what is in one runs one after the other, and both lists at a time. */
type Stage = readonly (readonly Suite[])[];

/** Told again at the end, where somebody looks. */
const failures: string[] = [];

const overIpv6 = "conformance/flows/over_ipv6.ts";

/** What uses both cores by itself runs alone, and so does what looks for long turns under attack. */
const stages: readonly Stage[] = [
  [[{ name: "check", limitMs: suiteLimitMs, run: runChecks }]],
  // Property tests stand beside the unit they test.
  [[bunSuite("unit", ["src", "wasm", "scripts", "bench", ...conformanceFolders(["namespaces"])])]],
  // Their own addresses are IPv4, and are rewritten.
  [[bunSuite("flows by IPv6", ["conformance/flows"], { preload: [overIpv6] })]],
  [[programSuite("simulation", "conformance/sim/run.ts", ["--seeds=200", "--no-keep"])]],
  [[programSuite("simulator", "conformance/sim/run.ts", ["--mutants", "--sample=6"])]],
  [[programSuite("races", "conformance/sim/awaits/run.ts", [])]],
  [[programSuite("mutants", "scripts/mutants.ts", ["--recorded", "--sample=300"])]],
  [
    [
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
    ],
    [
      // The same inputs each time: a fresh seed might fail any commit. Fresh ones are for `npm run fuzz -- SECONDS`.
      programSuite("fuzz", "conformance/fuzz/run.ts", ["--fixed"]),
      programSuite("power", "conformance/run.ts", ["power"]),
      programSuite("istio", "conformance/run.ts", ["istio"]),
      programSuite("h2spec", "conformance/spec/h2spec.ts", []),
    ],
  ],
  [
    [
      programSuite("peers", "conformance/run.ts", ["peer"]),
      programSuite("tenants", "conformance/run.ts", ["tenants"]),
    ],
    [
      programSuite("control", "conformance/run.ts", ["control"]),
      programSuite("http", "conformance/run.ts", ["http"]),
    ],
  ],
  [[programSuite("adversary", "conformance/run.ts", ["adversary"])]],
  [
    [programSuite("capture", "conformance/run.ts", ["capture"])],
    [
      programSuite("waypoint", "conformance/run.ts", ["waypoint"]),
      bunSuite("namespaces", ["conformance/namespaces"], { isSerial: true }),
    ],
  ],
  [
    [
      programSuite("docs", "conformance/run.ts", ["docs"]),
      programSuite("workers", "conformance/run.ts", ["workers"]),
      programSuite("demo", "conformance/demo/demo.ts", []),
      programSuite("control demo", "conformance/demo/control.ts", []),
    ],
    [
      programSuite("vm", "conformance/run.ts", ["vm"]),
      // Capture, rules and rough cables are tried in both families by their own tests.
      bunSuite(
        "namespaces by IPv6",
        [
          ...["exhaustion", "identities", "life_cycle", "many_connections"],
          ...["revocation", "rotation", "transfer"],
        ].map((name) => `conformance/namespaces/${name}.test.ts`),
        { preload: [overIpv6], isSerial: true },
      ),
    ],
  ],
  [
    [
      programSuite("upgrade", "conformance/run.ts", ["upgrade", "--short"]),
      // One order of events each time, for the same reason.
      programSuite("soak", "conformance/soak/run.ts", ["--smoke", "--seed=1"]),
    ],
    // Whether the benchmarks run at all: no figure of them is looked at.
    [programSuite("bench", "bench/smoke.ts", [])],
  ],
];

const suites: readonly Suite[] = stages.flat(2);

/** Every folder of conformance/ but those that are suites of their own. */
function conformanceFolders(others: readonly string[]): readonly string[] {
  return readdirSync(join(root, "conformance"), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !others.includes(entry.name))
    .map((entry) => `conformance/${entry.name}`);
}

/** Types, lint and format, and that generated files are what their sources give; each counts as one test. */
async function runChecks(limitMs: number, output: Output): Promise<Tally> {
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
    const { exitCode } = await runCommand(command, limitMs, output);
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
  folders: readonly string[],
  { preload = [], isSerial = false }: BunOptions = {},
): Suite {
  return {
    name,
    limitMs: suiteLimitMs,
    run: async (limit, output) => {
      const files = folders.flatMap(testsIn);
      // Beside another suite there is no second core.
      const atATime = output === liveOutput && !isSerial ? workers : 1;
      // So many groups for each that none works alone for long in the end.
      const size = Math.min(filesAtOnce, Math.ceil(files.length / (4 * atATime)));
      const groups = Array.from({ length: Math.ceil(files.length / size) }, (_, index) =>
        files.slice(index * size, (index + 1) * size),
      );
      return countTogether(groups, atATime, (group) => runFiles(name, group, preload, limit, output));
    },
  };
}

async function runFiles(
  name: string,
  files: readonly string[],
  preload: readonly string[],
  limit: number,
  output: Output,
): Promise<Tally> {
  const scratch = await mkdtemp(join(tmpdir(), "fairlead-test-"));
  try {
    const report = join(scratch, "junit.xml");
    const reporter = ["--reporter=junit", `--reporter-outfile=${report}`];
    const before = preload.map((path) => `--preload=./${path}`);
    const command = [bun, "test", ...before, `--timeout=${testLimitMs}`, ...reporter, ...files];
    // Whole, since others run at the same time.
    const { exitCode, text } = await runCommand(command, limit, new Gathered(output.lane));
    output.write(text);
    const xml = existsSync(report) ? await readFile(report, "utf8") : "";
    for (const skipped of skippedNames(xml)) output.write(`skipped: ${skipped}\n`);
    const tally = judge(parseJunit(xml), exitCode);
    failures.push(...whatFailed(name, tally, failedNames(xml), text));
    return tally;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
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
function programSuite(name: string, path: string, args: readonly string[]): Suite {
  return {
    name,
    limitMs: suiteLimitMs,
    run: async (limit, output) => {
      if (!existsSync(join(root, path))) return emptyTally;
      const { exitCode, text } = await runCommand([bun, path, ...args], limit, output);
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

class Gathered implements Output {
  readonly lane: number;
  text = "";

  constructor(lane: number) {
    this.lane = lane;
  }

  write(piece: string): void {
    this.text += piece;
  }
}

const liveOutput: Output = { lane: 0, write: (text) => void process.stdout.write(text) };

async function runCommand(
  command: readonly string[],
  limitMs: number,
  output: Output,
): Promise<{ readonly exitCode: number; readonly text: string }> {
  let text = "";
  const say = (piece: string) => {
    text += piece;
    output.write(piece);
  };
  const child = Bun.spawn([...command], {
    cwd: root,
    env: { ...process.env, FAIRLEAD_TEST_LANE: String(output.lane) },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const timer = setTimeout(() => {
    say(`stopped after ${limitMs / 1000} s\n`);
    child.kill("SIGKILL");
  }, limitMs);
  const follow = async (from: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of from) say(decoder.decode(chunk, { stream: true }));
  };
  const both = Promise.all([follow(child.stdout), follow(child.stderr)]);
  // A process that it left behind may hold its output open for ever.
  await Promise.race([both, child.exited.then(() => Bun.sleep(10_000))]);
  const exitCode = await child.exited;
  clearTimeout(timer);
  return { exitCode, text };
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
    await runCommand([bun, "scripts/peers.ts"], 600_000, liveOutput);
  const rows: string[] = [];
  let total = emptyTally;
  const runSuite = async (suite: Suite, output: Output): Promise<void> => {
    output.write(`\n── ${suite.name} ──\n`);
    const started = performance.now();
    const ran = await suite.run(suite.limitMs, output);
    const empty = ran.passed + ran.failed + ran.skipped === 0;
    if (empty) output.write(`${suite.name}: no test ran, which is a failure\n`);
    const tally = empty ? oneFailure : ran;
    if (empty) failures.push(`${suite.name}: no test ran`);
    total = addTallies(total, tally);
    const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6);
    rows.push(`${suite.name.padEnd(13)} ${seconds} s  ${formatTally(tally)}`);
  };
  for (const stage of stages) {
    const lanes = stage
      .map((lane) => lane.filter((suite) => selected.includes(suite)))
      .filter((lane) => lane.length > 0);
    const isAlone = lanes.length < 2 || workers < 2;
    const runLane = async (lane: readonly Suite[], index: number): Promise<void> => {
      for (const suite of lane) {
        const whole = new Gathered(index);
        await runSuite(suite, isAlone ? liveOutput : whole);
        process.stdout.write(whole.text);
      }
    };
    if (isAlone) for (const lane of lanes) await runLane(lane, 0);
    else {
      console.log(
        `\n── at a time: ${lanes.map((lane) => lane.map(({ name }) => name).join(", ")).join(" | ")} ──`,
      );
      await Promise.all(lanes.map(runLane));
    }
  }
  console.log(`\n${rows.join("\n")}`);
  // Last, where somebody looks who sees the end alone.
  if (failures.length > 0) console.log(`\n── what failed ──\n${failures.join("\n")}`);
  console.log(`\n${formatTally(total)}`);
  process.exit(total.failed === 0 ? 0 : 1);
}

await main();
