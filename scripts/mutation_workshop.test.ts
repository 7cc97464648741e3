import { afterAll, beforeAll, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findMutants, type Mutant, readTree } from "./mutation.ts";
import type { Killer } from "./mutation_record.ts";
import { type Fate, Workshop } from "./mutation_workshop.ts";

const path = "src/proxy/x.ts";
const source = `
export function isOver(left: number, right: number): boolean {
  return left > right;
}
export function isFirst(left: number, right: number): boolean {
  return left < right;
}
export function countTo(last: number): number {
  let count = 0;
  for (;;) {
    if (count === last) return count;
    count++;
  }
}
export function whenGood(good: boolean): Promise<void> {
  return new Promise((resolve) => {
    if (good) resolve();
  });
}
export function endUnless(left: number, right: number): void {
  if (left <= right) return;
  process.exit(1);
}
export function isSame(left: number, right: number): boolean {
  return left === right;
}
`;
// What a test sees once is what a busy machine makes it see.
const tests = `import { expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { countTo, endUnless, isFirst, isOver, whenGood } from "./x.ts";
test("over", () => expect([isOver(2, 1), isOver(2, 2)]).toEqual([true, false]));
test("first, once", () => {
  const path = import.meta.dir + "/seen";
  if (!isFirst(3, 3) || existsSync(path)) return;
  writeFileSync(path, "");
  throw new Error("once");
});
test("count", () => expect(countTo(3)).toBe(3));
test("good", () => whenGood(true));
test("end", () => endUnless(4, 4));
`;

/** Nearer than what notices, as many as are asked first. */
const near = `import { test } from "bun:test";
import { isSame } from "./x.ts";
test("nothing", () => void isSame);
`;
const far = `import { expect, test } from "bun:test";
import { isSame } from "../proxy/x.ts";
test("same", () => expect(isSame(1, 1)).toBe(true));
`;

let root = "";

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "mutation-workshop-"));
  await mkdir(join(root, "src/proxy"), { recursive: true });
  await mkdir(join(root, "conformance/flows"), { recursive: true });
  await writeFile(join(root, path), source);
  await writeFile(join(root, "src/proxy/x.test.ts"), tests);
  for (const name of ["a", "b", "c", "d", "e"])
    await writeFile(join(root, `src/proxy/${name}.test.ts`), near);
  await mkdir(join(root, "src/other"));
  await writeFile(join(root, "src/other/far.test.ts"), far);
  await writeFile(join(root, "bunfig.toml"), "");
});

afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

async function fateOf(
  chosen: (mutant: Mutant) => boolean,
  killer: Killer | null = null,
  slackMs?: number,
  isAccepted?: boolean,
): Promise<readonly Fate[]> {
  const copy = await mkdtemp(join(root, "copy-"));
  for (const folder of ["src", "conformance"])
    await cp(join(root, folder), join(copy, folder), { recursive: true });
  await cp(import.meta.dir, join(copy, "scripts"), { recursive: true });
  await writeFile(join(copy, "bunfig.toml"), "");
  const workshop = new Workshop(
    copy,
    readTree(root),
    findMutants(path, source).filter(chosen),
    () => killer,
    slackMs,
    () => isAccepted === true,
  );
  await workshop.prepare();
  const fates: Fate[] = [];
  await workshop.tryAll(1, (_, fate) => {
    fates.push(fate);
  });
  return fates;
}

const killedBy = (test: string): Fate => ({ said: "killed", killer: { file: "src/proxy/x.test.ts", test } });

test("what a test fails with, passes without and fails with again is killed, recorded or not", async () => {
  const mutant = ({ line }: Mutant): boolean => line.includes("left > right");
  expect(await fateOf(mutant)).toEqual([killedBy("over")]);
  expect(await fateOf(mutant, { file: "src/proxy/x.test.ts", test: "over" })).toEqual([killedBy("over")]);
  // A record that is wrong, or of a test that is gone.
  for (const test of ["count", "gone"])
    expect(await fateOf(mutant, { file: "src/proxy/x.test.ts", test })).toEqual([killedBy("over")]);
}, 120_000);

test("what a test failed with once lives, and is not recorded", async () => {
  const mutant = ({ line }: Mutant): boolean => line.includes("left < right");
  expect(await fateOf(mutant)).toEqual([{ said: "lives", killer: null }]);
  expect(await fateOf(mutant, { file: "src/proxy/x.test.ts", test: "first, once" })).toEqual([
    { said: "lives", killer: null },
  ]);
}, 120_000);

test("a loop that does not end is told by its steps, and not by the time", async () => {
  expect(await fateOf(({ kind, line }) => kind === "guard" && line.includes("count === last"))).toEqual([
    killedBy("count"),
  ]);
}, 120_000);

test("a test that waits for ever shows nothing", async () => {
  const mutant = ({ kind, line }: Mutant): boolean => kind === "guard" && line.includes("resolve");
  expect(await fateOf(mutant, null, 50)).toEqual([{ said: "does not end", killer: null }]);
}, 120_000);

test("what ends the process twice is killed, by the test that was under way both times", async () => {
  const mutant = ({ kind, line }: Mutant): boolean => kind === "guard" && line.includes("left <= right");
  expect(await fateOf(mutant)).toEqual([killedBy("end")]);
  expect(await fateOf(mutant, { file: "src/proxy/x.test.ts", test: "end" })).toEqual([killedBy("end")]);
}, 120_000);

test("tests further away are asked about what the nearest do not notice, unless it may live", async () => {
  const mutant = ({ line }: Mutant): boolean => line.includes("left === right");
  expect(await fateOf(mutant)).toEqual([
    { said: "killed", killer: { file: "src/other/far.test.ts", test: "same" } },
  ]);
  expect(await fateOf(mutant, null, undefined, true)).toEqual([{ said: "no test reaches it", killer: null }]);
}, 120_000);
