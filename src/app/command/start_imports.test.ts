import { expect, test } from "bun:test";
import { dirname, join, relative } from "node:path";

const source = join(import.meta.dir, "../..");

interface Loaded {
  /** Files of this program, from `src/`. */
  readonly files: ReadonlySet<string>;
  /** What is not of this program. */
  readonly packages: ReadonlySet<string>;
}

/** All that is evaluated before the first line of these: without what is imported by `import()`, and without types. */
async function loadedBy(...entries: readonly string[]): Promise<Loaded> {
  const scanner = new Bun.Transpiler({ loader: "ts" });
  const files = new Set<string>();
  const packages = new Set<string>();
  const queue = entries.map((entry) => join(source, entry));
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (files.has(path)) continue;
    files.add(path);
    if (!path.endsWith(".ts")) continue;
    for (const { path: name, kind } of scanner.scanImports(await Bun.file(path).text())) {
      if (kind !== "import-statement") continue;
      if (name.startsWith(".")) queue.push(join(dirname(path), name));
      else packages.add(name);
    }
  }
  return { files: new Set([...files].map((path) => relative(source, path))), packages };
}

/** A node of files: what `run_program` loads, then what its start imports. */
const nodeStart = ["app/command/run_program.ts", "app/command/node_start.ts", "app/node/mesh_of_files.ts"];

// Each of them loads the runtime's streams: 6 ms and 1.5 MB, a tenth of a node's start and of its memory.
const withStreams = ["crypto", "tls", "net", "http", "https", "stream", "tty", "zlib", "dns", "dns/promises"];

test("a start loads nothing that brings the runtime's streams with it", async () => {
  for (const entries of [nodeStart, ["app/command/run_program.ts", "app/node/workers/worker.ts"]]) {
    const { files, packages } = await loadedBy(...entries);
    expect(files.size).toBeGreaterThan(100);
    expect(packages).toContain("node:fs");
    expect(withStreams.filter((name) => packages.has(`node:${name}`))).toEqual([]);
  }
});

test("a node's start loads its own command, and no other", async () => {
  const { files, packages } = await loadedBy(...nodeStart);
  const others = /^cli\/(all_commands|check|control|explain|install|node\/(?!run\.ts))/;
  expect([...files].filter((file) => others.test(file))).toEqual([]);
  expect(packages).not.toContain("diff");
});

test("a node that neither captures nor answers names loads neither", async () => {
  const { files } = await loadedBy(...nodeStart);
  const parts =
    /^(host\/capture\/(?!ipv6_sockets\.ts)|dns\/|wire\/dns\/|app\/node\/(capture|names|explain)\.ts)/;
  expect([...files].filter((file) => parts.test(file))).toEqual([]);
});

test("before the program may begin once more nothing is loaded but what that takes", async () => {
  const { files, packages } = await loadedBy("main.ts");
  expect([...files].filter((file) => !/^(base|host)\//.test(file)).sort()).toEqual([
    "app/command/keep_freed_pages.ts",
    "main.ts",
  ]);
  expect(files.size).toBeLessThan(20);
  expect(withStreams.filter((name) => packages.has(`node:${name}`))).toEqual([]);
});

test("whoever calls a node loads no command of others, and whoever calls another one does", async () => {
  const loads = async (...words: readonly string[]): Promise<boolean> => {
    const program = `
      let isLoaded = false;
      Bun.plugin({ name: "tell", setup: (build) => build.onLoad({ filter: /cli.all_commands.ts$/ }, async ({ path }) => {
        isLoaded = true;
        return { contents: await Bun.file(path).text(), loader: "ts" };
      }) });
      process.on("exit", () => require("node:fs").writeSync(2, isLoaded ? "all" : "own"));
      process.argv.splice(1, process.argv.length, "fairlead", ...${JSON.stringify(words)});
      const { runProgram } = await import(${JSON.stringify(join(source, "app/command/run_program.ts"))});
      await runProgram();`;
    const child = Bun.spawn([process.execPath, "-e", program], { stdio: ["ignore", "ignore", "pipe"] });
    const said = await new Response(child.stderr).text();
    expect([await child.exited, ["own", "all"].includes(said)]).toEqual([0, true]);
    return said === "all";
  };
  for (const role of ["up", "node"]) expect(await loads(role, "--help")).toBe(false);
  expect(await loads("get", "--help")).toBe(true);
});
