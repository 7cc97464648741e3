/** Keeps the direction of imports and the house style. Rules and reasons: `scripts/tidy_rules.ts`, `CONTRIBUTING.md`. */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { boundsOf, unreached, untestedBounds } from "../scripts/tidy_bounds.ts";
import { checkFile, type SourceFile } from "../scripts/tidy_rules.ts";
import { codeOnly, importsOf } from "../scripts/tidy_source.ts";
import { checkProse, findCircles, measureTree } from "../scripts/tidy_tree.ts";

const root = join(import.meta.dir, "..");

function sourcesBelow(folder: string): SourceFile[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(ts|mjs)$/.test(name) && !name.includes("node_modules"))
    .map((name) => `${folder}/${name}`)
    .sort()
    .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }));
}

function json(path: string): Record<string, Record<string, string>> {
  return JSON.parse(readFileSync(join(root, path), "utf8"));
}

/** What packages of npm's lock file ask for and the lock file does not have; npm looks below a package first, then above it. */
function missingFromLock(): string[] {
  const { packages }: { packages: Record<string, Record<string, Record<string, string>>> } = JSON.parse(
    readFileSync(join(root, "package-lock.json"), "utf8"),
  );
  const isThere = (from: string, name: string): boolean => {
    for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf("/node_modules/")))) {
      if (`${at === "" ? "" : `${at}/`}node_modules/${name}` in packages) return true;
      if (at === "") return false;
    }
  };
  return Object.entries(packages).flatMap(([path, { dependencies, devDependencies, optionalDependencies }]) =>
    Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })
      .filter((name) => !isThere(path, name))
      .map((name) => `${path} asks for ${name}`),
  );
}

