/**
 * `npm run conformance -- runtime [FOLDER …] [host] [tunnel] [demo]`: the tests of the folders that know no runtime, in Node 22 and in Deno 2, what
 * their host keeps of the contract of all hosts, and the tunnel of the program itself. What is pure by the table of imports is shown to be so. Files that need Bun, by themselves
 * or through the memory host's database, are named and left out.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { fullBacklog } from "../../src/host/testing/full_backlog.ts";
import { judgeTunnel } from "./tunnel.ts";

const root = resolve(import.meta.dir, "../..");
const runtimes = join(root, ".peers", "runtimes");
const here = import.meta.dir;

const hostFiles = ["conformance/runtime/process_contract.ts", "conformance/runtime/host_contract.ts"];

/** Not of a folder: the contract of hosts, and the program itself. */
const programParts: readonly string[] = ["host", "tunnel", "demo"];

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

interface Difference {
  readonly runtime: "node" | "deno";
  readonly test: string;
  readonly why: string;
  /** It is not run: it would wait for what never comes. */
  readonly leftOut?: true;
}

const noKernelsWord =
  "the runtime does not say who is at the other end; callers of sockets that others may open are refused";

/** Tests that say otherwise in one runtime, and why that is well. */
const differences: readonly Difference[] = [
  {
    runtime: "deno",
    test: "a point off its curve cannot be a key, and a signature of zeros holds for nothing",
    why: "Deno's WebCrypto takes the key, and then no signature holds for it: refused later, by another word",
  },
  { runtime: "node", test: "both ends know the user at the other, also after the end", why: noKernelsWord },
  { runtime: "deno", test: "both ends know the user at the other, also after the end", why: noKernelsWord },
  {
    runtime: "deno",
    test: "with reusePort two listeners share a port",
    why: "Deno's node:net has no SO_REUSEPORT; asked for it, the host refuses",
  },
  {
    runtime: "deno",
    test: "close is told once as null, later and not from inside; nothing else follows",
    why: "a write in the very turn in which the peer's end arrives breaks the connection (EPIPE) before the end is told",
    leftOut: true,
  },
  {
    runtime: "deno",
    test: "a reset under TLS is an error at the peer",
    why: "Deno tells a reset under TLS as an end; HTTP/2 above it knows the difference by its open streams",
    leftOut: true,
  },
];

interface Totals {
  readonly passed: number;
  readonly skipped: number;
  readonly failures: readonly string[];
}

/** @param argv folders and parts; all of them without any. @returns the exit code. */
export async function runtimeConformance(argv: readonly string[]): Promise<number> {
  const parts = argv.length > 0 ? argv : [...pureFolders, ...programParts];
  const folders = parts.filter((part) => !programParts.includes(part));
  const { chosen, left } = chooseFiles(folders);
  if (folders.length > 0)
    console.log(`${chosen.length} files of ${folders.join(", ")}; ${left.length} need Bun:`);
  for (const { path, why } of left) console.log(`  ${path}: ${why}`);
  const files = parts.includes("host") ? [...chosen, ...hostFiles] : chosen;
  const scratch = await mkdtemp(join(tmpdir(), "fairlead-runtime-"));
  const blackhole = await fullBacklog();
  try {
    const environment = { BLACKHOLE_PORT: String(blackhole.address.port) };
    const judged = [
      ...(files.length === 0
        ? []
        : [
            judge("node", files, nodeFlags, environment),
            judge("deno", files, await denoFlags(scratch), environment),
          ]),
      ...(parts.includes("tunnel") ? [tunnelBy("node", []), tunnelBy("deno", ["run", "-A"])] : []),
      ...(parts.includes("demo")
        ? [demoBy("node", [], scratch), demoBy("deno", ["run", "-A"], scratch)]
        : []),
    ];
    const all = await Promise.all(judged);
    const sum = (pick: (one: Judged) => number): number => all.reduce((total, one) => total + pick(one), 0);
    const skipped = sum((one) => one.skipped);
    console.log(
      `\n${sum((one) => one.passed)} passed, ${sum((one) => one.failed)} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`,
    );
    return sum((one) => one.failed) === 0 ? 0 : 1;
  } finally {
    blackhole.close();
    await rm(scratch, { recursive: true, force: true });
  }
}

