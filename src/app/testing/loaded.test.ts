/** A part that is loaded while a world with a clock of its own runs makes the same seed give another run, now and then. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

const root = resolve(import.meta.dir, "../..");
/** What a simulated program runs; commands, and hosts that are real, are not simulated. */
const simulated = [
  "admin",
  "agent",
  "app/control",
  "app/node",
  "control",
  "dns",
  "pki",
  "proxy",
  "waypoint",
  "workers",
];

function loadedFrom(path: string): string[] {
  const text = readFileSync(path, "utf8");
  return [...text.matchAll(/\bimport\("(\.[^"]+)"\)/g)].map(([, to = ""]) => resolve(dirname(path), to));
}

test("every part that is loaded when it is needed is loaded before a world begins", () => {
  const wanted = simulated.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts") && !name.includes("test"))
      .flatMap((name) => loadedFrom(join(root, folder, name))),
  );
  expect(wanted.length).toBeGreaterThan(10);
  const before = loadedFrom(join(import.meta.dir, "loaded.ts"));
  expect([...new Set(wanted)].filter((path) => !before.includes(path))).toEqual([]);
});