describe("the tree", () => {
  for (const folder of ["src", "conformance", "bench", "scripts", "wasm"]) {
    test(`${folder}/ keeps the rules`, () => {
      expect(sourcesBelow(folder).flatMap(checkFile)).toEqual([]);
    });
  }

  test("npm's lock file is whole, so that `npm ci` works on every platform", () => {
    expect(missingFromLock()).toEqual([]);
  });

  test("no circle of imports, no orphan, no crowded folder, no wrong way between rooms", () => {
    const tree = measureTree(sourcesBelow("src"));
    expect(tree.findings).toEqual([]);
    expect(tree.files).toBeGreaterThan(400);
  });

  test("every bound is named by a test: at the bound, and one past it", () => {
    const limits = sourcesBelow("src/base/limits");
    const tests = ["src", "conformance"]
      .flatMap(sourcesBelow)
      .filter(({ path }) => /\.test\.ts$|\/testing\/|^conformance\//.test(path));
    expect(boundsOf(limits).length).toBeGreaterThan(250);
    expect(untestedBounds(limits, tests)).toEqual(Object.keys(unreached));
  });

  test("prose is at most 120 columns wide", () => {
    const listed = Bun.spawnSync(["git", "ls-files", "*.md"], { cwd: root }).stdout.toString();
    const pages = listed.split("\n").filter((path) => path !== "" && existsSync(join(root, path)));
    expect(pages.length).toBeGreaterThan(5);
    const read = (path: string) => ({ path, text: readFileSync(join(root, path), "utf8") });
    expect(pages.flatMap((path) => checkProse(read(path)))).toEqual([]);
  });

  test("package.json pins every dependency exactly, and both lock files agree with it", () => {
    const manifest = json("package.json");
    const pinned = { ...manifest.dependencies, ...manifest.devDependencies };
    const loose = Object.entries(pinned).filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version));
    expect(loose).toEqual([]);
    const npmLock: { packages: Record<string, { version?: string }> } = JSON.parse(
      readFileSync(join(root, "package-lock.json"), "utf8"),
    );
    const bunLock = readFileSync(join(root, "bun.lock"), "utf8");
    for (const [name, version] of Object.entries(pinned)) {
      expect(`${name}@${npmLock.packages[`node_modules/${name}`]?.version}`).toBe(`${name}@${version}`);
      expect(bunLock).toContain(`"${name}@${version}"`);
    }
  });

  test("the map names files that are there", () => {
    const map = readFileSync(join(root, "src", "README.md"), "utf8");
    const named = [...map.matchAll(/`([a-z]+(?:\/[a-z_]+)+)(?:\.\w+)?`/g)].map((match) => match[1] ?? "");
    const gone = named.filter((name) => !existsSync(join(root, "src", `${name}.ts`)));
    expect(gone).toEqual([]);
    expect(named.length).toBeGreaterThan(15);
  });

  test("the lock files name no registry", () => {
    for (const lock of ["package-lock.json", "bun.lock"])
      expect(readFileSync(join(root, lock), "utf8")).not.toMatch(/"resolved"|https?:\/\/[^"]*\.tgz/);
  });
});

describe("the rules themselves", () => {
  function findings(path: string, text: string): string {
    return checkFile({ path, text }).join("\n");
  }

  test("a clean file has no findings", () => {
    const text =
      'import { assert } from "../base/assert.ts";\nexport const x = (a: number) => assert(a !== 1, "x");\n';
    expect(findings("src/mesh/x.ts", text)).toBe("");
  });

  test("imports against the table are found", () => {
    expect(findings("src/base/x.ts", 'import { a } from "../mesh/a.ts";\n')).toContain(
      "base/ does not import mesh/",
    );
    expect(findings("src/mesh/x.ts", 'import { a } from "yaml";\n')).toBe("");
    expect(findings("src/host/bun/x.ts", 'import { a } from "../../wire/h1/a.ts";\n')).toBe("");
    expect(findings("src/host/bun/x.ts", 'import { a } from "../../wire/h2/a.ts";\n')).toContain(
      "host/ does not import wire/",
    );
    expect(findings("src/base/x.ts", 'import { a } from "yaml";\n')).toContain('does not use "yaml"');
    expect(findings("src/wire/x.ts", 'import { a } from "node:net";\n')).toContain("names a runtime");
    expect(findings("src/proxy/x.ts", 'import {\n  a,\n} from "../host/bun/host.ts";\n')).toContain(
      "the simulator cannot",
    );
    expect(findings("src/proxy/x.ts", 'import type { Host } from "../host/host.ts";\n')).toBe("");
    expect(findings("src/proxy/x.ts", 'import { Host } from "../host/host.ts";\n')).toContain(
      "more than types",
    );
    expect(findings("src/proxy/x.ts", 'import { mintPermit } from "../policy/decision.ts";\n')).toContain(
      "policy/'s alone",
    );
    expect(findings("src/cli/x.ts", 'import { a } from "../app/node/node.ts";\n')).toContain(
      "as an argument",
    );
    expect(findings("src/cli/x.ts", 'const a = await import("../proxy/a.ts");\n')).toContain(
      "does not import proxy/",
    );
    expect(findings("src/cli/x.ts", 'export * from "../base/ip";\n')).toContain("no .ts ending");
    expect(findings("src/cli/x.ts", 'import { a } from "./testing/a.ts";\n')).toContain("is for tests");
    expect(findings("src/app/node/administration.ts", 'import { a } from "../../proxy/a.ts";\n')).toBe("");
    // Not of the composition root either, which may import all that is the product.
    for (const path of ["src/app/node/x.ts", "src/pki/crypto/x.ts", "src/host/bun/x.ts"]) {
      const importing = (target: string): string => findings(path, `import "../../${target}";\n`);
      expect(importing("host/memory/random.ts")).toContain("is the simulator's");
      expect(importing("../conformance/sim/seeded_cryptography.ts")).toContain("outside src/");
      expect(importing("host/testing/credentials.ts")).toContain("is for tests");
      expect(findings(path, 'const a = await import("../../host/memory/random.ts");\n')).toContain(
        "is the simulator's",
      );
      expect(findings(path, 'import { mintPermit } from "../../policy/decision.ts";\n')).toContain(
        "policy/'s alone",
      );
      expect(
        findings(path, 'import { mintRequestPermit } from "../../waypoint/request_permit.ts";\n'),
      ).toContain("waypoint/auth/'s alone");
    }
    expect(findings("src/host/memory/x.ts", 'import { a } from "./random.ts";\n')).toBe("");
    expect(findings("src/host/memory/x.test.ts", 'import { a } from "./random.ts";\n')).toBe("");
    expect(findings("src/stray.ts", 'import { a } from "./base/a.ts";\n')).toContain("put it into a folder");
    expect(findings("src/other/x.ts", 'import { a } from "../base/a.ts";\n')).toContain(
      "not in the import table",
    );
  });

  test("runtime names outside host/ are found, in code only", () => {
    for (const use of [
      "Bun.file(a)",
      "process.exit()",
      "Date.now()",
      "new Date()",
      "setTimeout(a, 1)",
      "console.log(1)",
      "Math.random()",
      "fetch(a)",
      "crypto.subtle",
    ])
      expect(findings("src/proxy/x.ts", `export const x = ${use};\n`)).toContain("cannot be simulated");
    expect(
      findings(
        "src/proxy/x.ts",
        '/** Bun.file, Date.now() */\nexport const x = "process.exit()"; // console.log\n',
      ),
    ).toBe("");
    expect(findings("src/proxy/x.ts", "export const x = this.host.process.exit(new Date(1));\n")).toBe("");
    expect(findings("src/host/x.ts", "export const x = Date.now();\n")).toBe("");
  });

  test("circles of any length are found, type-only ones too, and each once", () => {
    const graph = new Map([
      ["a", ["b"]],
      ["b", ["c"]],
      ["c", ["a", "d"]],
      ["d", ["e"]],
      ["e", []],
      ["f", ["f"]],
    ]);
    expect(findCircles(graph)).toEqual([["a", "b", "c"], ["f"]]);
    const typeOnly = [
      { path: "src/base/a.ts", text: 'import type { B } from "./b.ts";\nexport interface A {}\n' },
      { path: "src/base/b.ts", text: 'import type { A } from "./a.ts";\nexport interface B {}\n' },
    ];
    expect(measureTree(typeOnly).circles).toEqual([["src/base/a.ts", "src/base/b.ts"]]);
  });

  test("orphans, crowded folders and the wrong way between rooms are found", () => {
    const file = (path: string, text = "") => ({ path, text });
    const findings = (...files: { path: string; text: string }[]) => measureTree(files).findings.join("\n");
    expect(findings(file("src/base/lonely.ts"))).toContain("nothing in the product imports it");
    const called = [file("src/base/c.ts", 'import "./a.ts";\n'), file("src/base/a.ts", "\n".repeat(39))];
    expect(findings(...called)).toContain("with one caller and no test; move it into src/base/c.ts");
    const small = (...files: { path: string; text: string }[]) => findings(...files).includes("one caller");
    expect(small(...called, file("src/base/b.test.ts", 'import "./a.ts";\n'))).toBe(false);
    expect(small(called[0] ?? file(""), file("src/base/a.ts", "\n".repeat(40)))).toBe(false);
    // What is loaded when it is needed has to be in a file of its own.
    expect(small(file("src/base/c.ts", 'await import("./a.ts");\n'), ...called.slice(1))).toBe(false);
    const full = (lines: number) => file("src/base/c.ts", `import "./a.ts";${"\n".repeat(lines)}`);
    expect([361, 362].map((lines) => small(full(lines), ...called.slice(1)))).toEqual([true, false]);
    const crowd = Array.from({ length: 26 }, (_, index) => file(`src/base/n${index}.ts`));
    expect(findings(...crowd)).toContain("26 files, 25 at the most");
    expect(findings(...crowd.slice(1))).not.toContain("at the most");
    expect(
      findings(file("src/pki/der/a.ts", 'import "../trust/b.ts";\n'), file("src/pki/trust/b.ts")),
    ).toContain("pki/der/ does not import pki/trust/");
    expect(
      findings(file("src/pki/attic/a.ts", 'import "../der/b.ts";\n'), file("src/pki/der/b.ts")),
    ).toContain("not in the table of rooms");
  });

  test("wide prose is found, tables and code are not", () => {
    const wide = `${"word ".repeat(30)}\n`;
    const found = (text: string) => checkProse({ path: "x.md", text }).length;
    expect(found(wide)).toBe(1);
    expect(found(`| ${wide}`)).toBe(0);
    expect(found(`\`\`\`\n${wide}\`\`\`\n`)).toBe(0);
    expect(found(`${"w ".repeat(60)}\n`)).toBe(0);
    expect(found(`${"w ".repeat(60)}w\n`)).toBe(1);
    expect(found(`made an${"ew"}\n`)).toBe(1);
  });

  test("types that switch checking off are found", () => {
    for (const use of [
      "const a: any = 1",
      "f(a as any)",
      "const a = b!.c",
      "const a = b[0]!",
      "const a = f()!;",
      "enum A {}",
    ])
      expect(findings("src/base/x.ts", `${use}\n`)).not.toBe("");
    expect(findings("src/base/x.ts", "export const x = !a && a !== b && a != c;\n")).toBe("");
  });

  test("constants in capitals are found, but where they are the C library's", () => {
    expect(findings("src/base/x.ts", "export const MAX_SIZE = 1;\n")).toContain("camelCase");
    expect(findings("src/base/x.ts", "export const maxSize = 1;\nexport class A {}\n")).toBe("");
    expect(findings("src/host/bun/linux_socket.ts", "const AF_INET = 2;\n")).toBe("");
  });

  test("a matcher that waits by itself is found", () => {
    expect(findings("src/base/x.test.ts", "await expect(a).rejects.toThrow(b);\n")).toContain("rejectionOf");
    expect(findings("src/base/x.test.ts", "expect(await rejectionOf(a)).toBe(b); // not .rejects\n")).toBe(
      "",
    );
  });

  test("bounds without a test are found; times and how work is cut are none", () => {
    const limits = [
      {
        path: "src/base/limits/x.ts",
        text: "export const xLimits = {\n  maxThings: 3,\n  waitMs: 5,\n  windowBytes: 7,\n  pageWindowBytes: 9,\n  joinedBytes: 11,\n} as const;\n",
      },
    ];
    const naming = (text: string) => untestedBounds(limits, [{ path: "src/x.test.ts", text }]);
    expect(naming("xLimits.maxThingsElsewhere")).toEqual(["xLimits.maxThings", "xLimits.windowBytes"]);
    expect(naming("const { maxThings, windowBytes } = xLimits;")).toEqual([]);
  });

  test("names, length, barrels and forbidden words are found", () => {
    expect(findings("src/base/utils.ts", "")).toContain("says nothing");
    expect(findings("src/base/camelCase.ts", "")).toContain("snake_case");
    expect(findings("src/base/x.ts", "\n".repeat(401))).toContain("split it");
    expect(findings("src/base/x.ts", 'export { a } from "./a.ts";\nexport { b } from "./b.ts";\n')).toContain(
      "barrel",
    );
    expect(findings("src/base/x.ts", `// ${"TO"}${"DO"}: later\n`)).toContain("finish it");
    expect(findings("src/base/x.ts", `const a = "/tm${"p"}/x";\n`)).toContain("one machine");
  });

  test("words that have to be translated are found in comments and titles, and not in data", () => {
    const unclear = [
      "nob" + "ody listens",
      "made an" + "ew",
      "it sta" + "nds in a file",
      "wire fa" + "cts 3.1",
    ];
    for (const words of unclear) {
      for (const text of [`/** ${words} */\n`, `a(); // ${words}\n`, `test("${words}", () => {});\n`])
        expect([text, findings("src/base/x.test.ts", text)]).toEqual([text, expect.stringContaining('": ')]);
      expect(findings("src/base/x.test.ts", `const a = "${words}";\n`)).toBe("");
    }
  });

  test("the reader of sources tells code from words", () => {
    expect(codeOnly("a = 'x' && /y\"/g; // z\nb")).toBe("a = ' ' &&      ;     \nb");
    expect(codeOnly("a / b / c")).toBe("a / b / c");
    expect(importsOf('import { type A, b as c } from "./x.ts";\nimport "./y.ts";\n')).toEqual([
      { specifier: "./x.ts", typeOnly: false, names: ["A", "b"], dynamic: false, line: 1 },
      { specifier: "./y.ts", typeOnly: false, names: [], dynamic: false, line: 2 },
    ]);
  });
});
