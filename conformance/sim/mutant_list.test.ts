import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { awaitMutants } from "./awaits/mutant_list.ts";
import { livenessMutants } from "./liveness_mutants.ts";
import { mutants as seedMutants } from "./mutant_list.ts";

const mutants = [...seedMutants, ...livenessMutants, ...awaitMutants];

const root = join(import.meta.dir, "..", "..");

test("every mutant of the simulator applies to the program as it is: whoever changes those lines moves the mutant along", () => {
  const stale = mutants.filter(
    ({ file, from }) => readFileSync(join(root, file), "utf8").split(from).length !== 2,
  );
  expect(stale.map(({ name, file }) => `${file}: ${name}`)).toEqual([]);
  expect(new Set(mutants.map(({ name }) => name)).size).toBe(mutants.length);
});
