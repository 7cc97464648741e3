/** Which seeds a run takes, and those that are kept because they failed once. */
import { join } from "node:path";

/** A seed, and how it is run. */
export interface Task {
  readonly seed: number;
  /** For liveness: see `liveness.ts`. */
  readonly liveness: boolean;
}

const keptPath = (liveness: boolean): string =>
  join(import.meta.dir, liveness ? "liveness_seeds.json" : "seeds.json");

/** Of the new seeds of a run, as many again for liveness. */
const livenessShare = 1 / 10;

export interface RunOptions {
  readonly seeds: number;
  readonly first: number;
  /** Only this one. */
  readonly only: number | null;
  /** All of them for liveness, rather than some. */
  readonly liveness: boolean;
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
  "usage: bun conformance/sim/run.ts [--seeds=200] [--first=1] [--fresh] [--seed=N] [--liveness] [--verbose] [--no-keep] [--until=CHECKER,…]\n       bun conformance/sim/run.ts --mutants [--sample=N] [NAME …]";

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
    /^--(?:(?:seeds|first|seed)=\d{1,15}|share=\d+\/[1-9]\d*|liveness|verbose|no-keep|fresh|until=[a-z,]+)$/;
  if (args.some((arg) => !known.test(arg))) return null;
  const text = (name: string) => args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const [index, count] = (text("share") ?? "").split("/").map(Number);
  return {
    seeds: Number(text("seeds") ?? 200),
    first: Number(text("first") ?? 1),
    only: text("seed") === undefined ? null : Number(text("seed")),
    liveness: args.includes("--liveness"),
    verbose: args.includes("--verbose"),
    keep: !args.includes("--no-keep"),
    until: text("until")?.split(",") ?? null,
    fresh: args.includes("--fresh"),
    share: index === undefined || count === undefined ? null : [index, count],
  };
}

/** The kept ones first, then new ones. */
export async function chooseTasks(options: RunOptions): Promise<readonly Task[]> {
  const { only, seeds, first, share, liveness } = options;
  if (only !== null) return [{ seed: only, liveness }];
  const all = [
    ...(liveness ? [] : await tasksOf(false, first, seeds)),
    ...(await tasksOf(true, first, liveness ? seeds : Math.ceil(seeds * livenessShare))),
  ];
  return share === null ? all : all.filter((_, index) => index % share[1] === share[0]);
}

async function tasksOf(liveness: boolean, first: number, count: number): Promise<readonly Task[]> {
  const kept = await readKept(liveness);
  const fresh = Array.from({ length: count }, (_, index) => first + index);
  return [...new Set([...kept, ...fresh])].map((seed) => ({ seed, liveness }));
}

export async function keepTasks(tasks: readonly Task[]): Promise<void> {
  for (const liveness of [false, true]) {
    const kept = await readKept(liveness);
    const failed = tasks.filter((task) => task.liveness === liveness).map(({ seed }) => seed);
    const all = [...new Set([...kept, ...failed])];
    if (all.length > kept.length) await Bun.write(keptPath(liveness), `${JSON.stringify(all)}\n`);
  }
}

async function readKept(liveness: boolean): Promise<readonly number[]> {
  const value: unknown = await Bun.file(keptPath(liveness)).json();
  if (!Array.isArray(value) || !value.every((seed) => Number.isSafeInteger(seed)))
    throw new Error(`${keptPath(liveness)} is not a list of seeds`);
  return value;
}
