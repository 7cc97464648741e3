/**
 * `npm run mutants -- [--sample 60] [--all] [--seed N] [--recorded] [--untried] [--record] [--again OUTPUT] [--by TEST …] [PATH …]`: breaks one guard,
 * comparison, label or return at a time in the folders that decide about trust and traffic, runs the nearest tests that reach it, and says
 * which mutants live. One that lives and is not in `mutants_kept.json` with its reason is a failure. Killed is what a test failed with,
 * passed without, and failed with a second time; a test that does not end shows nothing, and such mutants are counted by themselves.
 *
 * Which test noticed a mutant is kept by `--record` in `mutants_killed.json`, and tried first the next time. `--recorded` draws a sample
 * from those alone, another one each week: what fails then is a test that no longer notices what it did, and never a mutant that was never
 * tried. `--untried` is of those that are in neither list. Any other sample is another one each day, unless there is a seed. `--again`
 * tries those that an earlier run's output names. `--by` asks those tests alone, in seconds: what they do not notice, others may.
 */
import { readFileSync } from "node:fs";
import { cp, readFile, rename, symlink, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { findMutants, type Mutant, nameOf, readTree } from "./mutation.ts";
import { KilledRecord, weekOf } from "./mutation_record.ts";
import { type Fate, isKilled, Workshop } from "./mutation_workshop.ts";
import { scratchFolder } from "./scratch.ts";
import { formatTally } from "./tally.ts";

const root = join(import.meta.dir, "..");
const keptPath = join(import.meta.dir, "mutants_kept.json");
const killedPath = join(import.meta.dir, "mutants_killed.json");
const folders = [
  "src/policy/",
  "src/pki/",
  "src/proxy/",
  "src/agent/",
  "src/control/identity/",
  "src/control/ca/",
  "src/control/keys/",
];
const copied = ["src", "wasm", "scripts", "conformance", "docs", "examples", "package.json", "tsconfig.json"];

/** Names of mutants that live, and why that is accepted. */
type Kept = Readonly<Record<string, string>>;

/** A permutation that the seed decides (a linear congruence: Knuth, TAOCP 2, §3.2.1). */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  const result = [...items];
  let state = seed >>> 0;
  for (let index = result.length - 1; index > 0; index--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (index + 1));
    const [a, b] = [result[index], result[other]];
    if (a === undefined || b === undefined) continue;
    result[index] = b;
    result[other] = a;
  }
  return result;
}

function numberAfter(args: readonly string[], name: string): number | null {
  const index = args.findIndex((arg) => arg === `--${name}` || arg.startsWith(`--${name}=`));
  if (index < 0) return null;
  return Number(args[index]?.split("=")[1] ?? args[index + 1]);
}

function choose(
  all: readonly Mutant[],
  args: readonly string[],
  record: KilledRecord,
  kept: Kept,
): readonly Mutant[] {
  const again = args.indexOf("--again");
  if (again >= 0) {
    const output = readFileSync(args[again + 1] ?? "", "utf8").split("\n");
    return all.filter((mutant) =>
      output.some((line) => /^[✗?] /.test(line) && line.endsWith(`: ${nameOf(mutant)}`)),
    );
  }
  const paths = args.filter((arg) => arg.startsWith("src/") && !arg.endsWith(".test.ts"));
  const recorded = args.includes("--recorded");
  const untried = args.includes("--untried");
  const those = all.filter(
    (mutant) =>
      (paths.length === 0 || paths.some((part) => mutant.path.startsWith(part))) &&
      (!recorded || record.killerOf(mutant) !== null) &&
      (!untried || (record.killerOf(mutant) === null && kept[nameOf(mutant)] === undefined)),
  );
  const sample = numberAfter(args, "sample");
  if (args.includes("--all") || (paths.length > 0 && sample === null)) return those;
  const now = Date.now();
  const seed = numberAfter(args, "seed") ?? (recorded ? weekOf(now) : Math.floor(now / 86_400_000));
  console.log(`--seed ${seed}`);
  return shuffled(those, seed).slice(0, sample ?? 60);
}

