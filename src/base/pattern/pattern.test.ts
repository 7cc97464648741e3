import { describe, expect, test } from "bun:test";
import { RE2JS } from "@bufbuild/re2";
import fc from "fast-check";
import { patternLimits } from "../limits/pattern.ts";
import { Pattern } from "./pattern.ts";
import { PatternError } from "./syntax.ts";

/** Expressions as documents have them, and worse. */
const atom = fc.oneof(
  fc.constantFrom("a", "b", "/", "ab", "\\.", ".", "[ab]", "[^a]", "\\d", "\\w", "\\b", "^", "$", "\\B"),
  fc.constantFrom("[a-c/]", "(?i:A)", "\\x61", "[[:alpha:]]", "\\Qa.b\\E", "\\s", "\\S", "(?s:.)", ""),
);
const expression: fc.Arbitrary<string> = fc.letrec<{ one: string }>((tie) => ({
  one: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    atom,
    fc.tuple(tie("one"), tie("one")).map(([a, b]) => a + b),
    fc.tuple(tie("one"), tie("one")).map(([a, b]) => `(${a}|${b})`),
    fc
      .tuple(tie("one"), fc.constantFrom("*", "+", "?", "{2}", "{1,3}", "*?", "+?", "??", "{0,2}?"))
      .map(([a, sign]) => `(?:${a})${sign}`),
  ),
})).one;
const text = fc.string({ unit: fc.constantFrom("a", "b", "A", "/", ".", "1", " ", "\n", "_"), maxLength: 8 });

test("an expression fits the same where as many states as are kept are made, and where more are", () => {
  for (const more of [-2, -1, 0, 1]) {
    const count = patternLimits.maxStates + more;
    const pattern = new Pattern(`[ab]{${count}}c`);
    const fits = (length: number) => pattern.matches(`${"ab".repeat(length).slice(0, length)}c`);
    // Twice: by states that are made, and by those that are there.
    for (let times = 0; times < 2; times++)
      expect([more, fits(count - 1), fits(count), fits(count + 1)]).toEqual([more, false, true, false]);
  }
});

describe("an expression fits what RE2 says it fits", () => {
  test("the whole text", () => {
    fc.assert(
      fc.property(expression, fc.array(text, { minLength: 4, maxLength: 12 }), (source, texts) => {
        const mine = new Pattern(source);
        const theirs = RE2JS.compile(source);
        for (const one of texts) expect([one, mine.matches(one)]).toEqual([one, theirs.matches(one)]);
      }),
      { numRuns: 1_500 },
    );
  }, 300_000);

  /** Of loops over something that is not empty, JavaScript's engine says the same, at whatever cost. */
  const plain: fc.Arbitrary<string> = fc.letrec<{ one: string }>((tie) => ({
    one: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constantFrom("a", "b", "/", "[ab]", "[^a]", "\\.", "\\w", "."),
      fc.tuple(tie("one"), tie("one")).map(([a, b]) => a + b),
      fc.tuple(tie("one"), tie("one")).map(([a, b]) => `(${a}|${b})`),
      fc
        .tuple(
          fc.constantFrom("a", "ab", "[a/]", "a|ab"),
          fc.constantFrom("*", "+", "?", "{2}", "*?", "+?", "??"),
        )
        .map(([a, sign]) => `(?:${a})${sign}`),
    ),
  })).one;

  test("the first place, and of several the preferred", () => {
    fc.assert(
      fc.property(plain, text, (source, one) => {
        const found = new RegExp(source).exec(one);
        const expected =
          found === null
            ? one
            : `${one.slice(0, found.index)}<${found[0]}>${one.slice(found.index + found[0].length)}`;
        // Anchored at the start, so that it is replaced once.
        const [, before = ""] = found === null ? [] : [null, one.slice(0, found.index)];
        const anchored = `\\A((?s:.{${before.length}}))(${source})`;
        expect(new Pattern(anchored).replaceAll(one, "\\1<\\2>")).toBe(expected);
      }),
      { numRuns: 1_000 },
    );
  });

  test.each([
    ["abc", "b*", "-", "-a-c-"],
    ["abbbc", "b+", "<\\0>", "a<bbb>c"],
    ["/service/foo/v1", "^/service/([^/]+)(/.*)$", "\\2/instance/\\1", "/v1/instance/foo"],
    ["/xxx/one/yyy/one/zzz", "one", "two", "/xxx/two/yyy/two/zzz"],
    ["/aaa/bbb", "(?i)^/AAA/", "/x/", "/x/bbb"],
    ["", "", "x", "x"],
    ["ab", "(a)|b", "[\\1]", "[a][]"],
    ["a\\b", "b", "\\\\", "a\\\\"],
    ["hello", "z", "y", "hello"],
  ])("%j: each %j becomes %j: %j", (before, source, substitution, after) => {
    expect(new Pattern(source).replaceAll(before, substitution)).toBe(after);
  });
});

