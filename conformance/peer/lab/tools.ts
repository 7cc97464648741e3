/** Finds or builds the peers. Whatever is missing is said, never passed over. */
import { closeSync, existsSync, mkdirSync, openSync, readSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { runToEnd } from "./subprocess.ts";

export const repository = resolve(import.meta.dir, "../../..");

/** Where what was built or installed for tests is kept; not under version control. */
export const peersDirectory = join(repository, ".peers");

/** A tool that is there, or why not. */
export type Found = { readonly path: string } | { readonly missing: string };

/** Builds a Go program of this repository; the Go cache makes the second time quick. */
export function buildGo(source: string, name: string): Found {
  if (Bun.which("go") === null) return { missing: "Go is not installed" };
  const path = join(peersDirectory, "bin", name);
  mkdirSync(dirname(path), { recursive: true });
  runToEnd(["go", "build", "-o", path, "."], { cwd: join(repository, source) });
  return { path };
}

/** Envoy from the environment's `ENVOY`, from .peers, or from the path. */
export function findEnvoy(): Found {
  for (const candidate of [process.env.ENVOY, join(peersDirectory, "python/bin/envoy"), Bun.which("envoy")]) {
    if (candidate === undefined || candidate === null || !existsSync(candidate)) continue;
    const path = isExecutableImage(candidate) ? candidate : behindPythonScript(candidate);
    if (path !== null) return { path };
  }
  return { missing: "Envoy is not installed (bun scripts/peers.ts python)" };
}

/** The Python package's command is a script that starts the real binary; it is the binary's process that is measured. */
function behindPythonScript(script: string): string | null {
  const python = join(dirname(script), "python3");
  for (const interpreter of [python, Bun.which("python3")]) {
    if (interpreter === null || !existsSync(interpreter)) continue;
    const found = Bun.spawnSync([
      interpreter,
      "-c",
      "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))",
    ]);
    const path = found.stdout.toString().trim();
    if (found.exitCode === 0 && existsSync(path)) return path;
  }
  return null;
}

/** ELF, not a script. */
function isExecutableImage(path: string): boolean {
  const head = Buffer.alloc(4);
  const file = openSync(path, "r");
  readSync(file, head, 0, 4, 0);
  closeSync(file);
  return head.equals(Buffer.from("\x7fELF"));
}

/** The Python that `scripts/peers.ts` has installed, or the path's, with these modules. */
export function findPython(...modules: readonly string[]): Found {
  for (const path of [join(peersDirectory, "python/bin/python3"), Bun.which("python3")]) {
    if (path === null || !existsSync(path)) continue;
    if (Bun.spawnSync([path, "-c", `import ${modules.join(", ")}`]).exitCode === 0) return { path };
  }
  return { missing: `Python with ${modules.join(" and ")} is not installed (bun scripts/peers.ts python)` };
}

export function findPythonWithH2(): Found {
  return findPython("h2", "hpack");
}

export interface Ztunnel {
  readonly path: string;
  /** The root and key its FAKE_CA signs with. */
  readonly caCertPath: string;
  readonly caKeyPath: string;
}

/**
 * A ztunnel built with the `testing` feature, named by `ZTUNNEL`. Its test authority's files are found in the source tree
 * the binary lies in, or in `ZTUNNEL_CA` (a directory with root-cert.pem and ca-key.pem).
 */
export function findZtunnel(): Ztunnel | { readonly missing: string } {
  const path = process.env.ZTUNNEL;
  if (path === undefined || path === "") return { missing: "ZTUNNEL is not set" };
  if (!existsSync(path)) return { missing: `ZTUNNEL=${path} does not exist` };
  for (const directory of [
    process.env.ZTUNNEL_CA,
    ...above(resolve(path)).map((one) => join(one, "src/tls")),
  ]) {
    if (directory === undefined) continue;
    const caCertPath = join(directory, "root-cert.pem");
    const caKeyPath = join(directory, "ca-key.pem");
    if (existsSync(caCertPath) && existsSync(caKeyPath))
      return { path: resolve(path), caCertPath, caKeyPath };
  }
  return {
    missing: "the files of ztunnel's test authority are not beside it; name their directory in ZTUNNEL_CA",
  };
}

function above(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...above(parent)];
}
