/**
 * `bun:test` for other runtimes, as far as the tests of the pure folders use it: files register their tests while they are imported, and
 * `runRegistered` runs them one after the other. `expect` is Jest's, with the matchers that Bun adds.
 */
interface JestExpect {
  (got: unknown): unknown;
  extend(matchers: Readonly<Record<string, unknown>>): void;
}

// It is installed beside the other runtimes, where the compiler does not look.
const installed = "expect";
const jestExpect: JestExpect = (await import(installed)).expect;

type Work = () => unknown;

interface Group {
  readonly name: string;
  readonly parent: Group | null;
  readonly skipped: boolean;
  readonly before: Work[];
  readonly after: Work[];
  readonly beforeEach: Work[];
  readonly afterEach: Work[];
  readonly members: (Group | Registered)[];
}

interface Registered {
  readonly name: string;
  readonly work: Work;
  readonly skipped: boolean;
}

function group(name: string, parent: Group | null, skipped: boolean): Group {
  const lists = { before: [], after: [], beforeEach: [], afterEach: [], members: [] };
  return { name, parent, skipped, ...lists };
}

let current = group("", null, false);

function addGroup(name: string, body: () => void, skipped: boolean): void {
  const outer = current;
  current = group(name, outer, skipped);
  outer.members.push(current);
  try {
    body();
  } finally {
    current = outer;
  }
}

function addTest(name: string, work: Work, skipped: boolean): void {
  current.members.push({ name, work, skipped });
}

/** `%s`, `%p`, `%d` and so on, each by one of the values; `$name` by a member of the only one. */
function titleOf(name: string, values: readonly unknown[]): string {
  let at = 0;
  return name.replace(/%[spdifjo]/g, () => String(values[at++]));
}

interface Adder {
  (name: string, body: () => unknown, limit?: unknown): void;
  skip(name: string, body?: () => unknown, limit?: unknown): void;
  skipIf(condition: unknown): (name: string, body: () => unknown, limit?: unknown) => void;
  each(
    rows: readonly unknown[],
  ): (name: string, body: (...values: never[]) => unknown, limit?: unknown) => void;
}

function adder(add: (name: string, body: () => unknown, skipped: boolean) => void): Adder {
  const one = (name: string, body: () => unknown): void => add(name, body, false);
  return Object.assign(one, {
    skip: (name: string) => add(name, () => {}, true),
    skipIf: (condition: unknown) => (name: string, body: () => unknown) =>
      add(name, body, Boolean(condition)),
    each: (rows: readonly unknown[]) => (name: string, body: (...values: never[]) => unknown) => {
      for (const row of rows) {
        const values = Array.isArray(row) ? row : [row];
        add(titleOf(name, values), () => body(...(values as never[])), false);
      }
    },
  });
}

export const test = adder(addTest);
export const it = test;
export const describe = adder((name, body, skipped) => addGroup(name, body as () => void, skipped));
export const beforeAll = (work: Work): void => void current.before.push(work);
export const afterAll = (work: Work): void => void current.after.push(work);
export const beforeEach = (work: Work): void => void current.beforeEach.push(work);
export const afterEach = (work: Work): void => void current.afterEach.push(work);
export const setDefaultTimeout = (): void => {};

const is = (pass: boolean, said: string) => ({ pass, message: () => said });
jestExpect.extend({
  toStartWith: (got: unknown, start: string) =>
    is(String(got).startsWith(start), `${got} to start with ${start}`),
  toEndWith: (got: unknown, end: string) => is(String(got).endsWith(end), `${got} to end with ${end}`),
  toBeWithin: (got: unknown, from: number, to: number) =>
    is(Number(got) >= from && Number(got) < to, `${got} to be from ${from} to below ${to}`),
  toBeObject: (got: unknown) => is(typeof got === "object" && got !== null, `${got} to be an object`),
  toBeBoolean: (got: unknown) => is(typeof got === "boolean", `${got} to be a boolean`),
  toBeString: (got: unknown) => is(typeof got === "string", `${got} to be a string`),
  toBeNumber: (got: unknown) => is(typeof got === "number", `${got} to be a number`),
  toBeTrue: (got: unknown) => is(got === true, `${got} to be true`),
  toBeFalse: (got: unknown) => is(got === false, `${got} to be false`),
  toBeEmpty: (got: unknown) => is(Object.keys(got as object).length === 0, `${got} to be empty`),
  toBeArrayOfSize: (got: unknown, size: number) =>
    is(Array.isArray(got) && got.length === size, `${got} to be an array of ${size}`),
  toBeArray: (got: unknown) => is(Array.isArray(got), `${got} to be an array`),
});
/** Bun's takes a second argument, what a failure is called. */
const withName = (got: unknown, _name?: string) => jestExpect(got);
export const expect = Object.assign(withName, jestExpect, {
  unreachable: (said: unknown): never => {
    throw new Error(`not to be reached: ${said}`);
  },
});

export interface Outcome {
  passed: number;
  skipped: number;
  readonly failures: { readonly name: string; readonly error: unknown }[];
}

/** Parts of the names of tests that are not to run here. */
let leftOut: readonly string[] = [];

/** All that was registered since the last call. */
export async function runRegistered(without: readonly string[] = []): Promise<Outcome> {
  leftOut = without;
  const outcome: Outcome = { passed: 0, skipped: 0, failures: [] };
  const whole = current;
  current = group("", null, false);
  await runGroup(whole, [], false, outcome);
  return outcome;
}

async function runGroup(
  of: Group,
  path: readonly Group[],
  isSkipped: boolean,
  outcome: Outcome,
): Promise<void> {
  const skipped = isSkipped || of.skipped;
  const inside = [...path, of];
  const name = (test: string): string => [...inside.slice(1).map((each) => each.name), test].join(" > ");
  try {
    if (!skipped) for (const work of of.before) await work();
    for (const member of of.members) {
      if ("members" in member) await runGroup(member, inside, skipped, outcome);
      else if (skipped || member.skipped || leftOut.some((part) => member.name.includes(part)))
        outcome.skipped++;
      else await runTest(member, name(member.name), inside, outcome);
    }
    if (!skipped) for (const work of of.after) await work();
  } catch (error) {
    outcome.failures.push({ name: name("before or after all"), error });
  }
}

async function runTest(
  test: Registered,
  name: string,
  path: readonly Group[],
  outcome: Outcome,
): Promise<void> {
  try {
    for (const { beforeEach: works } of path) for (const work of works) await work();
    try {
      await test.work();
    } finally {
      for (const { afterEach: works } of [...path].reverse()) for (const work of works) await work();
    }
    outcome.passed++;
  } catch (error) {
    outcome.failures.push({ name, error });
  }
}
