import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { findMutants, nameOf, nearestTests, readTree } from "./mutation.ts";
import { withSwitches } from "./mutation_switches.ts";

const tried = /^src\/(policy|pki|proxy|agent|control\/(identity|ca|keys))\//;

const text = `/** a === b in a comment */
interface Shape { readonly kind: "one" | "two" }
type Wide = "x" | "y";
function judge(a: number, b: number): boolean {
  if (a > b && isGood(a)) return true;
  const labels = { reporter: "source", said: \`if (a === b)\` };
  return false;
}
`;

function broken(path = "src/proxy/x.ts", source = text): readonly string[] {
  return findMutants(path, source).map(({ kind, from, to, replacement }) => {
    const line = `${source.slice(0, from)}${replacement}${source.slice(to)}`
      .split("\n")
      .find((one, index) => one !== source.split("\n")[index]);
    return `${kind}: ${line?.trim()}`;
  });
}

describe("mutants of a file", () => {
  test("guards, comparisons, returns and labels of code; nothing of comments, texts and types", () => {
    expect([...broken()].sort()).toEqual([
      "comparison: if (a > b || isGood(a)) return true;",
      "comparison: if (a >= b && isGood(a)) return true;",
      "guard: if (false as boolean) return true;",
      'label: const labels = { reporter: "mutant", said: `if (a === b)` };',
      "return: if (a > b && isGood(a)) return false;",
      "return: return true;",
    ]);
  });

  test("have a name that stays when lines move, and differs for equal lines", () => {
    const names = (source: string) => findMutants("src/proxy/x.ts", source).map(nameOf);
    expect(names(`\n\n${text}`)).toEqual(names(text));
    const twice = "if (a) return;\nif (a) return;\n";
    expect(new Set(names(twice)).size).toBe(2);
  });
});

describe("switches", () => {
  function switched(source: string): string {
    const numbered = findMutants("src/proxy/x.ts", source).map((mutant, id) => ({ id, mutant }));
    return withSwitches(source, numbered);
  }

  test("an expression is there twice, and the others are switched inside the one that is whole", () => {
    expect(switched("if (a === b) f();\n")).toBe(
      "if (($mutant(0) ? (false as boolean) : $mutant(1) ? (a !== b) : (a === b))) f();\n",
    );
    expect(switched('return { kind: "x", ok: g(a, b && c) };\n')).toBe(
      'return { kind: ($mutant(0) ? ("mutant") : ("x")), ok: g(a, ($mutant(1) ? (b || c) : (b && c))) };\n',
    );
  });

  test("one at a time does what the mutant does", () => {
    const source =
      "const judge = (a, b) => { if (a > b && a !== 7) return true; return a === 0 ? b < 0 : b >= 9; };\n";
    const inputs = [-1, 0, 1, 7, 9].flatMap((a) => [-1, 0, 1, 7, 9].map((b) => [a, b] as const));
    const judged = (text: string, active: number): unknown => {
      const judge = new Function(
        "$mutant",
        `${new Bun.Transpiler({ loader: "ts" }).transformSync(text)}; return judge;`,
      );
      return inputs.map((input) => judge((id: number) => id === active)(...input));
    };
    const mutants = findMutants("src/proxy/x.ts", source);
    expect(mutants.length).toBe(8);
    expect(judged(switched(source), -1)).toEqual(judged(source, -1));
    for (const [id, { from, to, replacement }] of mutants.entries()) {
      const alone = source.slice(0, from) + replacement + source.slice(to);
      expect([id, judged(switched(source), id)]).toEqual([id, judged(alone, -1)]);
      expect(judged(alone, -1)).not.toEqual(judged(source, -1));
    }
  });

  test("every mutant of the folders can be switched", () => {
    for (const [path, source] of readTree(join(import.meta.dir, "..")).sources)
      if (tried.test(path)) {
        const numbered = findMutants(path, source).map((mutant, id) => ({ id, mutant }));
        expect(withSwitches(source, numbered).match(/\$mutant\(/g)?.length ?? 0).toBeGreaterThanOrEqual(
          numbered.length,
        );
      }
  });
});

test("the nearest tests are its own, those that import it, and those beside it", () => {
  const tree = readTree(join(import.meta.dir, ".."));
  expect(nearestTests(tree, "src/proxy/connections.ts")[0]).toBe("src/proxy/connections.test.ts");
  expect(nearestTests(tree, "src/pki/x509/certificate.ts").length).toBeGreaterThan(0);
  expect(nearestTests(tree, "src/proxy/inbound.ts")).toContain("conformance/flows/inbound.test.ts");
  for (const path of tree.sources.keys())
    if (tried.test(path) && findMutants(path, tree.sources.get(path) ?? "").length > 0)
      expect(`${path} ${nearestTests(tree, path).length > 0}`).toBe(`${path} true`);
});
