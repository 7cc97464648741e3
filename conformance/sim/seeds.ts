/** Which seeds a run takes, and those that are kept because they failed once. */
import { join } from "node:path";

const keptPath = join(import.meta.dir, "seeds.json");

export interface RunOptions {
  readonly seeds: number;
  readonly first: number;
  /** Only this one. */
  readonly only: number | null;
  readonly verbose: boolean;
  /** Write down the seeds that fail. */
  readonly keep: boolean;
  /** Stop at the first seed in which one of these checkers finds something. */
  readonly until: readonly string[] | null;
  /** The first of the new seeds was drawn for this run. */
  readonly fresh: boolean;
  /** This process's share, `[index, count]`; null for the process that shares out. */
  readonly share: readonly [number, number] | null;
}

export const usage =
  "usage: bun conformance/sim/run.ts [--seeds=200] [--first=1] [--fresh] [--seed=N] [--verbose] [--no-keep] [--until=CHECKER,…]\n       bun conformance/sim/run.ts --mutants [--sample=N] [NAME …]";

/** `--seeds 200` is `--seeds=200`. */
export function joinValues(args: readonly string[]): readonly string[] {
  return args.flatMap((arg, index) => {
    if (/^\d+$/.test(arg) && /^--[a-z]+$/.test(args[index - 1] ?? "")) return [];
    const next = args[index + 1] ?? "";
    return [/^--[a-z]+$/.test(arg) && /^\d+$/.test(next) ? `${arg}=${next}` : arg];
  });
}

/** @returns null for what is none of the options. */
export function readOptions(args: readonly string[]): RunOptions | null {
  const known =
    /^--(?:(?:seeds|first|seed)=\d{1,15}|share=\d+\/[1-9]\d*|verbose|no-keep|fresh|until=[a-z,]+)$/;
  if (args.some((arg) => !known.test(arg))) return null;
  const text = (name: string) => args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const [index, count] = (text("share") ?? "").split("/").map(Number);
  return {
    seeds: Number(text("seeds") ?? 200),
    first: Number(text("first") ?? 1),
    only: text("seed") === undefined ? null : Number(text("seed")),
    verbose: args.includes("--verbose"),
    keep: !args.includes("--no-keep"),
    until: text("until")?.split(",") ?? null,
    fresh: args.includes("--fresh"),
    share: index === undefined || count === undefined ? null : [index, count],
  };
}

/** The kept ones first, then new ones. */
export async function chooseSeeds({ only, seeds, first, share }: RunOptions): Promise<readonly number[]> {
  if (only !== null) return [only];
  const kept = await readKept();
  const fresh = Array.from({ length: seeds }, (_, index) => first + index);
  const all = [...kept, ...fresh.filter((seed) => !kept.includes(seed))];
  return share === null ? all : all.filter((_, index) => index % share[1] === share[0]);
}

export async function keepSeeds(seeds: readonly number[]): Promise<void> {
  const kept = await readKept();
  const fresh = seeds.filter((seed) => !kept.includes(seed));
  if (fresh.length > 0) await Bun.write(keptPath, `${JSON.stringify([...kept, ...fresh])}\n`);
}

async function readKept(): Promise<readonly number[]> {
  const value: unknown = await Bun.file(keptPath).json();
  if (!Array.isArray(value) || !value.every((seed) => Number.isSafeInteger(seed)))
    throw new Error(`${keptPath} is not a list of seeds`);
  return value;
}
