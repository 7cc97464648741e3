/**
 * Runs in the copy, under `bun test` (for its `expect`), as long as the mutants last: runs the tests it is told, with one mutant on, and
 * says what came of it. Its parent decides which, and ends it when it hangs.
 */
import { test as bunTest } from "bun:test";
import { join } from "node:path";
import { type Registered, registering, type Scope } from "./mutation_bun_test.ts";

export interface Order {
  /** -1: the program as it is. */
  readonly mutant: number;
  /** Tests by file and place in it or name, -1 for all of the file. Waiting longer than its limit, a test does not end. */
  readonly tests: readonly (readonly [file: string, which: number | string, limitMs: number])[];
  /** Whether to end at the first that fails, and run that one again: without the mutant, and with it once more. */
  readonly untilFailure: boolean;
}

export interface Ran {
  readonly file: string;
  readonly index: number;
  readonly name: string;
  readonly failure: string | null;
  /** It did not end in its time, which is no failure: a busy machine does that as well. */
  readonly hung: boolean;
  /** It was stopped after `mostSteps`, which is a failure however busy the machine is. */
  readonly endless: boolean;
  readonly tookMs: number;
  /** Of the processor: what it costs, however busy the machine is. */
  readonly cpuMs: number;
  /** Mutants whose expression was evaluated, to another value than with the mutant where that can be told. */
  readonly reached: readonly number[];
}

/** Said before each test. */
export interface Begun {
  readonly file: string;
  readonly index: number;
  readonly name: string;
  readonly limitMs: number;
}

export interface Report {
  readonly ran: readonly Ran[];
  /** The test that failed fails without the mutant as well: this process is spoilt. */
  readonly spoilt: boolean;
  /** The test that failed did so with the mutant a second time. */
  readonly repeated: boolean;
  /** Mutants reached while files were loaded. */
  readonly loaded: readonly number[];
}

/** Switches that a test may come to, with a mutant or without: a loop that does not end comes to more. */
const mostSteps = 50_000_000;

let active = Number(process.env.MUTANT ?? -1);
let steps = 0;
const reached = new Uint8Array(Number(process.env.MUTANTS ?? 0) + 1);
Object.assign(globalThis, {
  /** `differs`: null where `$guard` tells. */
  $mutant: (id: number, differs?: (() => boolean) | null): boolean => {
    if (++steps > mostSteps) throw new Error(endless);
    if (active >= 0) return id === active;
    if (differs !== null && reached[id] === 0 && (differs === undefined || isTrueOrThrows(differs)))
      reached[id] = 1;
    return false;
  },
  /** A guard that lets everything pass is another one where it was to stop something. */
  $guard: <T>(id: number, value: T): T => {
    if (value) reached[id] = 1;
    return value;
  },
});

const endless = `more than ${mostSteps} steps`;

function isTrueOrThrows(differs: () => boolean): boolean {
  try {
    return differs();
  } catch {
    return true;
  }
}

let stray: unknown = null;
for (const event of ["unhandledRejection", "uncaughtException"])
  process.on(event, (error: unknown) => {
    stray = error ?? "an error";
  });

function takeReached(): number[] {
  const ids: number[] = [];
  for (let id = 0; id < reached.length; id++) if (reached[id] === 1) ids.push(id);
  reached.fill(0);
  return ids;
}

const files = new Map<string, readonly Registered[]>();
const loaded = new Set<number>();

async function testsOf(file: string): Promise<readonly Registered[]> {
  const known = files.get(file);
  if (known !== undefined) return known;
  takeReached();
  const found = await registering(() => import(join(import.meta.dir, "..", file)));
  for (const id of takeReached()) loaded.add(id);
  files.set(file, found);
  return found;
}

function scopesOf(scope: Scope | null): readonly Scope[] {
  return scope === null ? [] : [...scopesOf(scope.parent), scope];
}

