/** A copy of the program with all the mutants in it, and processes that try them, one after the other. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Mutant, nearestTests, type Tree } from "./mutation.ts";
import type { Begun, Order, Ran, Report } from "./mutation_driver.ts";
import type { Killer } from "./mutation_record.ts";
import { type Numbered, withSwitches } from "./mutation_switches.ts";

export interface Fate {
  /**
   * `killed`: a test failed with it, passed without it, and failed with it again. `does not end`: the time ran out, from which nothing
   * follows, since a busy machine does the same.
   */
  readonly said: "killed" | "does not end" | "lives" | "no test reaches it";
  /** The test that failed, where one did. */
  readonly killer: Killer | null;
}

export function isKilled({ said }: Fate): boolean {
  return said === "killed";
}

const lives: Fate = { said: "lives", killer: null };
const endless: Fate = { said: "does not end", killer: null };
const unreached: Fate = { said: "no test reaches it", killer: null };

/** A test with a mutant in the program may take so many times as long as without, and the slack besides: only a hang reaches it. */
const slowerAtMost = 10;
/** What comes before a test and after it: to begin a process, load files, clean up. */
const aroundMs = 60_000;
/** One test of the program as it is. */
const baselineLimitMs = 120_000;
/** Slower tests have their own reasons; a mutant is looked for by quicker ones. */
const slowTestMs = 5_000;
/** Of a test that a record names, which was not timed here. */
const recordedLimitMs = 60_000;
/** So many files of tests are asked first. */
const nearestFiles = 6;
/** Tests that take so much of the processor are enough for one mutant. */
const enoughMs = 12_000;

/** `hung`: the test that kept the loop to itself until its process was ended, if one had begun. */
type Answer = Report | { readonly hung: Begun | null } | Ended;
/** `begun`: the test that was under way. */
type Ended = { readonly error: string; readonly begun?: Begun | null };
/** So many tests of one mutant may fail to end before it is left. */
const hungAtMost = 3;

/** One process that runs tests on demand. */
class Runner {
  readonly #copy: string;
  readonly #environment: Record<string, string>;
  #child: Bun.Subprocess | null = null;
  #answer: (answer: Answer | Begun | "ready") => void = () => {};
  #begun: Begun | null = null;

  constructor(copy: string, mutants: number, active: number | null) {
    this.#copy = copy;
    this.#environment = { MUTANTS: String(mutants), ...(active === null ? {} : { MUTANT: String(active) }) };
  }

  async ask(order: Order): Promise<Answer> {
    const child = this.#child ?? (await this.#start());
    const answer = await this.#next(() => child.send(order));
    if (typeof answer === "object" && "hung" in answer) await this.end();
    return answer === "ready" ? { error: "it began again" } : answer;
  }

  async #start(): Promise<Bun.Subprocess> {
    let started: Bun.Subprocess | null = null;
    await this.#next(() => {
      const child = Bun.spawn([process.execPath, "test", "./scripts/mutation_driver.test.ts"], {
        cwd: this.#copy,
        env: { ...process.env, ...this.#environment },
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
        ipc: (message) => {
          if (this.#child === child) this.#answer(message);
        },
        onExit: () => {
          if (this.#child !== child) return;
          this.#child = null;
          this.#answer({ error: "the process ended", begun: this.#begun });
        },
      });
      started = child;
      this.#child = child;
    });
    if (started === null) throw new Error("the runner did not start");
    return started;
  }

  #next(begin: () => void): Promise<Answer | "ready"> {
    this.#begun = null;
    return new Promise((resolve) => {
      let timer = setTimeout(() => resolve({ hung: null }), aroundMs);
      this.#answer = (answer) => {
        clearTimeout(timer);
        if (typeof answer === "string" || !("limitMs" in answer)) resolve(answer);
        else {
          this.#begun = answer;
          // A test that keeps the loop to itself is told from outside.
          timer = setTimeout(() => resolve({ hung: answer }), answer.limitMs + aroundMs / 10);
        }
      };
      begin();
    });
  }

  async end(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    child?.kill("SIGKILL");
    await child?.exited;
  }
}

export class Workshop {
  readonly #copy: string;
  readonly #tree: Tree;
  readonly #numbered: readonly Numbered[];
  /** What every test takes and reaches without a mutant. */
  readonly #baselines = new Map<string, Promise<readonly Ran[]>>();
  readonly #reachedByLoading = new Set<number>();
  /** How many each test has noticed, and how many of one file. */
  readonly #killers = new Map<string, number>();
  readonly #killerOf: (mutant: Mutant) => Killer | null;
  readonly #isAccepted: (mutant: Mutant) => boolean;
  readonly #slackMs: number;

  /** `killerOf`: the test that is tried first. `isAccepted`: that it lives has its reason, and only the nearest tests are asked. */
  constructor(
    copy: string,
    tree: Tree,
    chosen: readonly Mutant[],
    killerOf: (mutant: Mutant) => Killer | null,
    slackMs = 5_000,
    isAccepted: (mutant: Mutant) => boolean = () => false,
  ) {
    this.#isAccepted = isAccepted;
    this.#copy = copy;
    this.#slackMs = slackMs;
    this.#killerOf = killerOf;
    this.#tree = tree;
    this.#numbered = chosen.map((mutant, id) => ({ id, mutant }));
  }

