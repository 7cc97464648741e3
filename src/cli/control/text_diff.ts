/** Two texts line by line, as `diff -u` shows them (Myers, "An O(ND) Difference Algorithm", 1986). */
import type { Style } from "../style.ts";

export interface LineChange {
  readonly kind: "same" | "removed" | "added";
  readonly line: string;
}

/** Differences that are looked for; two texts further apart are shown as one gone and one new. */
const maxDifferences = 1_000;

export function diffLines(before: readonly string[], after: readonly string[]): readonly LineChange[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  while (
    tail < before.length - head &&
    tail < after.length - head &&
    before[before.length - 1 - tail] === after[after.length - 1 - tail]
  )
    tail++;
  const same = (lines: readonly string[]): LineChange[] => lines.map((line) => ({ kind: "same", line }));
  return [
    ...same(before.slice(0, head)),
    ...shortestEdit(before.slice(head, before.length - tail), after.slice(head, after.length - tail)),
    ...same(before.slice(before.length - tail)),
  ];
}

function shortestEdit(before: readonly string[], after: readonly string[]): LineChange[] {
  const trace: Map<number, number>[] = [];
  let reached = new Map<number, number>([[1, 0]]);
  for (
    let differences = 0;
    differences <= Math.min(before.length + after.length, maxDifferences);
    differences++
  ) {
    const next = new Map<number, number>();
    for (let diagonal = -differences; diagonal <= differences; diagonal += 2) {
      const down = reached.get(diagonal + 1) ?? -1;
      const right = reached.get(diagonal - 1) ?? -1;
      let x = diagonal === -differences || (diagonal !== differences && right < down) ? down : right + 1;
      while (x < before.length && x - diagonal < after.length && before[x] === after[x - diagonal]) x++;
      next.set(diagonal, x);
      if (x >= before.length && x - diagonal >= after.length) {
        trace.push(reached);
        return walkBack(trace, before, after);
      }
    }
    trace.push(reached);
    reached = next;
  }
  return [
    ...before.map((line): LineChange => ({ kind: "removed", line })),
    ...after.map((line): LineChange => ({ kind: "added", line })),
  ];
}

function walkBack(
  trace: readonly Map<number, number>[],
  before: readonly string[],
  after: readonly string[],
): LineChange[] {
  const changes: LineChange[] = [];
  let x = before.length;
  let y = after.length;
  for (let differences = trace.length - 1; differences >= 0; differences--) {
    const reached = trace[differences] ?? new Map<number, number>();
    const diagonal = x - y;
    const down = reached.get(diagonal + 1) ?? -1;
    const right = reached.get(diagonal - 1) ?? -1;
    const previous =
      diagonal === -differences || (diagonal !== differences && right < down) ? diagonal + 1 : diagonal - 1;
    const fromX = reached.get(previous) ?? 0;
    const fromY = fromX - previous;
    while (x > fromX && y > fromY && x > 0 && y > 0) {
      x--;
      y--;
      changes.push({ kind: "same", line: before[x] ?? "" });
    }
    if (differences === 0) break;
    if (x > fromX) {
      x--;
      changes.push({ kind: "removed", line: before[x] ?? "" });
    } else {
      y--;
      changes.push({ kind: "added", line: after[y] ?? "" });
    }
  }
  return changes.reverse();
}

/** Unchanged lines around a change. */
const contextLines = 3;

/** One document; null for what is not there. Far unchanged lines are left out. */
export function formatDiff(name: string, before: string | null, after: string | null, style: Style): string {
  const word =
    before === null ? style.green("added") : after === null ? style.red("removed") : style.yellow("changed");
  const changes = diffLines(linesOf(before), linesOf(after));
  const near = changes.map((_, index) =>
    changes
      .slice(Math.max(0, index - contextLines), index + contextLines + 1)
      .some(({ kind }) => kind !== "same"),
  );
  let text = `${style.bold(name)} ${word}\n`;
  changes.forEach(({ kind, line }, index) => {
    if (near[index] === true) text += `${paint(kind, printable(line), style)}\n`;
    else if (near[index - 1] === true) text += `${style.dim("  …")}\n`;
  });
  return text;
}

function linesOf(text: string | null): readonly string[] {
  // The marker between documents of a file is nothing of the document.
  return text === null
    ? []
    : text
        .replace(/^---[ \t]*\n/, "")
        .replace(/\n$/, "")
        .split("\n");
}

function paint(kind: LineChange["kind"], line: string, style: Style): string {
  if (kind === "same") return `  ${line}`;
  return kind === "added" ? style.green(`+ ${line}`) : style.red(`- ${line}`);
}

/** A document is another person's text; none of it may move the cursor. */
function printable(line: string): string {
  return line.replace(/[\p{Cc}\p{Cf}]/gu, (character) => (character === "\t" ? "  " : "?"));
}
