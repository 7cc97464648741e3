/**
 * `npm run conformance -- runtime [FOLDER …]`: the tests of the folders that know no runtime, in Node 22 and in Deno 2. What is pure by
 * the table of imports is shown to be so. Files that need Bun, by themselves or through the memory host's database, are named and left out.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const root = resolve(import.meta.dir, "../..");
const runtimes = join(root, ".peers", "runtimes");
const here = import.meta.dir;

/** In the order of what knows least. */
const pureFolders = [
  "base",
  "wire",
  "policy",
  "mesh",
  "transport",
  "pki",
  "proxy",
  "agent",
  "config",
  "admin",
];

/** Tests that say otherwise in one runtime, and why that is well. */
const differences: readonly { readonly runtime: string; readonly test: string; readonly why: string }[] = [
  {
    runtime: "deno",
    test: "a point off its curve cannot be a key, and a signature of zeros holds for nothing",
    why: "Deno's WebCrypto takes the key, and then no signature holds for it: refused later, by another word",
  },
];

interface Totals {
  readonly passed: number;
  readonly skipped: number;
  readonly failures: readonly string[];
}

/** @returns the exit code. */
export async function runtimeConformance(argv: readonly string[]): Promise<number> {
  const folders = argv.length > 0 ? argv : pureFolders;
  const { chosen, left } = chooseFiles(folders);
  console.log(`${chosen.length} files of ${folders.join(", ")}; ${left.length} need Bun:`);
  for (const { path, why } of left) console.log(`  ${path}: ${why}`);
  const scratch = await mkdtemp(join(tmpdir(), "fairlead-runtime-"));
  try {
    const all = await Promise.all([
      judge("node", "node", chosen, [
        "--import",
        join(here, "node_missing.mjs"),
        "--import",
        join(here, "node_hooks.mjs"),
      ]),
      judge("deno", "deno", chosen, await denoFlags(scratch)),
    ]);
    const sum = (pick: (one: Judged) => number): number => all.reduce((total, one) => total + pick(one), 0);
    const skipped = sum((one) => one.skipped);
    console.log(
      `\n${sum((one) => one.passed)} passed, ${sum((one) => one.failed)} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`,
    );
    return sum((one) => one.failed) === 0 ? 0 : 1;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

interface Judged {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

async function judge(
  name: "node" | "deno",
  program: string,
  files: readonly string[],
  flags: readonly string[],
): Promise<Judged> {
  const path = join(runtimes, "node_modules", ".bin", program);
  if (!existsSync(path)) {
    console.log(`skipped: ${name} is not installed (npm could not be reached)`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const runner = join(here, "run_files.ts");
  const child = Bun.spawn([path, ...flags, runner, ...files.map((file) => join(root, file))], {
    cwd: root,
    env: { ...process.env, NO_COLOR: "1", RUNTIME_MODULES: runtimes },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const code = await child.exited;
  const totals = readTotals(output);
  if (totals === null || code !== 0) {
    console.log(`✗ ${name} ended with ${code}: ${errors.trim().split("\n").slice(-5).join("\n")}`);
    return { passed: totals?.passed ?? 0, failed: 1, skipped: totals?.skipped ?? 0 };
  }
  const { known, unknown } = sort(name, totals.failures);
  console.log(`\n${name}: ${totals.passed} passed, ${unknown.length} failed, ${totals.skipped} skipped`);
  for (const { test, why } of known) console.log(`  differs: ${test}: ${why}`);
  for (const failure of unknown) console.log(`✗ ${name}: ${failure.replaceAll(`${root}/`, "")}`);
  return { passed: totals.passed, failed: unknown.length, skipped: totals.skipped + known.length };
}

function sort(name: string, failures: readonly string[]) {
  const known = differences.filter(
    ({ runtime, test }) => runtime === name && failures.some((failure) => failure.includes(test)),
  );
  const unknown = failures.filter((failure) => !known.some(({ test }) => failure.includes(test)));
  return { known, unknown };
}

function readTotals(output: string): Totals | null {
  try {
    return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "");
  } catch {
    return null;
  }
}

/** What Node is told by hooks, Deno is told by a map of imports. */
async function denoFlags(scratch: string): Promise<readonly string[]> {
  const map = join(scratch, "imports.json");
  const imports = {
    "bun:test": pathToFileURL(join(here, "bun_test.ts")).href,
    expect: pathToFileURL(join(runtimes, "node_modules/expect/build/index.mjs")).href,
  };
  await writeFile(map, JSON.stringify({ imports }));
  return ["run", "-A", "--no-check", "--no-lock", "--node-modules-dir=manual", "--import-map", map];
}

/** Test files of the folders: those that need nothing of Bun's but its test functions, and the others with the reason. */
function chooseFiles(folders: readonly string[]) {
  const tests = folders.flatMap((folder) =>
    readdirSync(join(root, "src", folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".test.ts"))
      .sort()
      .map((name) => join("src", folder, name)),
  );
  const chosen: string[] = [];
  const left: { path: string; why: string }[] = [];
  for (const path of tests) {
    const why = needsBun(path, new Set());
    if (why === null) chosen.push(path);
    else left.push({ path, why });
  }
  return { chosen, left };
}

/** Follows what is imported while the program loads. @returns what it comes to that is Bun's; null for nothing. */
function needsBun(path: string, seen: Set<string>): string | null {
  if (seen.has(path) || !existsSync(join(root, path))) return null;
  seen.add(path);
  const text = readFileSync(join(root, path), "utf8");
  for (const [, what = "", specifier = ""] of text.matchAll(
    /^(?:import|export)\b([^;]*?)from "([^"]+)";/gms,
  )) {
    if (/^\s*type\b/.test(what)) continue;
    if (specifier === "bun" || (specifier.startsWith("bun:") && specifier !== "bun:test"))
      return `${specifier} in ${path}`;
    if (!specifier.startsWith(".")) continue;
    const found = needsBun(relative(root, resolve(root, dirname(path), specifier)), seen);
    if (found !== null) return found;
  }
  return null;
}