class Results {
  readonly #kept: Kept;
  readonly #counts = new Map<string, { killed: number; endless: number; accepted: number; all: number }>();
  failed = 0;

  constructor(kept: Kept) {
    this.#kept = kept;
  }

  add(mutant: Mutant, fate: Fate): void {
    const name = nameOf(mutant);
    const folder = folders.find((one) => mutant.path.startsWith(one)) ?? "";
    const count = this.#counts.get(folder) ?? { killed: 0, endless: 0, accepted: 0, all: 0 };
    this.#counts.set(folder, count);
    count.all++;
    const reason = this.#kept[name];
    if (isKilled(fate)) {
      count.killed++;
      if (reason !== undefined) console.log(`! killed, and on the list of those that live: ${name}`);
      return;
    }
    if (reason !== undefined) count.accepted++;
    else if (fate.said === "does not end") count.endless++;
    else this.failed++;
    const mark = reason !== undefined ? "-" : fate.said === "does not end" ? "?" : "✗";
    console.log(`${mark} ${fate.said}: ${name}${reason ? ` (${reason})` : ""}`);
  }

  print(): void {
    for (const [folder, { killed, endless, accepted, all }] of [...this.#counts].sort())
      console.log(
        `${folder.padEnd(22)} ${String(killed).padStart(4)} of ${String(all).padStart(4)} killed (${((100 * killed) / all).toFixed(1)} %)` +
          `, ${accepted} live with a reason, ${all - killed - accepted - endless} live, ${endless} did not end`,
      );
  }
}

async function main(args: readonly string[]): Promise<number> {
  const by = args.filter((arg) => arg.endsWith(".test.ts"));
  const { sources, tests } = readTree(root);
  const tree = {
    sources,
    tests: new Map([...tests].filter(([path]) => by.length === 0 || by.includes(path))),
  };
  const all = [...tree.sources]
    .filter(([path]) => folders.some((folder) => path.startsWith(folder)))
    .flatMap(([path, text]) => findMutants(path, text));
  const kept: Kept = JSON.parse(await readFile(keptPath, "utf8"));
  const readRecord = async (): Promise<KilledRecord> =>
    new KilledRecord(JSON.parse(await readFile(killedPath, "utf8")));
  const record = await readRecord();
  const learnt: (readonly [Mutant, Fate])[] = [];
  const save = async (): Promise<void> => {
    if (!args.includes("--record")) return;
    // Another run may have written what it learnt.
    const latest = await readRecord();
    for (const [mutant, { killer }] of learnt)
      if (killer !== null || !args.includes("--by")) latest.set(mutant, killer);
    await writeFile(`${killedPath}.new`, `${JSON.stringify(latest.toFile(all), null, 2)}\n`);
    await rename(`${killedPath}.new`, killedPath);
  };
  const chosen = choose(all, args, record, kept);
  console.log(`${chosen.length} of ${all.length} mutants`);
  const names = new Set(all.map(nameOf));
  for (const name of Object.keys(kept))
    if (!names.has(name)) console.log(`! on the list, and in no file any more: ${name}`);
  const results = new Results(kept);
  const copy = scratchFolder("mutants");
  for (const path of copied) await cp(join(root, path), join(copy, path), { recursive: true });
  await symlink(join(root, "node_modules"), join(copy, "node_modules"));
  await writeFile(join(copy, "bunfig.toml"), "");
  const workshop = new Workshop(
    copy,
    tree,
    chosen,
    (mutant) => record.killerOf(mutant),
    undefined,
    (mutant) => kept[nameOf(mutant)] !== undefined,
  );
  await workshop.prepare();
  const workers = numberAfter(args, "workers") ?? Math.min(availableParallelism(), 4);
  let tried = 0;
  await workshop.tryAll(workers, async (mutant, fate) => {
    results.add(mutant, fate);
    learnt.push([mutant, fate]);
    if (++tried % 100 !== 0) return;
    console.log(`  ${tried} of ${chosen.length}`);
    await save();
  });
  await save();
  results.print();
  console.log(formatTally({ passed: chosen.length - results.failed, failed: results.failed, skipped: 0 }));
  return results.failed === 0 && chosen.length > 0 ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