/** `npm run demo`, a waypoint in it, with every node under this runtime. */
async function demoBy(name: "node" | "deno", flags: readonly string[], scratch: string): Promise<Judged> {
  const path = join(runtimes, "node_modules", ".bin", name);
  if (!existsSync(path)) {
    console.log(`skipped: the demo with ${name}: it is not installed (npm could not be reached)`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const program = join(scratch, `fairlead-${name}`);
  const command = [path, ...flags, join(root, "src/main_node.ts")].map((word) => `'${word}'`).join(" ");
  await writeFile(program, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
  const child = Bun.spawn([process.execPath, join(root, "conformance/demo/demo.ts"), program], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const output = await new Response(child.stdout).text();
  const [, passed = "0", failed = "1"] = /(\d+) passed, (\d+) failed\s*$/.exec(output) ?? [];
  console.log(`\nthe demo with ${name}: ${passed} passed, ${failed} failed`);
  if (failed !== "0") console.log(output);
  return { passed: Number(passed), failed: Number(failed), skipped: 0 };
}

/** The program itself, under this runtime against one under Bun. */
async function tunnelBy(name: "node" | "deno", flags: readonly string[]): Promise<Judged> {
  const path = join(runtimes, "node_modules", ".bin", name);
  const lacks = !existsSync(path) ? `${name} is not installed (npm could not be reached)` : null;
  const missing = lacks ?? (Bun.which("openssl") === null ? "there is no openssl for the mesh's CA" : null);
  if (missing !== null) {
    console.log(`skipped: the tunnel with ${name}: ${missing}`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const corner = `127.${64 + (process.pid % 128)}.${(name === "node" ? 1 : 126) + (process.pid % 125)}`;
  const { passed, failures } = await judgeTunnel(
    name,
    [path, ...flags, join(root, "src/main_node.ts")],
    corner,
    join(runtimes, "node_modules", ".bin", "node"),
  );
  console.log(`\nthe tunnel with ${name}: ${passed} passed, ${failures.length} failed`);
  for (const failure of failures) console.log(`✗ ${failure}`);
  return { passed, failed: failures.length, skipped: 0 };
}

interface Judged {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const nodeFlags = [
  "--import",
  join(root, "src/host/node/missing.ts"),
  "--import",
  join(here, "node_hooks.mjs"),
];

async function judge(
  name: "node" | "deno",
  files: readonly string[],
  flags: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<Judged> {
  const path = join(runtimes, "node_modules", ".bin", name);
  const leftOut = differences.filter((one) => one.runtime === name && one.leftOut === true);
  if (!existsSync(path)) {
    console.log(`skipped: ${name} is not installed (npm could not be reached)`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const runner = join(here, "run_files.ts");
  const child = Bun.spawn([path, ...flags, runner, ...files.map((file) => join(root, file))], {
    cwd: root,
    env: {
      ...process.env,
      ...environment,
      NO_COLOR: "1",
      RUNTIME_MODULES: runtimes,
      LEFT_OUT: JSON.stringify(leftOut.map(({ test }) => test)),
    },
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
  if (files.some((file) => file.startsWith("conformance/")))
    for (const { test, why } of leftOut) console.log(`  not run: ${test}: ${why}`);
  for (const failure of unknown) console.log(`✗ ${name}: ${failure.replaceAll(`${root}/`, "")}`);
  return {
    passed: totals.passed,
    failed: unknown.length,
    skipped: totals.skipped + totals.failures.length - unknown.length,
  };
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
