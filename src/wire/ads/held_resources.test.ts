/** Who comes back is told the same as by a plain comparison of names and versions, however it writes what it holds. */
import { describe, expect, test } from "bun:test";
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { runSteps } from "../../base/turns/time_slice.ts";
import { deltaRequestCodec } from "../grpc/delta_request.ts";
import { DeltaDiscoveryRequestSchema } from "../messages/envoy_discovery.gen.ts";
import type { HeldEntries, HeldEntry } from "../messages/held_entries.ts";
import { EntryIndex } from "./entry_index.ts";
import { HeldResources } from "./held_resources.ts";
import { ResourceSet } from "./resource_set.ts";

const typeUrl = "test";

function setOf(resources: readonly HeldEntry[]): ResourceSet {
  const set = new ResourceSet(typeUrl);
  apply(set, resources);
  return set;
}

function apply(set: ResourceSet, upsert: readonly HeldEntry[], remove: readonly string[] = []): void {
  set.apply(
    upsert.map(([name, version]) => ({ name, version, value: new Uint8Array() })),
    remove,
  );
}

/** As they come by wire, read in steps; of two with one name the last counts. */
function entriesOf(held: readonly HeldEntry[]): HeldEntries {
  const parts = held.map(([name, version]) =>
    toBinary(
      DeltaDiscoveryRequestSchema,
      create(DeltaDiscoveryRequestSchema, { initialResourceVersions: { [name]: version } }),
    ),
  );
  const steps = deltaRequestCodec.decodeInSteps?.(Uint8Array.from(parts.flatMap((part) => [...part])));
  const entries = steps === undefined ? undefined : runSteps(steps).heldEntries;
  if (entries === undefined) throw new Error("they were not read in steps");
  return entries;
}

interface Told {
  readonly lacks: readonly string[];
  readonly gone: readonly string[];
}

function told(held: HeldResources, set: ResourceSet): Told {
  const lacks = held.lacksOf(set).map(({ name, version }) => `${name}@${version}`);
  return { lacks: lacks.sort(), gone: [...(held.goneFrom(set) ?? ["begin again"])].sort() };
}

/** @param cameBack names that were not there when the look was: what is there of them now is sent, held or not. */
function toldPlainly(held: readonly HeldEntry[], set: ResourceSet, cameBack: readonly string[] = []): Told {
  const versions = new Map(held);
  for (const name of cameBack) if (set.get(name) !== undefined) versions.delete(name);
  const lacks = [...set.all()].filter(({ name, version }) => versions.get(name) !== version);
  return {
    lacks: lacks.map(({ name, version }) => `${name}@${version}`).sort(),
    gone: [...versions.keys()].filter((name) => set.get(name) === undefined).sort(),
  };
}

const names = ["a", "b", "c", "é", "x".repeat(127), "x".repeat(128), "y".repeat(300), "d"];
const entry = fc.tuple(
  fc.constantFrom(...names),
  fc.constantFrom("1", "2", "v".repeat(127), "v".repeat(128)),
);
const entries = fc.array(entry, { maxLength: 12 });

