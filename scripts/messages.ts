/**
 * Generates src/wire/messages/*.gen.ts from src/wire/proto/*.proto: `bun scripts/messages.ts`. With `--check` nothing is
 * written, and the exit code is 1 when what stands there is not what the sources give.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "..");
const sources = join(root, "src", "wire", "proto");
const target = join(root, "src", "wire", "messages");
const suffix = ".gen.ts";

/** @returns file name → text. */
async function generate(): Promise<ReadonlyMap<string, string>> {
  const scratch = await mkdtemp(join(tmpdir(), "fairlead-messages-"));
  try {
    await runBuf(scratch);
    const files = new Map<string, string>();
    for (const name of (await readdir(scratch)).sort()) {
      const text = await Bun.file(join(scratch, name)).text();
      files.set(renamed(name), text.replaceAll(/"\.\/(\w+)_pb\.ts"/g, `"./$1${suffix}"`));
    }
    return files;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The plugin's own ending is not ours: what is generated ends in `.gen.ts`, and the linter and the tidy rules know that. */
function renamed(name: string): string {
  return name.replace(/_pb\.ts$/, suffix);
}

async function runBuf(out: string): Promise<void> {
  const bin = join(root, "node_modules", ".bin");
  const template = {
    version: "v2",
    plugins: [
      {
        // By the Bun that runs us: the plugin is a script, and there may be no `node` on PATH.
        local: [
          process.execPath,
          join(root, "node_modules", "@bufbuild", "protoc-gen-es", "bin", "protoc-gen-es"),
        ],
        out,
        opt: ["target=ts", "import_extension=ts", "erasable_syntax=true"],
      },
    ],
  };
  const command = [
    process.execPath,
    join(bin, "buf"),
    "generate",
    sources,
    "--template",
    JSON.stringify(template),
  ];
  const child = Bun.spawn(command, { cwd: root, stdin: "ignore", stdout: "inherit", stderr: "inherit" });
  if ((await child.exited) !== 0) throw new Error("buf generate failed");
}

async function present(): Promise<ReadonlyMap<string, string>> {
  const names = (await readdir(target)).filter((name) => name.endsWith(suffix));
  return new Map(
    await Promise.all(names.map(async (name) => [name, await Bun.file(join(target, name)).text()] as const)),
  );
}

const wanted = await generate();
const found = await present();
const changed = [...wanted.keys()].filter((name) => wanted.get(name) !== found.get(name));
const gone = [...found.keys()].filter((name) => !wanted.has(name));

if (changed.length + gone.length === 0) {
  console.log(`src/wire/messages is up to date (${wanted.size} files)`);
} else if (process.argv.includes("--check")) {
  const names = [...changed, ...gone].join(", ");
  console.error(`src/wire/messages is not what src/wire/proto gives (${names}): run bun scripts/messages.ts`);
  process.exit(1);
} else {
  for (const name of changed) await Bun.write(join(target, name), wanted.get(name) ?? "");
  for (const name of gone) await rm(join(target, name));
  console.log(`src/wire/messages: ${changed.length} written, ${gone.length} removed`);
}
