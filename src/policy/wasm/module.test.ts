/** The compiled module itself: what it asks for, what it offers, and that it is what the sources give. */
import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { ABI_VERSION } from "../../../wasm/assembly/layout.ts";
import { wasmBase64, wasmSha256 } from "./module.gen.ts";
import { instantiate } from "./module.ts";

const bytes = Uint8Array.fromBase64(wasmBase64);

test("imports nothing and exports one memory, one decision and one version", () => {
  const module = new WebAssembly.Module(bytes);
  expect(WebAssembly.Module.imports(module)).toEqual([]);
  const names = WebAssembly.Module.exports(module).map((each) => each.name);
  expect(names.toSorted()).toEqual(["first_match", "memory", `policy_abi_${ABI_VERSION}`]);
});

test("an instance has the memory that was asked for", () => {
  for (const wanted of [1, 65_536, 65_537, 5_000_000]) {
    const { memory } = instantiate(wanted);
    expect(memory.buffer.byteLength).toBeGreaterThanOrEqual(wanted);
    expect(memory.buffer.byteLength - wanted).toBeLessThan(65_536);
  }
});

test("module.gen.ts holds what it says", () => {
  expect(createHash("sha256").update(bytes).digest("hex")).toBe(wasmSha256);
});

test.skipIf(typeof Bun === "undefined")(
  "module.gen.ts is what wasm/assembly gives",
  async () => {
    const script = fileURLToPath(new URL("../../../wasm/build.ts", import.meta.url));
    const build = Bun.spawn([process.execPath, script, "--check"], { stdout: "pipe", stderr: "pipe" });
    expect(await build.exited).toBe(0);
    expect(await new Response(build.stdout).text()).toContain("up to date");
  },
  300_000,
);
