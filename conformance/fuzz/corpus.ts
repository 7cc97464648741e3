/** Inputs that are kept, one a line in base64 (empty for no bytes), by target. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** `corpus/`: each reaches a branch that none before it does. `found/`: each was a crash once. */
type Kind = "corpus" | "found";

function pathOf(kind: Kind, target: string): string {
  return join(import.meta.dir, kind, `${target}.txt`);
}

export function readInputs(kind: Kind, target: string): readonly Uint8Array[] {
  const path = pathOf(kind, target);
  if (!existsSync(path)) return [];
  const lines = readFileSync(path, "utf8").split("\n");
  return lines.slice(0, -1).map((line) => Uint8Array.fromBase64(line));
}

export function writeInputs(kind: Kind, target: string, inputs: readonly Uint8Array[]): void {
  writeFileSync(pathOf(kind, target), inputs.map((input) => `${input.toBase64()}\n`).join(""));
}
