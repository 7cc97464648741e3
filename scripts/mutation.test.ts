import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { findMutants, nameOf, nearestTests, readTree } from "./mutation.ts";

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

test("the nearest tests are its own, those that import it, and those beside it", () => {
  const tree = readTree(join(import.meta.dir, ".."));
  expect(nearestTests(tree, "src/proxy/connections.ts")[0]).toBe("src/proxy/connections.test.ts");
  expect(nearestTests(tree, "src/pki/x509/certificate.ts").length).toBeGreaterThan(0);
  expect(nearestTests(tree, "src/proxy/inbound.ts")).toContain("conformance/flows/inbound.test.ts");
  for (const path of tree.sources.keys())
    if (/^src\/(policy|pki|proxy|agent|control\/(identity|ca|keys))\//.test(path))
      expect(`${path} ${nearestTests(tree, path).length > 0}`).toBe(`${path} true`);
});
