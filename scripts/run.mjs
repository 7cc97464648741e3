// The way into every npm script. Plain Node (or Bun) without dependencies, because it has to work in a clean clone:
// it installs what is missing, puts the project's own tools first on PATH, then runs the command on the pinned Bun.
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, join, resolve } from "node:path";
import process from "node:process";

const root = resolve(import.meta.dirname, "..");
const modules = join(root, "node_modules");
const bun = join(modules, "bun", "bin", "bun.exe");

// Each command: the programs it runs, one after the other, until one fails.
const commands = {
  start: (args) => {
    const shop = ["--workload", "shop/cart", "--workload", "shop/db"];
    const port = ["--map", "127.0.0.11:5432=db.shop:5432@shop/cart"];
    return [[bun, "src/main.ts", "up", "-f", "examples/shop", ...shop, ...port, ...args]];
  },
  fairlead: (args) => [[bun, "src/main.ts", ...args]],
  test: (args) => [[bun, "scripts/test.ts", ...args]],
  check: () => [
    [tool("tsc"), "-p", "."],
    [tool("biome"), "check", "."],
    [bun, "scripts/messages.ts", "--check"],
    [bun, "scripts/schemas.ts", "--check"],
    [bun, "scripts/tree.ts"],
  ],
  format: () => [[tool("biome"), "check", "--write", "."]],
  build: (args) => [[bun, "scripts/build.ts", ...args]],
  package: (args) => [
    [bun, "scripts/build.ts"],
    [bun, "scripts/package.ts", ...args],
  ],
  demo: (args) =>
    args[0] === "control"
      ? [[bun, "conformance/demo/control.ts", ...args.slice(1)]]
      : [[bun, "conformance/demo/demo.ts", ...args]],
  mutants: (args) => [[bun, "scripts/mutants.ts", ...args]],
  sim: (args) => [[bun, "conformance/sim/run.ts", ...args]],
  fuzz: (args) => [[bun, "conformance/fuzz/run.ts", ...args]],
  soak: (args) => [[bun, "conformance/soak/run.ts", ...args]],
  h2spec: (args) => [
    [bun, "scripts/peers.ts", "go"],
    [bun, "conformance/spec/h2spec.ts", ...args],
  ],
  conformance: (args) => [
    [bun, "scripts/peers.ts"],
    [bun, "conformance/run.ts", ...args],
  ],
  bench: (args) => [
    [bun, "scripts/peers.ts", ...(args[0] === "micro" ? ["none"] : ["python"])],
    [bun, "bench/run.ts", ...args],
  ],
};

/** What is said when `npm start` is up; these are the lines of README.md. */
const nextSteps = `
The shop of examples/shop runs on this machine. Put something behind the database's address, and call it as the cart,
from two other terminals:

  python3 -m http.server 15432 --bind 127.0.0.12     a stand-in for the database
  curl http://127.0.0.11:5432/                       cart's local port -> mutual TLS -> policy -> db: a list of files
  npm run -s fairlead -- get traffic                 who called whom: shop/cart  shop/db  mutual_tls  1

Ctrl-C here stops it.

`;

/** Waits for the readiness port of this run, and says what to do next. */
async function tellNextSteps(ended) {
  for (let waited = 0; waited < 100 && !ended.aborted; waited++) {
    await new Promise((wake) => setTimeout(wake, 200));
    const isReady = await fetch("http://127.0.0.1:15021/healthz/ready", { signal: ended }).then(
      (answer) => answer.ok,
      () => false,
    );
    if (!isReady || ended.aborted) continue;
    process.stderr.write(nextSteps);
    return;
  }
}

function tool(name) {
  return join(modules, ".bin", name);
}

/** Runs a program in the foreground. @returns its exit code; 128 + the signal when it was killed, as a shell has it. */
async function run(program, args, options = {}) {
  const child = spawn(program, args, { cwd: root, stdio: "inherit", ...options });
  // A terminal sends Ctrl-C to all of us: the program decides what it means, and we wait. SIGTERM comes to us alone.
  const ignore = () => {};
  const forward = () => child.kill("SIGTERM");
  process.on("SIGINT", ignore).on("SIGTERM", forward);
  try {
    const [code, signal] = await once(child, "exit");
    return code ?? 128 + (constants.signals[signal] ?? 0);
  } catch (error) {
    process.stderr.write(`cannot run ${program}: ${error.message}\n`);
    return 127;
  } finally {
    process.off("SIGINT", ignore).off("SIGTERM", forward);
  }
}

/** Installs the exact versions of the lock file when node_modules is absent or was made from another lock file. */
async function installDependencies() {
  const wanted = createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
  const stamp = join(modules, ".installed-lock");
  if (existsSync(bun) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  // Not `npm ci`: it refuses a registry that lacks an optional package of some other platform. The versions are the lock file's.
  const underBun = process.versions.bun !== undefined;
  const [program, args] = underBun
    ? [process.execPath, ["install", "--frozen-lockfile"]]
    : // One code generator asks for Node 22; it runs on the Bun that is installed here, so its warning would worry for nothing.
      ["npm", ["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error"]];
  process.stderr.write(`installing dependencies (${underBun ? "bun install" : "npm install"}) …\n`);
  // npm's chatter goes to stderr: stdout is the command's own.
  const status = await run(program, args, { stdio: ["ignore", 2, 2] });
  if (status !== 0) process.exit(status);
  await ensureBunBinary();
  writeFileSync(stamp, wanted);
}

/** npm puts the real binary in place in an install script; where scripts are switched off, it is run here. */
async function ensureBunBinary() {
  if (spawnSync(bun, ["--version"], { stdio: "ignore" }).status === 0) return;
  const status = await run(process.execPath, [join(modules, "bun", "install.js")], {
    cwd: join(modules, "bun"),
  });
  if (status !== 0) process.exit(status);
}

function environment() {
  const own = [join(root, ".peers", "bin"), join(root, ".peers", "python", "bin"), join(modules, ".bin")];
  return { ...process.env, PATH: [...own, process.env.PATH ?? ""].join(delimiter) };
}

const [name = "", ...args] = process.argv.slice(2);
const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
if (command === undefined) {
  process.stderr.write(`usage: node scripts/run.mjs ${Object.keys(commands).join("|")} [arguments]\n`);
  process.exit(2);
}
await installDependencies();
const ended = new AbortController();
if (name === "start") void tellNextSteps(ended.signal);
for (const [program, ...rest] of command(args)) {
  const status = await run(program, rest, { env: environment() });
  ended.abort();
  if (status !== 0) process.exit(status);
}
