/**
 * Compiles wasm/assembly into src/policy/wasm/module.gen.ts: `bun wasm/build.ts`. With `--check` nothing is written, and the exit
 * code is 1 when what stands there is not what the sources give.
 */
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { ABI_VERSION } from "./assembly/layout.ts";

const here = new URL("./", import.meta.url);
const target = new URL("../src/policy/wasm/module.gen.ts", here);

const wasm = await compile();
check(wasm);
const text = render(wasm);
const current = await Bun.file(target)
  .text()
  .catch(() => "");

if (current === text) {
  console.log(`module.gen.ts is up to date (${wasm.length} bytes)`);
} else if (process.argv.includes("--check")) {
  console.error("module.gen.ts is not what wasm/assembly gives: run bun wasm/build.ts");
  process.exit(1);
} else {
  await Bun.write(target, text);
  console.log(`module.gen.ts written (${wasm.length} bytes)`);
}

async function compile(): Promise<Uint8Array<ArrayBuffer>> {
  let binary: Uint8Array<ArrayBuffer> | null = null;
  const { error, stderr } = await asc.main(["--config", "asconfig.json", "--outFile", "policy.wasm"], {
    readFile: (name, base) => read(`${base}/${name}`),
    writeFile: (name, contents) => {
      if (name.endsWith(".wasm") && typeof contents !== "string") binary = new Uint8Array(contents);
    },
    listFiles: () => null,
  });
  if (error !== null || binary === null)
    throw new Error(`asc failed: ${error?.message ?? ""}\n${stderr.toString()}`);
  return binary;
}

async function read(path: string): Promise<string | null> {
  const file = Bun.file(fileURLToPath(new URL(path, here)));
  return (await file.exists()) ? file.text() : null;
}

/** What the engine counts on: no imports, one memory, the two functions, and this layout's version in a name. */
function check(bytes: Uint8Array<ArrayBuffer>): void {
  const module = new WebAssembly.Module(bytes);
  const imports = WebAssembly.Module.imports(module).map((each) => `${each.module}.${each.name}`);
  if (imports.length > 0) throw new Error(`the module imports ${imports.join(", ")}`);
  const found = WebAssembly.Module.exports(module).map((each) => each.name);
  const expected = ["first_match", "memory", `policy_abi_${ABI_VERSION}`];
  if (found.toSorted().join() !== expected.join()) {
    throw new Error(`the module exports ${found.join(", ")}, not ${expected.join(", ")}`);
  }
}

function render(bytes: Uint8Array<ArrayBuffer>): string {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,100}/g) ?? [];
  return `/** Written by wasm/build.ts from wasm/assembly; not by hand. */

/** The layout (wasm/assembly/layout.ts) the module was compiled with. */
export const wasmAbiVersion = ${ABI_VERSION};

/** SHA-256 of the module, hexadecimal. */
export const wasmSha256 = "${sha256}";

/** The module, base64. */
export const wasmBase64 =
${lines.map((line) => `  "${line}"`).join(" +\n")};
`;
}
