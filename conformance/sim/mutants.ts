/**
 * `npm run sim -- --mutants [--sample=N] [NAME …]`: breaks a copy of the program on purpose, once for each entry of `mutant_list.ts`,
 * and says which seed notices and by which checker. A mutant that lives is a hole in the simulator, and so is one that only another
 * checker than its own notices, or one that takes too long.
 */
import { cp, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { scratchFolder } from "../../scripts/scratch.ts";
import { awaitMutants } from "./awaits/mutant_list.ts";
import { livenessMutants } from "./liveness_mutants.ts";
import { type Mutant, mutants as seedMutants } from "./mutant_list.ts";

const root = join(import.meta.dir, "..", "..");
const mutants: readonly Mutant[] = [...seedMutants, ...livenessMutants, ...awaitMutants];
const copied = [
  "src",
  "wasm",
  "scripts",
  "conformance/sim",
  "conformance/flows",
  "package.json",
  "tsconfig.json",
];
const seedLimitMs = 120_000;
const searchLimitMs = 400_000;

interface Fate {
  readonly killed: boolean;
  readonly text: string;
}

/** What one run of the simulator says: null when it was stopped. */
interface Noticed {
  readonly seed: number;
  readonly checkers: readonly string[];
}

async function simulate(
  copy: string,
  trips: readonly string[],
  args: readonly string[],
  limitMs: number,
): Promise<Noticed | null | "timed out"> {
  const child = Bun.spawn([process.execPath, "conformance/sim/run.ts", "--no-keep", ...args], {
    cwd: copy,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    timeout: limitMs,
  });
  const output = await new Response(child.stdout).text();
  await child.exited;
  if (child.signalCode !== null) return "timed out";
  // Each failed seed with its findings; two processes may have found one each.
  const parts = output.split(/^(?=seed \d+ failed)/m).filter((part) => part.startsWith("seed "));
  const found = parts.map((part) => ({
    seed: Number(/^seed (\d+)/.exec(part)?.[1]),
    checkers: [...new Set([...part.matchAll(/^ {2}✗ ([a-z]+):/gm)].map((match) => match[1] ?? ""))],
  }));
  return found.find(({ checkers }) => checkers.some((one) => trips.includes(one))) ?? found[0] ?? null;
}

function judge({ trips }: Mutant, noticed: Noticed): Fate {
  const by = noticed.checkers.filter((checker) => trips.includes(checker));
  const others = noticed.checkers.filter((checker) => !trips.includes(checker));
  const more = others.length === 0 ? "" : ` (and ${others.join(", ")})`;
  return by.length > 0
    ? { killed: true, text: `killed by seed ${noticed.seed}: ${by.join(", ")}${more}` }
    : {
        killed: false,
        text: `noticed by seed ${noticed.seed}, but by ${others.join(", ")}, not by ${trips.join(" or ")}`,
      };
}

/** One event at every place of one flow, until a place is found at which it is noticed. */
async function tryAwaits(
  copy: string,
  { trips }: Mutant,
  { flow, event }: { readonly flow: string; readonly event: string },
): Promise<Fate> {
  const args = [`--flow=${flow}`, `--event=${event}`, `--until=${trips.join(",")}`];
  const child = Bun.spawn([process.execPath, "conformance/sim/awaits/run.ts", ...args], {
    cwd: copy,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "ignore",
    timeout: searchLimitMs,
  });
  const output = await new Response(child.stdout).text();
  await child.exited;
  if (child.signalCode !== null) return { killed: false, text: "timed out" };
  const found = [...output.matchAll(/^ {2}✗ ([a-z]+): .* \((step \d+, \w+, turn \d+)\)$/gm)];
  const [, checker, place] = found.find(([, word = ""]) => trips.includes(word)) ?? [];
  if (checker !== undefined)
    return { killed: true, text: `killed by ${checker} in ${flow}: ${event} at ${place}` };
  const [other] = found;
  return {
    killed: false,
    text: other === undefined ? "lives" : `noticed, but by ${other[1]}, not by ${trips.join(" or ")}`,
  };
}

async function tryIn(copy: string, mutant: Mutant): Promise<Fate> {
  const path = join(copy, mutant.file);
  const text = await readFile(path, "utf8");
  if (text.split(mutant.from).length !== 2) return { killed: false, text: "does not apply" };
  await writeFile(
    path,
    text.replace(mutant.from, () => mutant.to),
  );
  try {
    if (mutant.at !== undefined) return await tryAwaits(copy, mutant, mutant.at);
    const { seed = null } = mutant;
    const how = mutant.liveness === true ? ["--liveness"] : [];
    const known =
      seed === null ? null : await simulate(copy, mutant.trips, [`--seed=${seed}`, ...how], seedLimitMs);
    if (known === "timed out") return { killed: false, text: `seed ${seed} timed out` };
    if (known !== null && judge(mutant, known).killed) return judge(mutant, known);
    // Seeds change what they draw when the simulator changes: another one has to do it then.
    const until = `--until=${mutant.trips.join(",")}`;
    const found = await simulate(copy, mutant.trips, ["--seeds=300", until, ...how], searchLimitMs);
    if (found === "timed out") return { killed: false, text: "timed out" };
    if (found === null) return { killed: false, text: "lives" };
    const fate = judge(mutant, found);
    return { ...fate, text: `${fate.text} (the list says ${seed ?? "none"})` };
  } finally {
    await writeFile(path, text);
  }
}

/** Of those whose seed is known, another part each day, all of them in turn: quick enough for every run of CI. */
function sampleOf(count: number): readonly Mutant[] {
  const day = Math.floor(Date.now() / 86_400_000);
  const known = mutants.filter(({ seed, at }) => at !== undefined || (seed ?? null) !== null);
  return Array.from(
    { length: Math.min(count, known.length) },
    (_, index) => known[(day * count + index) % known.length],
  ).filter((mutant) => mutant !== undefined);
}

/** @returns the exit code. */
export async function runMutants(args: readonly string[]): Promise<number> {
  const sample = args.find((arg) => arg.startsWith("--sample="))?.slice("--sample=".length);
  const names = args.filter((arg) => !arg.startsWith("--"));
  const chosen = (sample === undefined ? mutants : sampleOf(Number(sample))).filter(
    ({ name }) => names.length === 0 || names.some((part) => name.includes(part)),
  );
  const copy = scratchFolder("mutant");
  let passed = 0;
  for (const path of copied) await cp(join(root, path), join(copy, path), { recursive: true });
  await symlink(join(root, "node_modules"), join(copy, "node_modules"));
  for (const mutant of chosen) {
    const { killed, text } = await tryIn(copy, mutant);
    if (killed) passed++;
    console.log(`${killed ? "✓" : "✗"} ${mutant.name.padEnd(75)} ${text}`);
  }
  console.log(`${passed} passed, ${chosen.length - passed} failed`);
  return passed === chosen.length && chosen.length > 0 ? 0 : 1;
}