describe("what is held of a set", () => {
  test("is told as by names and versions, also when the set changes after the look", () => {
    fc.assert(
      fc.property(
        entries,
        entries,
        entries,
        fc.subarray(names),
        fc.boolean(),
        (there, held, upsert, remove, isEarly) => {
          const set = setOf(there);
          const looking = HeldResources.look(set, entriesOf(held));
          // The index is made at the first step, and what comes after that is not in it.
          if (isEarly) apply(set, upsert, remove);
          const looked = runSteps(looking);
          const { gone } = toldPlainly(held, set);
          expect(told(looked, set)).toEqual(toldPlainly(held, set));
          if (!isEarly) apply(set, upsert, remove);
          expect(told(looked, set)).toEqual(toldPlainly(held, set, gone));
          if (looked.isAllOf(set)) expect(told(looked, set)).toEqual({ lacks: [], gone: [] });
        },
      ),
      { numRuns: 500 },
    );
  });

  test("is right when the set changes between two steps of the look", () => {
    const all = Array.from({ length: 2_000 }, (_, at): HeldEntry => [`name-${at}`, "1"]);
    const held: readonly HeldEntry[] = [...all, ["name-0", "0"], ["other", "1"]];
    for (const stopAfter of [1, 3, 5, 7]) {
      const set = setOf(all);
      const looking = HeldResources.look(set, entriesOf(held));
      for (let step = 0; step < stopAfter; step++) expect(looking.next().done).toBe(false);
      apply(
        set,
        [
          ["name-1", "2"],
          ["name-1999", "2"],
          ["other", "1"],
        ],
        ["name-2", "name-1998"],
      );
      apply(set, [["name-1", "1"]]);
      const looked = runSteps(looking);
      expect(told(looked, set)).toEqual(toldPlainly(held, set));
      expect(looked.isAllOf(set)).toBe(false);
    }
  });

  test("all of it and no more is known as such, and is no longer after a change", () => {
    const all = Array.from({ length: 1_000 }, (_, at): HeldEntry => [`name-${at}`, `version-${at}`]);
    const set = setOf(all);
    const look = (held: readonly HeldEntry[]) => runSteps(HeldResources.look(set, entriesOf(held)));
    expect(look(all).isAllOf(set)).toBe(true);
    expect(look([...all, ...all.slice(0, 10)]).isAllOf(set)).toBe(true);
    expect(look(all.slice(1)).isAllOf(set)).toBe(false);
    expect(look([...all.slice(1), ...all.slice(1, 2)]).isAllOf(set)).toBe(false);
    expect(look([...all, ["gone", "1"]]).isAllOf(set)).toBe(false);
    expect(look([...all, ["name-3", "0"]]).isAllOf(set)).toBe(false);
    const before = look(all);
    apply(set, [], ["name-5"]);
    expect(before.isAllOf(set)).toBe(false);
    expect(told(before, set)).toEqual({ lacks: [], gone: ["name-5"] });
  });

  test("is not known any more when the set has forgotten what changed since", () => {
    const set = new ResourceSet(typeUrl, 4);
    apply(set, [["a", "1"]]);
    const looked = runSteps(HeldResources.look(set, entriesOf([["a", "1"]])));
    for (let version = 2; version < 20; version++) apply(set, [["a", `${version}`]]);
    expect(looked.goneFrom(set)).toBeNull();
  });
});

describe("an index of entries", () => {
  const placeOf = (
    index: EntryIndex<{ readonly name: string; readonly version: string }>,
    entry: HeldEntry,
  ) => entriesOf([entry]).findIn(index, 0);

  test("finds what has that name in that version, and nothing else", () => {
    const resources = Array.from({ length: 3_000 }, (_, at) => ({ name: `n-${at}`, version: `${at % 7}` }));
    const index = runSteps(EntryIndex.of(resources));
    for (const [place, { name, version }] of resources.entries()) {
      expect(placeOf(index, [name, version])).toBe(place);
      expect(placeOf(index, [name, `${version}0`])).toBe(-1);
      expect(placeOf(index, [`m${name}`, version])).toBe(-1);
    }
  });

  test("leaves out what collides with many, and finds none of them for another", () => {
    // Alike in length and in their ends, so in their hash.
    const resources = Array.from({ length: 100 }, (_, at) => ({
      name: `${`${at}`.padStart(3, "0")}${"x".repeat(40)}`,
      version: "1",
    }));
    const index = runSteps(EntryIndex.of(resources));
    const places = resources.map(({ name, version }) => placeOf(index, [name, version]));
    expect(places.filter((place) => place !== -1).length).toBeGreaterThan(5);
    expect(places.filter((place) => place === -1).length).toBeGreaterThan(50);
    for (const [at, place] of places.entries()) expect([at, -1]).toContain(place);
  });

  test("is made again after a change, and once for all who come between two", () => {
    const set = setOf([["a", "1"]]);
    const first = runSteps(set.entryIndex());
    expect(runSteps(set.entryIndex())).toBe(first);
    apply(set, [["a", "2"]]);
    expect(runSteps(set.entryIndex())).not.toBe(first);
    expect(placeOf(runSteps(set.entryIndex()).index, ["a", "1"])).toBe(-1);
    expect(placeOf(runSteps(set.entryIndex()).index, ["a", "2"])).toBe(0);
  });
});
