/** Two texts line by line, as `diff -u` shows them. */
import { diffArrays } from "diff";
import type { Style } from "../style.ts";

export interface LineChange {
  readonly kind: "same" | "removed" | "added";
  readonly line: string;
}

/** Differences that are looked for; two texts further apart are shown as one gone and one new. */
const maxDifferences = 1_000;

export function diffLines(before: readonly string[], after: readonly string[]): readonly LineChange[] {
  const changes = diffArrays([...before], [...after], { maxEditLength: maxDifferences }) ?? [
    { value: before, added: false, removed: true },
    { value: after, added: true, removed: false },
  ];
  return changes.flatMap(({ value, added, removed }) =>
    value.map((line): LineChange => ({ kind: added ? "added" : removed ? "removed" : "same", line })),
  );
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
