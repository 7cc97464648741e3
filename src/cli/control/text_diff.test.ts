import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { plain } from "../style.ts";
import { diffLines, formatDiff } from "./text_diff.ts";

const lines = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 30 });

/** Length of the longest common subsequence, the plain way. */
function common(before: readonly string[], after: readonly string[]): number {
  let row: number[] = new Array(after.length + 1).fill(0);
  for (const line of before) {
    const next = [0];
    after.forEach((other, index) => {
      next.push(line === other ? (row[index] ?? 0) + 1 : Math.max(row[index + 1] ?? 0, next[index] ?? 0));
    });
    row = next;
  }
  return row.at(-1) ?? 0;
}

describe("a difference of lines", () => {
  test("gives both texts back, and is as short as can be", () => {
    fc.assert(
      fc.property(lines, lines, (before, after) => {
        const changes = diffLines(before, after);
        const of = (kinds: readonly string[]) =>
          changes.filter(({ kind }) => kinds.includes(kind)).map(({ line }) => line);
        expect(of(["same", "removed"])).toEqual(before);
        expect(of(["same", "added"])).toEqual(after);
        expect(of(["same"]).length).toBe(common(before, after));
      }),
      { numRuns: 500 },
    );
  });

  test("two large texts that have nothing in common are bounded, and still whole", () => {
    const many = (word: string) => Array.from({ length: 20_000 }, (_, index) => `${word}${index}`);
    const changes = diffLines(many("a"), many("b"));
    expect(changes.length).toBe(40_000);
  });

  test("is shown with a few lines around it, and nothing of it moves the cursor", () => {
    const text = (word: string) =>
      Array.from({ length: 12 }, (_, index) => (index === 6 ? word : `l${index}`)).join("\n");
    expect(formatDiff("Kind a/b", text("old"), text("n\u001be\tw"), plain)).toBe(
      "Kind a/b changed\n  l3\n  l4\n  l5\n- old\n+ n?e  w\n  l7\n  l8\n  l9\n  …\n",
    );
    expect(formatDiff("Kind a/b", "---\nx\n", "x\ny\n", plain)).toBe("Kind a/b changed\n  x\n+ y\n");
    expect(formatDiff("Kind a/b", null, "x\n", plain)).toBe("Kind a/b added\n+ x\n");
    expect(formatDiff("Kind a/b", "x\n", null, plain)).toBe("Kind a/b removed\n- x\n");
  });
});
