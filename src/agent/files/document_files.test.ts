import { expect, test } from "bun:test";
import { meshLimits } from "../../base/limits/mesh.ts";
import type { Clock } from "../../host/host.ts";
import { DocumentFiles } from "./document_files.ts";

/** Each look at the clock is a millisecond later than the one before. */
function steppingClock(): { readonly clock: Clock; readonly defers: () => number } {
  let now = 0;
  let defers = 0;
  const clock: Clock = {
    now: () => now++,
    wallMs: () => now,
    setTimer: () => ({ cancel() {} }),
    defer: (callback) => {
      defers++;
      queueMicrotask(callback);
    },
  };
  return { clock, defers: () => defers };
}

const namespace = (name: string): string => `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}}\n`;
const file = (...names: readonly string[]): string => names.map(namespace).join("---\n");

test("gives way to connections every few milliseconds", async () => {
  const { clock, defers } = steppingClock();
  const names = Array.from({ length: 60 }, (_, index) => `n${index}`);
  const [parsed] = await new DocumentFiles(clock).parse(new Map([["f", file(...names)]]));
  expect(parsed?.entries).toHaveLength(60);
  expect(defers()).toBeGreaterThanOrEqual(60 / (meshLimits.parseSliceMs + 2));
});

test("only what changed is parsed again", async () => {
  const files = new DocumentFiles(steppingClock().clock);
  const [before, other] = await files.parse(
    new Map([
      ["f", file("a", "b", "c")],
      ["g", file("d")],
    ]),
  );
  const [after, same] = await files.parse(
    new Map([
      ["f", file("a", "x", "c")],
      ["g", file("d")],
    ]),
  );
  expect(same).toBe(other as NonNullable<typeof other>);
  expect(after?.entries[0]?.document).toBe(before?.entries[0]?.document ?? null);
  expect(after?.entries[2]?.document).toBe(before?.entries[2]?.document ?? null);
  expect(after?.entries.map((entry) => entry.key)).toEqual(["Namespace a", "Namespace x", "Namespace c"]);
  // A line more above, and every place is another.
  const [moved] = await files.parse(new Map([["f", `# words\n${file("a", "x", "c")}`]]));
  expect(moved?.entries.map((entry) => entry.location.line)).toEqual([2, 6, 10]);
});

test("what stands further down is the same in all but its places, and what is wrong with it is told where it is now", async () => {
  const text = `${file("a")}---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b, labels: [x]}\n---\n${file("c")}`;
  const files = new DocumentFiles(steppingClock().clock);
  await files.parse(new Map([["f", text]]));
  for (const above of ["# one\n", "# one\n# two\n---\n", ""]) {
    const [moved] = await files.parse(new Map([["f", above + text]]));
    const [fresh] = await new DocumentFiles(steppingClock().clock).parse(new Map([["f", above + text]]));
    expect(moved?.entries).toEqual(fresh?.entries ?? []);
    expect(moved?.entries[1]?.errors[0]?.location.line).toBe(7 + above.split("\n").length - 1);
  }
});

test("more documents than the limit: the file that brings them is refused, and taken once there is room", async () => {
  const files = new DocumentFiles(steppingClock().clock, 3);
  const crowded = await files.parse(
    new Map([
      ["f", file("a", "b")],
      ["g", file("c", "d")],
      ["h", file("e")],
    ]),
  );
  expect(crowded.map(({ entries, error }) => [entries.length, error?.message ?? null])).toEqual([
    [2, null],
    [0, "there are more than 3 documents; those of this file are ignored"],
    [1, null],
  ]);
  const roomy = await files.parse(
    new Map([
      ["g", file("c", "d")],
      ["h", file("e")],
    ]),
  );
  expect(roomy.map(({ entries }) => entries.length)).toEqual([2, 1]);
});