describe("what is no expression", () => {
  test.each([
    ["a(b", "a ( has no )"],
    ["a)b", "a ) has no ("],
    ["*a", "there is nothing before * to repeat"],
    ["a**", "two signs of repetition follow each other"],
    ["a{2}{3}", "two signs of repetition follow each other"],
    ["a{1001}", "it repeats more than 1000 times"],
    ["a{3,2}", "{3,2} has its numbers the wrong way"],
    ["[a", "a [ has no ]"],
    ["[b-a]", "a range of [] has its ends the wrong way"],
    ["a\\", "it ends with a backslash"],
    ["\\1", "\\1 is not known"],
    ["(a)\\2", "\\2 is not known"],
    ["(?=a)", "(? begins nothing that is known (RE2 has neither look-around nor back references)"],
    ["(?<!a)b", "(? begins nothing that is known (RE2 has neither look-around nor back references)"],
    ["\\pL", "\\p is not known"],
    ["[[:nothing:]]", "[:nothing:] is no class"],
    ["(?P<a>x)(?P<a>y)", "the group a is there twice"],
    ["(?:(?:a{100}){100}){100}", "it is too large once its repetitions are written out"],
  ])("%s", (source, message) => {
    expect(() => new Pattern(source)).toThrow(new PatternError(message));
  });

  test("its bounds are reached, and one less is taken", () => {
    const { maxRepeat } = patternLimits;
    expect(new Pattern(`a{${maxRepeat}}`).matches("a".repeat(maxRepeat))).toBe(true);
    for (const more of [`{${maxRepeat + 1}}`, `{2,${maxRepeat + 1}}`])
      expect(() => new Pattern(`a${more}`)).toThrow(PatternError);
    expect(() => new Pattern("a".repeat(patternLimits.maxChars))).not.toThrow();
    expect(() => new Pattern("a".repeat(patternLimits.maxChars + 1))).toThrow(PatternError);
    const nested = (depth: number) => "(".repeat(depth) + ")".repeat(depth);
    expect(() => new Pattern(nested(patternLimits.maxDepth))).not.toThrow();
    expect(() => new Pattern(nested(patternLimits.maxDepth + 1))).toThrow(PatternError);
    // One instruction is the end.
    expect(() => new Pattern(`(?:ab){${(patternLimits.maxInstructions - 2) / 2}}`)).not.toThrow();
    expect(() => new Pattern(`(?:ab){${patternLimits.maxInstructions / 2}}`)).toThrow(PatternError);
  });
});

describe("no expression is slow", () => {
  const long = `${"a".repeat(8_000)}!`;
  test.each([
    ["(a+)+$"],
    ["(a|aa)+"],
    ["(a*)*b"],
    [".*.*.*.*.*x"],
    ["(?:a?){300}a{300}"],
    // Every state is another one: 2^950 of them.
    ["[ab]*a[ab]{950}"],
  ])("%s", (source) => {
    const pattern = new Pattern(source);
    const texts = [long, "ab".repeat(4_000), [...long].map((_, i) => ((i * i) % 7 < 3 ? "a" : "b")).join("")];
    for (const one of texts) {
      const started = process.cpuUsage();
      pattern.matches(one);
      // Of the processor, not of the clock: others have it too.
      const { user } = process.cpuUsage(started);
      expect(user / 1000).toBeLessThan(500);
    }
  });

  test("and states are given up at their bound, not kept for ever", () => {
    const pattern = new Pattern("(?:a|b)*a(?:a|b){12}");
    const reference = /^(?:a|b)*a(?:a|b){12}$/;
    let seed = 1;
    for (let i = 0; i < 400; i++) {
      let one = "";
      for (let j = 0; j < 40; j++) {
        seed = (seed * 48_271) % 2_147_483_647;
        one += seed % 2 === 0 ? "a" : "b";
      }
      expect(pattern.matches(one)).toBe(reference.test(one));
    }
  });
});

test.each([
  "\\\u00e9",
  "\\\u0080",
  "[\\\u00ff]",
  "[[:foo:]]",
  "[[:]a:]]",
  "[[:Alpha:]]",
  "{1,3}",
  "a|{2}",
  "({2})",
  "(?i){3}",
])("RE2 does not take %s, so neither do we", (source) => {
  expect(() => RE2JS.compile(source)).toThrow();
  expect(() => new Pattern(source)).toThrow(PatternError);
});

test("a brace that begins no count is a character", () => {
  expect(new Pattern("{a").matches("{a")).toBe(true);
  expect(new Pattern("{*").matches("{{{")).toBe(true);
  expect(new Pattern("a{,2}").matches("a{,2}")).toBe(true);
});
