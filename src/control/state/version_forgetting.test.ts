import { expect, test } from "bun:test";
import type { DocumentChange } from "../records/document_versions.ts";
import type { ControlState } from "./control_state.ts";
import { StateWorld } from "./testing/simulated_state.ts";

const made = { atMs: 1, actor: "a", action: "apply", detail: "" } as const;

function change(name: number, text: string | null): DocumentChange {
  const key = `K ns/${String(name).padStart(3, "0")}`;
  return { key, namespace: "ns", kind: "K", name: `${name}`, text, source: "f", line: 1, createdMs: 1 };
}

function textsAt(state: ControlState, version: number): ReadonlyMap<string, string> | null {
  const set = state.documents.at(version);
  return set === null ? null : new Map(set.documents.map(({ key, text }) => [key, text]));
}

test("old versions are forgotten in pieces, and what is kept is as it was after each of them, restarts included", async () => {
  const w = new StateWorld(7);
  let state = await w.open();
  const bytes = new Uint8Array(1);
  const chance = (of: number): number => {
    w.host.random.fill(bytes);
    return (bytes[0] ?? 0) % of;
  };
  const sets: ReadonlyMap<string, string>[] = [new Map()];
  for (let version = 1; version <= 12; version++) {
    const set = new Map(sets.at(-1));
    const changes = new Map<string, DocumentChange>();
    // The fourth is large: its rows do not go in one piece.
    for (let count = 0; count < (version === 4 ? 400 : 40); count++) {
      const one = change(chance(256), chance(3) === 0 ? null : `text ${version} ${chance(4)}`);
      if (one.text === null && !set.has(one.key)) continue;
      changes.set(one.key, one);
      if (one.text === null) set.delete(one.key);
      else set.set(one.key, one.text);
    }
    state.documents.apply([...changes.values()], made);
    sets.push(set);
  }
  let steps = 0;
  for (let keep = 12; keep >= 1; keep--) {
    for (;;) {
      const isOver = state.documents.forgetInSteps({ maxVersions: keep }).next().done === true;
      for (let version = 12; version > 12 - keep; version--)
        expect(textsAt(state, version), `${version} of ${keep}`).toEqual(sets[version] ?? null);
      if (isOver) break;
      steps++;
      if (steps % 5 !== 0) continue;
      w.restart();
      state = await w.open();
    }
    if (keep < 12) expect(textsAt(state, 12 - keep)).toBeNull();
  }
  expect(steps).toBeGreaterThan(24);
  // Nothing is left of what went: as many rows and bytes as the last version has.
  const last = sets.at(-1) ?? new Map<string, string>();
  expect(state.documents.textBytes()).toBe(
    [...new Set(last.values())].reduce((sum, text) => sum + text.length, 0),
  );
  expect(state.check()).toEqual([]);
});
