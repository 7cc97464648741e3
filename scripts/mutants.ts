/**
 * `npm run mutants -- [--sample 60] [--all] [--kept N] [--seed N] [PATH …]`: breaks one guard, comparison, label or return at a time in
 * the folders that decide about trust and traffic, runs the nearest tests, and says which mutants live. One that lives and is not in
 * `mutants_kept.json` with a reason is a failure. Those that were killed once are kept there too: `--kept N` tries so many of them,
 * others each day, and all have to be killed again.
 */
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { findMutants, type Mutant, nameOf, nearestTests, readTree, type Tree } from "./mutation.ts";
import { formatTally } from "./tally.ts";

const root = join(import.meta.dir, "..");
const keptPath = join(import.meta.dir, "mutants_kept.json");
const folders = [
  "src/policy/",
  "src/pki/",
  "src/proxy/",
  "src/agent/",
  "src/control/identity/",
  "src/control/ca/",
  "src/control/keys/",
];
const copied = ["src", "wasm", "scripts", "conformance", "package.json", "tsconfig.json", "bunfig.toml"];
/** Only a hang reaches these: how long the tests take is the machine's. */
const testLimitMs = 120_000;
const baselineLimitMs = 600_000;
/** A mutant may take so many times as long as the program as it is, and this much besides. */
const slowerAtMost = 5;
const slackMs = 60_000;

interface Kept {
  /** Names of mutants that tests have noticed. */
  readonly killed: readonly string[];
  /** Those that none has, and why that is accepted. */
  readonly survivors: Readonly<Record<string, string>>;
}

type Fate =
  | "killed"
  | "lives"
  | "timed out"
  | "no tests"
  | "its tests fail without it"
  | "its tests take too long";

interface Run {
  readonly outcome: "pass" | "fail" | "timed out";
  readonly tookMs: number;
}

async function runTests(copy: string, tests: readonly string[], limitMs: number): Promise<Run> {
  const paths = tests.map((path) => `./${path}`);
  const startedMs = performance.now();
  const child = Bun.spawn([process.execPath, "test", `--timeout=${testLimitMs}`, "--bail", ...paths], {
    cwd: copy,
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    timeout: limitMs,
    killSignal: "SIGKILL",
  });
  const exitCode = await child.exited;
  const tookMs = performance.now() - startedMs;
  if (child.signalCode !== null) return { outcome: "timed out", tookMs };
  return { outcome: exitCode === 0 ? "pass" : "fail", tookMs };
}

/** Copies of the program, one for each that works at the same time; each tries mutants until there are no more. */
class Workshop {
  readonly #tree: Tree;
  readonly #baselines = new Map<string, Promise<Run>>();

  constructor(tree: Tree) {
    this.#tree = tree;
  }

  async work(queue: Mutant[], onFate: (mutant: Mutant, fate: Fate) => void): Promise<void> {
    const copy = await mkdtemp(join(tmpdir(), "fairlead-mutants-"));
    try {
      for (const path of copied) await cp(join(root, path), join(copy, path), { recursive: true });
      await symlink(join(root, "node_modules"), join(copy, "node_modules"));
      for (let mutant = queue.shift(); mutant !== undefined; mutant = queue.shift())
        onFate(mutant, await this.#try(copy, mutant));
    } finally {
      await rm(copy, { recursive: true, force: true });
    }
  }

  async #try(copy: string, { path, from, to, replacement }: Mutant): Promise<Fate> {
    const tests = nearestTests(this.#tree, path);
    if (tests.length === 0) return "no tests";
    const key = tests.join(" ");
    const baseline = this.#baselines.get(key) ?? runTests(copy, tests, baselineLimitMs);
    this.#baselines.set(key, baseline);
    const usual = await baseline;
    if (usual.outcome === "timed out") return "its tests take too long";
    if (usual.outcome === "fail") return "its tests fail without it";
    const text = await readFile(join(copy, path), "utf8");
    await writeFile(join(copy, path), text.slice(0, from) + replacement + text.slice(to));
    try {
      const { outcome } = await runTests(copy, tests, Math.ceil(usual.tookMs * slowerAtMost) + slackMs);
      return outcome === "pass" ? "lives" : outcome === "fail" ? "killed" : "timed out";
    } finally {
      await writeFile(join(copy, path), text);
    }
  }
}

/** A permutation that the seed decides (a linear congruence: Knuth, TAOCP 2, §3.2.1). */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  const result = [...items];
  let state = seed >>> 0;
  for (let index = result.length - 1; index > 0; index--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (index + 1));
    const [a, b] = [result[index], result[other]];
    if (a === undefined || b === undefined) continue;
    result[index] = b;
    result[other] = a;
  }
  return result;
}

