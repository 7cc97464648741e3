/** The fuzzer itself: faults that are planted are found, by coverage and from a fixed seed. */
import { afterEach, describe, expect, test } from "bun:test";
import { counts } from "./counters.ts";
import { Fuzzer } from "./fuzzer.ts";
import { instrument } from "./instrument.ts";
import { Draw } from "./mutate.ts";
import { bytesOf, readCut, type Target } from "./target.ts";

afterEach(() => counts.fill(0));

/** As a worker has it, without a worker: the planted source is instrumented and run. */
function planted(source: string): {
  readonly parse: (bytes: Uint8Array) => unknown;
  readonly counters: number;
} {
  const { text, counters } = instrument(source, 0);
  const body = new Bun.Transpiler({ loader: "ts" }).transformSync(text);
  return {
    parse: new Function("bytes", `${body}\nreturn parse(bytes);`) as (bytes: Uint8Array) => unknown,
    counters,
  };
}

function fuzzerOf(target: Target, counters: number, clock: { nowMs: number; heldBytes: number }): Fuzzer {
  return new Fuzzer(target, {
    total: () => counters,
    clock: {
      now: () => clock.nowMs,
      processorMs: () => clock.nowMs,
      heldBytes: () => clock.heldBytes,
    },
    dictionary: [],
    onRun: () => {},
  });
}

async function explore(fuzzer: Fuzzer, runs: number): Promise<void> {
  const end = fuzzer.runs + runs;
  await fuzzer.explore(new Draw(1), () => fuzzer.runs < end && fuzzer.crashes.length === 0);
}

const staircase = `function parse(bytes: Uint8Array): number {
  if (bytes[0] !== 0xfe) return 0;
  if (bytes[1] !== 0x46 || bytes[2] !== 0x4c) return 1;
  switch (bytes[3]) {
    case 0x21:
      throw new TypeError("planted");
    default:
      return 2;
  }
}
`;

describe("a planted fault", () => {
  test("behind four bytes, each in a branch of its own, is found by coverage, and its input made small", async () => {
    const { parse, counters } = planted(staircase);
    const clock = { nowMs: 0, heldBytes: 0 };
    const fuzzer = fuzzerOf(
      { maxBytes: 64, seeds: () => [], run: (input) => void parse(input) },
      counters,
      clock,
    );
    await fuzzer.replay([bytesOf("nothing of it")]);
    await explore(fuzzer, 200_000);
    expect(fuzzer.crashes.map(({ message }) => message.split("\n")[0])).toEqual(["TypeError: planted"]);
    expect(fuzzer.crashes[0]?.input.toHex()).toBe("fe464c21");
    expect(fuzzer.runs).toBeLessThan(100_000);
  });

  test("without coverage it is not, in more inputs than that took", async () => {
    const { parse } = planted(staircase);
    const fuzzer = fuzzerOf({ maxBytes: 64, seeds: () => [], run: (input) => void parse(input) }, 0, {
      nowMs: 0,
      heldBytes: 0,
    });
    await fuzzer.replay([bytesOf("nothing of it")]);
    await explore(fuzzer, 100_000);
    expect(fuzzer.crashes).toEqual([]);
  });

  test("that depends on where the input is cut is found when the input is new", async () => {
    const { parse, counters } = planted(
      "function parse(bytes: Uint8Array): boolean {\n  if (bytes.length > 3) return true;\n  return false;\n}\n",
    );
    const target: Target = {
      maxBytes: 64,
      seeds: () => [],
      run: (input, look) => {
        readCut(input, look, (parts) => {
          for (const part of parts) parse(part);
          // A reader that looks for a pair of bytes in each piece by itself.
          return parts.filter((part) => Buffer.from(part).includes("ab")).length;
        });
      },
    };
    const fuzzer = fuzzerOf(target, counters, { nowMs: 0, heldBytes: 0 });
    await fuzzer.replay([bytesOf("xxabxx")]);
    expect(fuzzer.crashes[0]?.message).toContain("cut at");
  });

  test("of one long turn is a crash, when every try is long; a busy machine is none", async () => {
    const clock = { nowMs: 0, heldBytes: 0 };
    let turns = 0;
    const pass = (ms: number) => {
      clock.nowMs += ms;
    };
    const slow: Target = {
      maxBytes: 64,
      seeds: () => [],
      run: (_, look) => look.turn(() => pass(51)),
    };
    const busy: Target = {
      ...slow,
      run: (_, look) => look.turn(() => pass(turns++ % 3 === 0 ? 500 : 50)),
    };
    for (const [target, crashes] of [
      [slow, 1],
      [busy, 0],
    ] as const) {
      const fuzzer = fuzzerOf(target, 0, clock);
      await explore(fuzzer, 10);
      expect(fuzzer.crashes).toHaveLength(crashes);
    }
  });

  test("of memory that stays is a crash", async () => {
    const clock = { nowMs: 0, heldBytes: 0 };
    const fuzzer = fuzzerOf(
      {
        maxBytes: 8,
        seeds: () => [],
        run: () => {
          clock.heldBytes += 1_000_000;
        },
      },
      0,
      clock,
    );
    await explore(fuzzer, 100);
    expect(fuzzer.crashes[0]?.message).toMatch(/^holds 100 MB more/);
  });
});

describe("instrumented code", () => {
  test("does what it did, and counts its branches", () => {
    const source = `function parse(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) {
    if (byte > 9 && byte < 20) text += "b";
    else if (byte === 1 || byte === 2) {
      text += "if (";
    } else text += byte > 100 ? "x" : "y";
  }
  while (text.length > 4) text = text.slice(1);
  try {
    if (text === "") throw new Error("empty");
  } catch {
    return "caught";
  }
  return text;
}
`;
    const plain = new Function(
      "bytes",
      `${new Bun.Transpiler({ loader: "ts" }).transformSync(source)}\nreturn parse(bytes);`,
    ) as (bytes: Uint8Array) => unknown;
    const { parse, counters } = planted(source);
    for (const bytes of [[], [1], [10, 2, 200, 50, 9], [3, 15]])
      expect(parse(Uint8Array.from(bytes))).toBe(plain(Uint8Array.from(bytes)));
    expect(counters).toBeGreaterThan(12);
    // Every branch of it ran.
    expect([...counts.subarray(0, counters)].filter((count) => count === 0)).toEqual([]);
  });
});

test("the same seed makes the same inputs", async () => {
  const seen: string[][] = [[], []];
  for (const inputs of seen) {
    const fuzzer = fuzzerOf(
      { maxBytes: 32, seeds: () => [], run: (input) => void inputs.push(input.toHex()) },
      0,
      { nowMs: 0, heldBytes: 0 },
    );
    await fuzzer.replay([bytesOf("abc")]);
    await explore(fuzzer, 50);
  }
  expect(seen[0]).toEqual(seen[1] ?? []);
  expect(new Set(seen[0]).size).toBeGreaterThan(30);
});