  /** Puts switches into the copy's sources, and a register in the place of `bun:test`. */
  async prepare(): Promise<void> {
    for (const [path, text] of this.#tree.sources) {
      const those = this.#numbered.filter(({ mutant }) => mutant.path === path);
      if (those.length === 0) continue;
      await writeFile(join(this.#copy, path), withSwitches(text, those));
    }
    for (const folder of ["src", "conformance"])
      for (const name of await readdir(join(this.#copy, folder), { recursive: true })) {
        if (!name.endsWith(".ts")) continue;
        const path = join(this.#copy, folder, name);
        const text = await readFile(path, "utf8");
        if (!text.includes('from "bun:test"')) continue;
        const instead = JSON.stringify(join(this.#copy, "scripts/mutation_bun_test.ts"));
        await writeFile(path, text.replaceAll('from "bun:test"', `from ${instead}`));
      }
    const driver = join(this.#copy, "scripts/mutation_driver.ts");
    await writeFile(driver.replace(/\.ts$/, ".test.ts"), await readFile(driver, "utf8"));
  }

  async tryAll(workers: number, onFate: (mutant: Mutant, fate: Fate) => void | Promise<void>): Promise<void> {
    const queue = [...this.#numbered];
    const rest: { readonly one: Numbered; readonly nearest: Fate }[] = [];
    // To run the tests of a file without a mutant takes as long as many mutants: those further away are asked about what is left.
    const work = async (): Promise<void> => {
      const runner = new Runner(this.#copy, this.#numbered.length, null);
      for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
        const fate = await this.#tryFirst(runner, one);
        if (isKilled(fate) || this.#isAccepted(one.mutant)) await onFate(one.mutant, fate);
        else rest.push({ one, nearest: fate });
      }
      for (let next = rest.shift(); next !== undefined; next = rest.shift()) {
        const { one, nearest } = next;
        const further = await this.#try(runner, one, this.#files(one).slice(nearestFiles));
        const isTold = isKilled(further) || nearest.said === "no test reaches it";
        await onFate(one.mutant, isTold ? further : nearest);
      }
      await runner.end();
    };
    await Promise.all(Array.from({ length: workers }, work));
  }

  #timed({ file, index, tookMs }: Ran): Order["tests"][number] {
    return [file, index, tookMs * slowerAtMost + this.#slackMs];
  }

  #files({ mutant }: Numbered): readonly string[] {
    return nearestTests(this.#tree, mutant.path);
  }

  async #tryFirst(runner: Runner, one: Numbered): Promise<Fate> {
    const recorded = this.#killerOf(one.mutant);
    const fate = recorded === null ? null : await this.#byRecorded(runner, one, recorded);
    return fate ?? (await this.#try(runner, one, this.#files(one).slice(0, nearestFiles)));
  }

  async #try(runner: Runner, one: Numbered, files: readonly string[]): Promise<Fate> {
    const reached = await this.#tests(one, files, (ran) => ran.reached.includes(one.id), runner);
    const isLoading = this.#reachedByLoading.has(one.id);
    if (reached.length === 0 && !isLoading) return unreached;
    // What is made once, when files are loaded, is not made again with the mutant.
    if (reached.length === 0)
      return this.#alone(
        runner,
        one.id,
        (await this.#tests(one, files, () => true, runner)).map((ran) => this.#timed(ran)),
      );
    const tests = reached.map((ran) => this.#timed(ran));
    const answer = await runner.ask({ mutant: one.id, tests, untilFailure: true });
    if (!("ran" in answer)) {
      await runner.end();
      return this.#alone(runner, one.id, tests);
    }
    const last = answer.ran.at(-1);
    if (last === undefined || last.failure === null)
      return isLoading ? this.#alone(runner, one.id, tests) : lives;
    if (!answer.repeated || answer.spoilt || last.endless) await runner.end();
    if (!answer.repeated || answer.spoilt) return this.#alone(runner, one.id, tests);
    for (const key of [keyOf(last), `${keyOf(last)} ${one.mutant.path}`])
      this.#killers.set(key, (this.#killers.get(key) ?? 0) + 1);
    return killedBy(last);
  }

  /** `null` where that test, by itself, does not notice it: then all that are near are asked. */
  async #byRecorded(runner: Runner, { id }: Numbered, { file, test }: Killer): Promise<Fate | null> {
    const tests = [[file, test, recordedLimitMs]] as const;
    const answer = await runner.ask({ mutant: id, tests, untilFailure: true });
    if ("ran" in answer) {
      for (const loaded of answer.loaded) this.#reachedByLoading.add(loaded);
      const last = answer.ran.at(-1);
      if (last === undefined) return null;
      if (last.endless) await runner.end();
      if (answer.repeated && !answer.spoilt) return killedBy(last);
      if (last.failure === null && !this.#reachedByLoading.has(id)) return null;
    }
    await runner.end();
    const fate = await this.#alone(runner, id, tests);
    return isKilled(fate) ? fate : null;
  }

  /**
   * In a process of its own, with the mutant there from the start: nothing that an earlier one left behind has a part in it. A test that
   * does not end, or does not fail again, is left out, and the others are asked.
   */
  async #alone(runner: Runner, id: number, tests: Order["tests"]): Promise<Fate> {
    if (tests.length === 0) return unreached;
    let rest = tests;
    for (let hung = 0; hung < hungAtMost && rest.length > 0; ) {
      const first = await this.#inOwnProcess(id, rest);
      if ("error" in first) return await this.#ended(runner, id, rest, first);
      const last = "ran" in first ? first.ran.at(-1) : first.hung;
      if (last === null) return endless;
      if (last === undefined) return lives;
      const isHung = !("ran" in first) || first.ran.at(-1)?.hung === true;
      if ("failure" in last && !isHung) {
        if (last.failure === null) return hung > 0 ? endless : lives;
        if (await this.#isRepeated(runner, id, last)) return killedBy(last);
      }
      if (isHung) hung++;
      rest = rest.filter(
        ([file, which]) =>
          file !== last.file || (which !== last.index && !("name" in last && which === last.name)),
      );
      if (rest.length === 0) return isHung ? endless : lives;
    }
    return endless;
  }

  /** It ended the process: killed if it does so again, by a test that is known if it was the same one. */
  async #ended(runner: Runner, id: number, tests: Order["tests"], first: Ended): Promise<Fate> {
    const without = await runner.ask({ mutant: -1, tests, untilFailure: false });
    if (!("ran" in without) || without.ran.some(({ failure }) => failure !== null)) return lives;
    const again = await this.#inOwnProcess(id, tests);
    if (!("error" in again)) return lives;
    const { begun = null } = first;
    const isSame = begun !== null && begun.file === again.begun?.file && begun.index === again.begun.index;
    return isSame ? killedBy(begun) : { ...lives, said: "killed" };
  }

  async #inOwnProcess(id: number, tests: Order["tests"]): Promise<Answer> {
    const runner = new Runner(this.#copy, this.#numbered.length, id);
    const answer = await runner.ask({ mutant: id, tests, untilFailure: true });
    await runner.end();
    return answer;
  }

  /** Whether it passes without the mutant, and fails with it once more. */
  async #isRepeated(runner: Runner, id: number, failed: Ran): Promise<boolean> {
    const tests = [[failed.file, failed.index, recordedLimitMs]] as const;
    const without = await runner.ask({ mutant: -1, tests, untilFailure: false });
    if (!("ran" in without) || without.ran.at(-1)?.failure !== null) return false;
    const again = await this.#inOwnProcess(id, tests);
    const last = "ran" in again ? again.ran.at(-1) : undefined;
    return last !== undefined && last.failure !== null && !last.hung;
  }

  /** The nearest tests that pass without a mutant: first those that have noticed others, then the quickest. */
  async #tests(
    { mutant }: Numbered,
    files: readonly string[],
    wanted: (ran: Ran) => boolean,
    runner: Runner,
  ): Promise<readonly Ran[]> {
    const found: Ran[] = [];
    for (const file of files) {
      const ran = await this.#baseline(file, runner);
      found.push(...ran.filter((one) => one.failure === null && one.cpuMs < slowTestMs && wanted(one)));
    }
    const noticed = (one: Ran): number =>
      (this.#killers.get(keyOf(one)) ?? 0) + 10 * (this.#killers.get(`${keyOf(one)} ${mutant.path}`) ?? 0);
    const own = mutant.path.replace(/\.ts$/, ".test.ts");
    const cost = (one: Ran): number => one.cpuMs / (1 + noticed(one) + (one.file === own ? 5 : 0));
    found.sort((a, b) => cost(a) - cost(b));
    let sumMs = 0;
    return found.filter(({ cpuMs }) => {
      sumMs += cpuMs;
      return sumMs < enoughMs;
    });
  }

  #baseline(file: string, runner: Runner): Promise<readonly Ran[]> {
    const known = this.#baselines.get(file);
    if (known !== undefined) return known;
    const made = this.#runBaseline(file, runner);
    this.#baselines.set(file, made);
    return made;
  }

  async #runBaseline(file: string, runner: Runner): Promise<readonly Ran[]> {
    const answer = await runner.ask({
      mutant: -1,
      tests: [[file, -1, baselineLimitMs]],
      untilFailure: false,
    });
    if (!("ran" in answer)) {
      await runner.end();
      console.log(`! ${file} cannot be used: ${"error" in answer ? answer.error : "it does not end"}`);
      return [];
    }
    for (const { name, failure } of answer.ran)
      if (failure !== null) console.log(`! ${file}: "${name}" fails without a mutant: ${failure}`);
    for (const id of answer.loaded) this.#reachedByLoading.add(id);
    return answer.ran;
  }
}

function keyOf({ file, index }: Ran): string {
  return `${file} ${index}`;
}

function killedBy({ file, name }: Pick<Ran, "file" | "name">): Fate {
  return { said: "killed", killer: { file, test: name } };
}
