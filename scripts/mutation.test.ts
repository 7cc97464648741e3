import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { findMutants, nameOf, nearestTests, readTree } from "./mutation.ts";
import { KilledRecord, shortNameOf, weekOf } from "./mutation_record.ts";
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
      "if (($mutant(0, null) ? (false as boolean) : $mutant(1, () => !Object.is((a !== b), (a === b))) ? (a !== b) : ($guard(0, (a === b))))) f();\n",
    );
    expect(switched('return { kind: "x", ok: g(a, b && c) };\n')).toBe(
      'return { kind: ($mutant(0) ? ("mutant") : ("x")), ok: g(a, ($mutant(1, () => !Object.is((b || c), (b && c))) ? (b || c) : (b && c))) };\n',
    );
  });

  test("one at a time does what the mutant does", () => {
    const source =
      "const judge = (a, b) => { if (a > b && a !== 7) return true; return a === 0 ? b < 0 : b >= 9; };\n";
    const inputs = [-1, 0, 1, 7, 9].flatMap((a) => [-1, 0, 1, 7, 9].map((b) => [a, b] as const));
    const judged = (text: string, active: number): unknown => {
      const judge = new Function(
        "$mutant",
        "$guard",
        `${new Bun.Transpiler({ loader: "ts" }).transformSync(text)}; return judge;`,
      );
      return inputs.map((input) =>
        judge(
          (id: number) => id === active,
          (_: number, value: unknown) => value,
        )(...input),
      );
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

describe("what is known of mutants", () => {
  const all = [...findMutants("src/proxy/x.ts", text), ...findMutants("src/proxy/y.ts", text)];
  const killer = { file: "src/proxy/x.test.ts", test: "flows: › a flow: one" };

  test("is kept by file and test, and the same is written whatever the order it came in", () => {
    const [first, second, , fourth] = all;
    const other = all.at(-1);
    if (!first || !second || !fourth || !other) throw new Error("too few");
    const record = new KilledRecord({});
    const again = new KilledRecord({});
    const learnt = [
      [first, killer],
      [other, killer],
      [second, { ...killer, test: "another" }],
      [fourth, killer],
    ] as const;
    for (const [mutant, by] of learnt) record.set(mutant, by);
    for (const [mutant, by] of learnt.toReversed()) again.set(mutant, by);
    const written = record.toFile(all);
    expect(JSON.stringify(again.toFile(all))).toBe(JSON.stringify(written));
    expect(Object.keys(written)).toEqual(["src/proxy/x.ts", "src/proxy/y.ts"]);
    const read = new KilledRecord(JSON.parse(JSON.stringify(written)));
    for (const [mutant, by] of learnt) expect(read.killerOf(mutant)).toEqual(by);
    const known = learnt.map(([mutant]) => mutant);
    expect(
      all
        .filter((mutant) => read.killerOf(mutant) !== null)
        .map(nameOf)
        .sort(),
    ).toEqual(known.map(nameOf).sort());
    read.set(first, null);
    expect(read.killerOf(first)).toBeNull();
    // A line that is another now was not tried.
    expect(read.toFile(all.filter(({ path }) => path.endsWith("y.ts")))).toEqual({
      "src/proxy/y.ts": { "src/proxy/x.test.ts: flows: › a flow: one": shortNameOf(other) },
    });
  });

  test("weeks begin on Monday, in UTC", () => {
    const at = (day: string) => weekOf(Date.parse(day));
    expect(at("2026-11-23T00:00:00Z")).toBe(at("2026-11-29T23:59:59.999Z"));
    expect(at("2026-11-30T00:00:00Z")).toBe(at("2026-11-29T23:59:59.999Z") + 1);
  });

  test("every test that has noticed one is there, and every reason is of a mutant that is there", () => {
    const root = join(import.meta.dir, "..");
    const { sources } = readTree(root);
    const read = (name: string) => JSON.parse(readFileSync(join(root, "scripts", name), "utf8"));
    const files = new Set<string>();
    for (const tests of Object.values<Record<string, string>>(read("mutants_killed.json")))
      for (const key of Object.keys(tests)) files.add(key.slice(0, key.indexOf(": ")));
    expect([...files].filter((file) => !existsSync(join(root, file)))).toEqual([]);
    const names = new Set(
      [...sources]
        .filter(([path]) => tried.test(path))
        .flatMap(([path, source]) => findMutants(path, source).map(nameOf)),
    );
    expect(Object.keys(read("mutants_kept.json")).filter((name) => !names.has(name))).toEqual([]);
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