class Session {
  readonly #entered: Scope[] = [];
  readonly #reachedBy = new Map<Scope, readonly number[]>();
  async run(file: string, index: number, limitMs: number, { name, scope, body }: Registered): Promise<Ran> {
    const scopes = scopesOf(scope);
    stray = null;
    steps = 0;
    const startedMs = performance.now();
    const usage = process.cpuUsage();
    let failure: string | null = null;
    let hung = false;
    try {
      const ended = await endsWithin(limitMs, async () => {
        for (const one of scopes) await this.#enter(one);
        takeReached();
        try {
          for (const one of scopes) for (const hook of one.beforeEach) await hook();
          await body();
        } finally {
          for (const one of [...scopes].reverse()) for (const hook of one.afterEach) await hook();
        }
      });
      hung = !ended;
      if (hung) failure = "it does not end";
    } catch (error) {
      failure = String(error).slice(0, 300);
    }
    if (stray !== null) failure ??= `unhandled: ${String(stray)}`.slice(0, 300);
    // Whatever came of it: the program may have caught what was thrown.
    const isEndless = steps > mostSteps;
    if (isEndless) failure = endless;
    const before = scopes.flatMap((one) => this.#reachedBy.get(one) ?? []);
    const tookMs = performance.now() - startedMs;
    const { user, system } = process.cpuUsage(usage);
    const cpuMs = (user + system) / 1_000;
    return {
      file,
      index,
      name,
      failure,
      hung: hung && !isEndless,
      endless: isEndless,
      tookMs,
      cpuMs,
      reached: [...new Set([...before, ...takeReached()])],
    };
  }

  async #enter(scope: Scope): Promise<void> {
    if (this.#entered.includes(scope)) return;
    this.#entered.push(scope);
    takeReached();
    for (const hook of scope.beforeAll) await hook();
    this.#reachedBy.set(scope, takeReached());
  }

  async end(): Promise<void> {
    for (const scope of this.#entered.reverse())
      for (const hook of scope.afterAll)
        try {
          await endsWithin(cleaningLimitMs, async () => hook());
        } catch {
          // What a broken program cannot clean up is not its test's failure.
        }
  }
}

const cleaningLimitMs = 5_000;

async function endsWithin(limitMs: number, work: () => Promise<unknown>): Promise<boolean> {
  let timer: Timer | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), limitMs);
  });
  const done = await Promise.race([work().then(() => true), late]);
  clearTimeout(timer);
  return done;
}

type Wanted = readonly [file: string, at: number, limitMs: number, test: Registered];

function sayBegun([file, index, limitMs, { name }]: Wanted): void {
  process.send?.({ file, index, name, limitMs } satisfies Begun);
}

function isFailure(ran: Ran | undefined): boolean {
  return ran !== undefined && ran.failure !== null && !ran.hung;
}

/** By itself, in a session of its own. */
async function once(wanted: Wanted): Promise<Ran> {
  sayBegun(wanted);
  const session = new Session();
  const ran = await session.run(...wanted);
  await session.end();
  return ran;
}

async function follow({ mutant, tests, untilFailure }: Order): Promise<Report> {
  const wanted: Wanted[] = [];
  for (const [file, which, limitMs] of tests)
    for (const [at, one] of (await testsOf(file)).entries())
      if (which === -1 || which === at || which === one.name) wanted.push([file, at, limitMs, one]);
  const ran: Ran[] = [];
  let spoilt = false;
  let repeated = false;
  const outer = active;
  active = mutant;
  const session = new Session();
  for (const one of wanted) {
    sayBegun(one);
    const result = await session.run(...one);
    ran.push(untilFailure ? { ...result, reached: [] } : result);
    if (result.failure !== null && untilFailure) break;
  }
  await session.end();
  active = outer;
  const last = wanted[ran.length - 1];
  if (untilFailure && outer < 0 && last !== undefined && isFailure(ran.at(-1))) {
    spoilt = (await once(last)).failure !== null;
    active = mutant;
    repeated = isFailure(await once(last));
    active = outer;
  }
  return { ran, spoilt, repeated, loaded: [...loaded] };
}

bunTest(
  "mutants",
  async () => {
    const orders: Order[] = [];
    let wake = (): void => {};
    process.on("message", (order: Order) => {
      orders.push(order);
      wake();
    });
    // Its parent was stopped.
    process.on("disconnect", () => process.exit(0));
    process.send?.("ready");
    for (;;) {
      const order = orders.shift();
      if (order === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      try {
        process.send?.(await follow(order));
      } catch (error) {
        process.send?.({ error: String(error) });
      }
    }
  },
  2 ** 31 - 1,
);
