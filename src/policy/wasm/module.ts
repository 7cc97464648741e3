/** The compiled module and its one door: bytes in memory, numbers as arguments. */
import { ABI_VERSION } from "../../../wasm/assembly/layout.ts";
import { assert } from "../../base/assert.ts";
import { wasmAbiVersion, wasmBase64 } from "./module.gen.ts";

export interface PolicyInstance {
  /** Of the size asked for; it never grows again. */
  readonly memory: WebAssembly.Memory;
  /** `first_match` of wasm/assembly/index.ts. Addresses in bytes. */
  readonly firstMatch: (section: number, caller: number, from: number) => number;
}

const pageBytes = 64 * 1024;

let compiled: WebAssembly.Module | null = null;

/** @param bytes at least this much memory */
export function instantiate(bytes: number): PolicyInstance {
  compiled ??= new WebAssembly.Module(Uint8Array.fromBase64(wasmBase64));
  const { exports } = new WebAssembly.Instance(compiled);
  const { memory, first_match: firstMatch } = exports;
  assert(wasmAbiVersion === ABI_VERSION, "module.gen.ts is of another layout: run bun wasm/build.ts");
  assert(
    typeof exports[`policy_abi_${ABI_VERSION}`] === "function",
    "the policy module is of another layout",
  );
  assert(memory instanceof WebAssembly.Memory, "the policy module has no memory");
  assert(typeof firstMatch === "function", "the policy module decides nothing");
  memory.grow(Math.max(0, Math.ceil((bytes - memory.buffer.byteLength) / pageBytes)));
  return { memory, firstMatch: firstMatch as PolicyInstance["firstMatch"] };
}
