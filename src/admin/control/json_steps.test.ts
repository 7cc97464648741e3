import { describe, expect, test } from "bun:test";
import { controlAdminLimits } from "../../base/limits/control.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { parseJsonInSteps } from "./json_steps.ts";

const long = "y".repeat(70_000);

function read(text: string): unknown {
  return runSteps(parseJsonInSteps(text));
}

describe("JSON in slices", () => {
  test.each<[string, unknown]>([
    [
      "escapes at every place of a cut",
      Array.from({ length: 9 }, (_, n) => `${"x".repeat(65_530 + n)}\n\\"\u0001 é 𝄞${long}`),
    ],
    ["values of all kinds", [1, -2.5e-7, true, false, null, "", {}, [], { a: [{ b: "c" }] }, long]],
    [
      "names that JavaScript has a meaning for",
      JSON.parse(`{"__proto__": 1, "constructor": 2, "x": "${long}"}`),
    ],
  ])("%s: the same as JSON.parse", (_name, value) => {
    for (const text of [JSON.stringify(value), JSON.stringify(value, null, 2)]) {
      const own = read(text);
      expect(JSON.stringify(own)).toBe(JSON.stringify(JSON.parse(text)));
    }
  });

  test.each([
    "{",
    "[1 2]",
    "[1,]",
    '{"a" 1}',
    '{"a":1,}',
    "{a: 1}",
    '["\\x"]',
    '["\\u12"]',
    '["open',
    '["tab\t"]',
    "[01]",
    "[nul]",
    "[1] x",
    "[+1]",
    "",
  ])("%p is refused as JSON.parse does", (text) => {
    const padded = `${" ".repeat(70_000)}${text}`;
    expect(() => JSON.parse(padded)).toThrow(SyntaxError);
    expect(() => read(padded)).toThrow(SyntaxError);
  });

  test("many values and deep ones are past a bound, before they are made", () => {
    expect(() => read(`[${"1,".repeat(400_000)}1]`)).toThrow(RangeError);
    expect(() => read(`${"[".repeat(100_000)}`)).toThrow(RangeError);
  });

  test("no step takes long, whatever the text is", () => {
    const texts = [
      JSON.stringify({ text: "a: b\n".repeat(2 << 20) }),
      JSON.stringify(Array.from({ length: 100_000 }, () => ({}))),
      JSON.stringify(["\u0001".repeat(2 << 20)]),
      " ".repeat(8 << 20),
    ];
    for (const text of texts) {
      // The best of some runs: what another process took of the processor is not the step's.
      let longest = Number.POSITIVE_INFINITY;
      for (let run = 0; run < 10 && longest >= 50; run++) longest = Math.min(longest, longestStep(text));
      expect(longest).toBeLessThan(50);
    }
  });
});

/** By the time of the processor: a step that waits for it is no longer for that. */
function longestStep(text: string): number {
  let longest = 0;
  const steps = parseJsonInSteps(text);
  for (;;) {
    const started = process.cpuUsage();
    try {
      if (steps.next().done === true) return longest;
    } catch {
      return longest;
    } finally {
      const { user, system } = process.cpuUsage(started);
      longest = Math.max(longest, (user + system) / 1_000);
    }
  }
}

describe("the bounds of a body", () => {
  // Bounds are looked at where a text is long enough to take time.
  const padding = `"${long}"`;

  test("nesting", () => {
    const nested = (depth: number) => `[${padding},${"[".repeat(depth - 1)}1${"]".repeat(depth - 1)}]`;
    const { maxJsonDepth } = controlAdminLimits;
    expect(read(nested(maxJsonDepth))).toEqual(JSON.parse(nested(maxJsonDepth)));
    expect(() => read(nested(maxJsonDepth + 1))).toThrow(`nested more than ${maxJsonDepth} deep`);
  });

  test("values", () => {
    // The list itself is one of them.
    const values = (count: number) => `[${"1,".repeat(count - 2)}1]`;
    const { maxJsonValues } = controlAdminLimits;
    expect(read(values(maxJsonValues))).toHaveLength(maxJsonValues - 1);
    expect(() => read(values(maxJsonValues + 1))).toThrow(`more than ${maxJsonValues} values`);
  });
});
