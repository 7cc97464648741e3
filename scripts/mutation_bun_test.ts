/**
 * In the place of `bun:test` in the copy that mutants are tried in: what a test file registers is kept, so that any of its tests can be
 * run again and again in one process. `expect` is Bun's own.
 */
import { expect as bunExpect } from "bun:test";

export const expect = bunExpect;

type Body = () => unknown;

export interface Scope {
  readonly parent: Scope | null;
  readonly beforeAll: Body[];
  readonly afterAll: Body[];
  readonly beforeEach: Body[];
  readonly afterEach: Body[];
}

export interface Registered {
  readonly name: string;
  readonly scope: Scope;
  readonly body: Body;
}

function scopeIn(parent: Scope | null): Scope {
  return { parent, beforeAll: [], afterAll: [], beforeEach: [], afterEach: [] };
}

let scope = scopeIn(null);
let path: readonly string[] = [];
let registered: Registered[] = [];

/** What the modules register that `load` imports. */
export async function registering(load: () => Promise<unknown>): Promise<readonly Registered[]> {
  registered = [];
  scope = scopeIn(null);
  await load();
  return registered;
}

function formatted(name: string, row: readonly unknown[]): string {
  let index = 0;
  return name.replace(/%[a-z%]/g, (mark) => (mark === "%%" ? "%" : String(row[index++])));
}

function eachOf(register: (name: string, body: Body) => void) {
  return (rows: readonly unknown[]) => (name: string, body: (...row: unknown[]) => unknown) => {
    for (const row of rows) {
      const values = Array.isArray(row) ? row : [row];
      register(formatted(name, values), () => body(...values));
    }
  };
}

function add(name: string, body: Body): void {
  registered.push({ name: [...path, name].join(" › "), scope, body });
}

function group(name: string, body: Body): void {
  const outside = scope;
  const above = path;
  scope = scopeIn(outside);
  path = [...path, name];
  body();
  scope = outside;
  path = above;
}

const nothing = (): void => {};

export const test = Object.assign((name: string, body: Body) => add(name, body), {
  each: eachOf(add),
  skip: nothing,
  skipIf: (skipped: boolean) => (skipped ? nothing : add),
  if: (wanted: boolean) => (wanted ? add : nothing),
});
export const it = test;
export const describe = Object.assign(group, {
  each: eachOf(group),
  skip: nothing,
  skipIf: (skipped: boolean) => (skipped ? nothing : group),
});
export const beforeAll = (body: Body): number => scope.beforeAll.push(body);
export const afterAll = (body: Body): number => scope.afterAll.push(body);
export const beforeEach = (body: Body): number => scope.beforeEach.push(body);
export const afterEach = (body: Body): number => scope.afterEach.push(body);
export const setDefaultTimeout = nothing;
