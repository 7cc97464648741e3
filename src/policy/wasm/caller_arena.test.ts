import { expect, test } from "bun:test";
import { ARENA, IDENTITY_ATOMS, IDENTITY_FLIPS } from "../../../wasm/assembly/layout.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { match, string } from "../testing/policy_fixtures.ts";
import { PolicyGenerator } from "../testing/policy_generator.ts";
import { type ArenaSection, CallerArena } from "./caller_arena.ts";
import { CallerIndex } from "./caller_index.ts";

/** A section of one rule per namespace, so that a caller has one atom and one flip where it is named. */
function section(ordinal: number, namespaces: readonly string[]): ArenaSection {
  const rules = namespaces.map((name) => [[match({ namespaces: [string(name)] })]]);
  return { ordinal, rules, callers: new CallerIndex(rules) };
}

const sections = [section(0, ["a", "b", "c"]), section(1, ["d", "c", "b", "a"]), section(2, ["b"])];
const ids = ["a", "b", "c", "d", "e"].map((namespace) => new SpiffeId("td", namespace, "x"));

/** What WebAssembly would read. */
function read(memory: Uint32Array, address: number): { atoms: number[]; flips: number } {
  const count = memory[(address + IDENTITY_ATOMS) / 4] ?? 0;
  const first = (address + IDENTITY_ATOMS) / 4 + 1;
  const set = memory[(address + IDENTITY_FLIPS) / 4] ?? 0;
  // A summary and a rank, then the only word.
  return {
    atoms: [...memory.subarray(first, first + count)],
    flips: set === 0 ? 0 : (memory[set / 4 + 4] ?? 0),
  };
}

function expected({ callers }: ArenaSection, id: SpiffeId | null): { atoms: number[]; flips: number } {
  const { atoms, flips } = callers.profile(id);
  return { atoms: [...atoms], flips: flips.reduce((bits, rule) => bits | (1 << rule), 0) };
}

test.each([
  ["with room for all", 100, 4_096],
  ["that is full after a few records", 100, 100],
  ["of few callers", 2, 4_096],
])("an arena %s hands out records that are right when they are handed out", (_, maxCallers, arenaBytes) => {
  const generator = new PolicyGenerator(7);
  const arena = new CallerArena(maxCallers, arenaBytes);
  const memory = new Uint32Array((ARENA + arenaBytes) / 4);
  for (let round = 0; round < 2_000; round++) {
    const at = generator.pick(sections);
    const id = generator.chance(0.2) ? null : generator.pick(ids);
    const address = arena.address(at, id, memory);
    expect(address).toBeGreaterThanOrEqual(ARENA);
    expect(read(memory, address)).toEqual(expected(at, id));
  }
});

test("a record is made once while there is room", () => {
  const arena = new CallerArena(100, 4_096);
  const memory = new Uint32Array(2_048);
  const [first = section(0, [])] = sections;
  const [id = null] = ids;
  const address = arena.address(first, id, memory);
  expect(arena.address(first, id, memory)).toBe(address);
  expect(arena.address(first, new SpiffeId("td", "a", "x"), memory)).toBe(address);
  expect(arena.address(first, null, memory)).not.toBe(address);
});

test("a record larger than the arena is refused", () => {
  const arena = new CallerArena(100, 24);
  const [first = section(0, [])] = sections;
  expect(arena.address(first, ids[0] ?? null, new Uint32Array(64))).toBe(0);
  expect(arena.address(first, ids[4] ?? null, new Uint32Array(64))).toBe(ARENA);
});