function numberAfter(args: readonly string[], name: string): number | null {
  const index = args.findIndex((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`));
  if (index < 0) return null;
  return Number(args[index]?.split("=")[1] ?? args[index + 1]);
}

function choose(all: readonly Mutant[], kept: Kept, args: readonly string[]): Mutant[] {
  const paths = args.filter((arg) => arg.startsWith("src/"));
  const those =
    paths.length === 0 ? all : all.filter(({ path }) => paths.some((part) => path.startsWith(part)));
  const count = numberAfter(args, "kept");
  if (count !== null) {
    const known = those.filter((mutant) => kept.killed.includes(nameOf(mutant)));
    const day = Math.floor(Date.now() / 86_400_000);
    return Array.from(
      { length: Math.min(count, known.length) },
      (_, index) => known[(day * count + index) % known.length],
    ).filter((mutant) => mutant !== undefined);
  }
  if (args.includes("--all") || (paths.length > 0 && numberAfter(args, "sample") === null)) return [...those];
  const seed = numberAfter(args, "seed") ?? Math.floor(Math.random() * 2 ** 31);
  console.log(`--seed ${seed}`);
  return shuffled(those, seed).slice(0, numberAfter(args, "sample") ?? 60);
}

async function main(args: readonly string[]): Promise<number> {
  const tree = readTree(root);
  const all = [...tree.sources]
    .filter(([path]) => folders.some((folder) => path.startsWith(folder)))
    .flatMap(([path, text]) => findMutants(path, text));
  const kept: Kept = JSON.parse(await readFile(keptPath, "utf8"));
  const chosen = choose(all, kept, args);
  console.log(`${chosen.length} of ${all.length} mutants`);
  const counts = new Map<string, { killed: number; all: number }>();
  const killed: string[] = [];
  let failed = 0;
  const onFate = (mutant: Mutant, fate: Fate): void => {
    const name = nameOf(mutant);
    const folder = folders.find((one) => mutant.path.startsWith(one)) ?? "";
    const count = counts.get(folder) ?? { killed: 0, all: 0 };
    counts.set(folder, { killed: count.killed + (fate === "killed" ? 1 : 0), all: count.all + 1 });
    if (fate === "killed") {
      killed.push(name);
      return;
    }
    const reason = fate === "lives" ? kept.survivors[name] : undefined;
    if (reason === undefined) failed++;
    console.log(
      `${reason === undefined ? "✗" : "-"} ${fate}: ${name}${reason === undefined ? "" : ` (${reason})`}`,
    );
  };
  const queue = [...chosen];
  const workshop = new Workshop(tree);
  await Promise.all(
    Array.from({ length: Math.min(availableParallelism(), 4) }, () => workshop.work(queue, onFate)),
  );
  for (const [folder, count] of [...counts].sort())
    console.log(`${folder.padEnd(24)} ${count.killed} of ${count.all} killed`);
  if (args.includes("--keep")) {
    const names = [...new Set([...kept.killed, ...killed])].sort();
    await writeFile(keptPath, `${JSON.stringify({ ...kept, killed: names }, null, 2)}\n`);
  }
  console.log(formatTally({ passed: chosen.length - failed, failed, skipped: 0 }));
  return failed === 0 && chosen.length > 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
