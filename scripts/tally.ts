/** How a run went, and the one line every test program of this project ends with. */

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const emptyTally: Tally = { passed: 0, failed: 0, skipped: 0 };
export const oneFailure: Tally = { passed: 0, failed: 1, skipped: 0 };

export function addTallies(left: Tally, right: Tally): Tally {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/** `12 passed, 0 failed, 1 skipped`; the last part only when something was. */
/** Runs all, so many at a time, in their order. @returns the sum of what each of them counted. */
export async function countTogether<T>(
  all: readonly T[],
  atATime: number,
  run: (one: T) => Promise<Tally>,
): Promise<Tally> {
  const waiting = [...all];
  let sum = emptyTally;
  const work = async () => {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
      const tally = await run(one);
      // Not in one expression with the wait: what others added meanwhile would be lost.
      sum = addTallies(sum, tally);
    }
  };
  await Promise.all(Array.from({ length: atATime }, work));
  return sum;
}

export function formatTally(tally: Tally): string {
  const line = `${tally.passed} passed, ${tally.failed} failed`;
  return tally.skipped === 0 ? line : `${line}, ${tally.skipped} skipped`;
}

/** The last such line in a program's output; null when there is none. */
export function parseTally(output: string): Tally | null {
  const lines = [...output.matchAll(/^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/gm)];
  const last = lines.at(-1);
  if (last === undefined) return null;
  return { passed: Number(last[1]), failed: Number(last[2]), skipped: Number(last[3] ?? 0) };
}

/** The totals of a JUnit report as `bun test` writes it; null when it is not one. */
export function parseJunit(xml: string): Tally | null {
  const root = /<testsuites [^>]*>/.exec(xml)?.[0];
  if (root === undefined) return null;
  const attribute = (name: string): number => Number(new RegExp(` ${name}="(\\d+)"`).exec(root)?.[1] ?? 0);
  const failed = attribute("failures");
  const skipped = attribute("skipped");
  return { passed: attribute("tests") - failed - skipped, failed, skipped };
}

/** Names of the skipped tests in a JUnit report; by convention a skipped test's name says why. */
export function skippedNames(xml: string): readonly string[] {
  const cases = xml.matchAll(/<testcase name="([^"]*)"[^>]*>\s*<skipped/g);
  return [...cases].map((match) => unescapeXml(match[1] ?? ""));
}

/** The failed tests of a JUnit report, each with its file and the first line of the reason. */
export function failedNames(xml: string): readonly string[] {
  const cases = xml.matchAll(
    /<testcase name="([^"]*)"[^>]*? file="([^"]*)"[^>]*>\s*<failure[^>]*? message="([^"]*)"/g,
  );
  return [...cases].map(([, name = "", file = "", message = ""]) => {
    const reason = unescapeXml(message).replaceAll("&#10;", "\n").split("\n")[0];
    return `${unescapeXml(file)}: ${unescapeXml(name)} (${reason})`;
  });
}

/** Lines in which a program says that one of its cases failed, in the words of any of ours. */
export function failureLines(output: string): readonly string[] {
  const lines = output.matchAll(/^\s*((?:failed:|failed {2}|FAIL|✗|×|seed \S+ failed) ?.*)$/gm);
  return [...lines].map((match) => match[1] ?? "");
}

/** What is said of a suite that failed: the names of its cases, and where it gave none, that it did and its last words. */
export function whatFailed(
  suite: string,
  { failed }: Tally,
  names: readonly string[],
  output: string,
): readonly string[] {
  if (failed === 0) return [];
  if (names.length > 0) return names.map((name) => `${suite}: ${name}`);
  const last = output.split("\n").filter((line) => line.trim() !== "");
  return [`${suite}: ${failed} failed, and it named none; it ended with: ${last.slice(-3).join(" | ")}`];
}

function unescapeXml(text: string): string {
  const names: Readonly<Record<string, string>> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (whole, name: string) => names[name] ?? whole);
}
