import { describe, expect, test } from "bun:test";
import { parseInSteps } from "./parse.ts";
import { splitInSteps } from "./yaml.ts";

const size = 250 * 1024;
const filled = (text: string): string => text.repeat(Math.floor(size / text.length));

/** Shapes that were made to cost the YAML library the most. */
const shapes: Readonly<Record<string, string>> = {
  "a flow list": `[${filled("a,")}]`,
  "a list of words": filled("- a\n"),
  "a map of many keys": Array.from({ length: size / 11 }, (_, index) => `k${index}: v\n`).join(""),
  "open brackets": filled("["),
  "closing brackets": filled("]"),
  "maps within maps on one line": filled("a: "),
  "lists within lists on one line": filled("- "),
  "complex keys within complex keys": filled("? "),
  "nothing but comments": `a: 1\n${filled("#\n")}`,
  "lists that never end": filled("a: [\n"),
  "quoted words": filled('- "a"\n'),
  anchors: filled("- &a b\n"),
  tags: filled("- !a b\n"),
  "aliases of a large list": `a: &x [${filled("1,").slice(0, 40_000)}]\nb: [${"*x,".repeat(99)}]`,
  "one long block": `a: |\n${filled(" x\n")}`,
  "one long quoted word": `a: "${filled("\\n")}"`,
  directives: filled("%\n"),
  "blanks and tabs": `a: ${filled("\t\n")}`,
};

describe("no step of reading takes 50 ms", () => {
  test.each(Object.entries(shapes))("%s", (_name, text) => {
    expect(longestOf(() => parseInSteps({ file: "f", firstLine: 1, text }))).toBeLessThan(50);
  });

  test.each([
    ["words in a list", "- a\n".repeat(19_900)],
    ["anchors", "- &a b\n".repeat(15_900)],
    ["a flow list", `[${"a,".repeat(19_900)}]`],
    ["a map", Array.from({ length: 15_900 }, (_, index) => `k${index}: v\n`).join("")],
    ["blanks", `a: ${"\t\n".repeat(70_000)}`],
  ])("%s, just within the bounds", (_name, text) => {
    expect(longestOf(() => parseInSteps({ file: "f", firstLine: 1, text }))).toBeLessThan(50);
  });

  test.each([
    ["markers", "---\n".repeat(2 << 20)],
    ["small documents", "---\na: b\n".repeat(9_990)],
    ["one text", "a: b\n".repeat(1_600_000)],
  ])("a file of %s", (_name, text) => {
    expect(longestOf(() => splitInSteps("f", text))).toBeLessThan(50);
  });
});

/**
 * The longest step, each step at its best of some runs: the steps are the same in every run, and what another process took of the
 * processor is not the step's. A step that is too long is so every time.
 */
function longestOf(steps: () => Generator<void, unknown>): number {
  const best: number[] = [];
  for (let run = 0; run < 10; run++) {
    const taken = stepTimes(steps());
    for (const [index, ms] of taken.entries())
      best[index] = Math.min(best[index] ?? Number.POSITIVE_INFINITY, ms);
    if (best.every((ms) => ms < 50)) break;
  }
  return Math.max(...best);
}

function stepTimes(steps: Generator<void, unknown>): number[] {
  const taken: number[] = [];
  for (;;) {
    const [wall, cpu] = [performance.now(), process.cpuUsage()];
    const { done } = steps.next();
    const used = process.cpuUsage(cpu);
    // The lesser of both: a step that waits for a processor uses none, and a collector in another thread takes no time of this one.
    taken.push(Math.min(performance.now() - wall, (used.user + used.system) / 1000));
    if (done === true) return taken;
  }
}
