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
  return { ordinal, rules, callers: CallerIndex.of(rules) };
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

test("as many callers as may be have their records, and one more begins again", () => {
  const arena = new CallerArena(2, 4_096);
  const memory = new Uint32Array((ARENA + 4_096) / 4);
  const [first = section(0, [])] = sections;
  const at = (index: number) => arena.address(first, ids[index] ?? null, memory);
  const [one, two] = [at(0), at(1)];
  expect([one, two > ARENA, at(0), at(1)]).toEqual([ARENA, true, one, two]);
  expect([at(2), at(0)]).toEqual([ARENA, two]);
});

test("records fill the arena to its last byte, and one byte less begins again", () => {
  const [first = section(0, [])] = sections;
  const placed = (bytes: number): readonly number[] => {
    const arena = new CallerArena(100, bytes);
    const memory = new Uint32Array((ARENA + 4_096) / 4);
    return [0, 1, 2].map((index) => arena.address(first, ids[index] ?? null, memory) - ARENA);
  };
  const [, size = 0, both = 0] = placed(4_096);
  expect([size > 0, both]).toEqual([true, 2 * size]);
  expect(placed(2 * size).slice(0, 2)).toEqual([0, size]);
  expect(placed(2 * size - 4).slice(0, 2)).toEqual([0, 0]);
  expect(placed(size)).toEqual([0, 0, 0]);
  expect(placed(size - 4)).toEqual([-ARENA, -ARENA, -ARENA]);
});
