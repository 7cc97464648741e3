/** The house rules that a machine can keep. Each finding says what is wrong, why it matters and how to mend it. */
import { dirname, join, normalize } from "node:path/posix";
import { codeOnly, importsOf, lineOf, proseOnly } from "./tidy_source.ts";

export interface SourceFile {
  /** From the repository's root: `src/base/ip.ts`. */
  readonly path: string;
  readonly text: string;
}

interface Folder {
  /** Other folders of src/ it may import, besides itself. */
  readonly folders: readonly string[];
  /** Single rooms of folders that it does not import otherwise. */
  readonly rooms?: readonly string[];
  /** The only files of `host/` it may import: interfaces, and what drives a machine over any socket. */
  readonly host?: boolean;
  readonly packages: readonly string[];
}

/** The direction of imports. Without it the simulator slowly becomes a lie: whatever reaches a runtime directly is not simulated. */
export const importTable: Readonly<Record<string, Folder>> = {
  base: { folders: [], packages: ["@noble/hashes"] },
  // A Host has an HTTP client, and there is one parser of HTTP/1.
  host: { folders: ["base"], rooms: ["wire/h1"], packages: ["node:*", "bun", "bun:*"] },
  wire: { folders: ["base"], packages: ["@bufbuild/protobuf"] },
  transport: { folders: ["base", "wire"], host: true, packages: [] },
  mesh: { folders: ["base", "wire"], packages: ["yaml"] },
  policy: { folders: ["base", "mesh"], packages: [] },
  pki: {
    folders: ["base", "mesh"],
    host: true,
    packages: ["@peculiar/x509", "@peculiar/webcrypto", "jose", "reflect-metadata"],
  },
  files: { folders: ["base", "mesh"], host: true, packages: [] },
  agent: { folders: ["base", "wire", "transport", "mesh", "pki", "files"], host: true, packages: [] },
  control: { folders: ["base", "wire", "transport", "mesh", "pki", "files"], host: true, packages: [] },
  proxy: { folders: ["base", "wire", "transport", "mesh", "policy", "pki"], host: true, packages: [] },
  // What a node and the processes that carry its traffic say to each other.
  workers: { folders: ["base", "mesh", "pki"], host: true, packages: [] },
  waypoint: {
    folders: ["base", "wire", "transport", "mesh", "policy", "pki"],
    host: true,
    packages: ["hono", "jose", "@bufbuild/cel", "@bufbuild/re2"],
  },
  dns: { folders: ["base", "wire", "mesh"], host: true, packages: [] },
  admin: { folders: ["base", "mesh"], packages: ["hono"] },
  config: { folders: ["base", "mesh"], packages: ["yaml"] },
  cli: { folders: ["base", "mesh", "policy", "config"], packages: ["commander", "diff"] },
};

/** `app/` is the composition root and may import everything of the product; `main.ts` is the only file of src/ itself. */
const compositionRoot = /^src\/app\//;
const rootFiles: Readonly<Record<string, readonly string[]>> = {
  "main.ts": ["app", "cli", "host"],
  "main_node.ts": ["app", "cli", "host"],
};

const hostFilesForAll = ["src/host/host.ts", "src/host/database.ts"];
/** The host whose clock and randomness follow from a seed. */
const simulated = "src/host/memory/";
/** Of a folder, what it imports from outside src/. */
const exceptions: Readonly<Record<string, readonly string[]>> = {
  // Constants of the WASM image, shared with the AssemblyScript sources.
  policy: ["wasm/assembly/layout.ts"],
  // Printed: by `fairlead schema`, and as the version.
  app: ["docs/schemas/fairlead.json", "package.json"],
};

export function checkFile(file: SourceFile): readonly string[] {
  const code = codeOnly(file.text);
  const found = [
    ...checkName(file),
    ...checkLength(file),
    ...checkWords(file),
    ...checkClarity(file),
    ...checkTypes(file, code),
    ...checkBarrel(file, code),
    ...checkConstants(file, code),
    ...checkWaiting(file, code),
  ];
  if (!file.path.startsWith("src/") || isTest(file.path)) return found;
  return [...found, ...checkImports(file), ...checkGlobals(file, code)];
}

/** Tests, and what only they use. */
function isTest(path: string): boolean {
  return path.endsWith(".test.ts") || path.includes("/testing/");
}

function folderOf(path: string): string {
  const parts = path.split("/");
  return parts.length > 2 ? (parts[1] ?? "") : "";
}

function checkImports(file: SourceFile): string[] {
  const isRoot = compositionRoot.test(file.path);
  const found: string[] = [];
  for (const { specifier, typeOnly, names, line } of importsOf(file.text)) {
    const say = (message: string) => found.push(`${file.path}:${line}: ${message}`);
    if (specifier.startsWith(".")) {
      const target = normalize(join(dirname(file.path), specifier));
      if (!/\.(?:ts|json)$/.test(specifier))
        say(`"${specifier}" has no .ts ending; write it, every runtime needs it`);
      const reason =
        refuseForProduct(file.path, target) ?? (isRoot ? null : refusePath(file.path, target, typeOnly));
      if (reason !== null) say(reason);
      if (names.includes("mintPermit") && folderOf(file.path) !== "policy")
        say(
          "mintPermit is policy/'s alone: a Permit is proof that the engine decided; ask the engine for one",
        );
      if (names.includes("mintRequestPermit") && !file.path.startsWith("src/waypoint/auth/"))
        say("mintRequestPermit is waypoint/auth/'s alone: a RequestPermit is proof that the stage decided");
    } else if (!isRoot) {
      const reason = refusePackage(file.path, specifier);
      if (reason !== null) say(reason);
    }
  }
  return found;
}

/** What no file of the product imports, wherever it is. */
function refuseForProduct(path: string, target: string): string | null {
  if (isTest(target)) return `imports ${target}, which is for tests; product code does not depend on it`;
  if (target.startsWith(simulated) && !path.startsWith(simulated))
    return `imports ${target}, which is the simulator's: keys that are drawn from a seed are no secret`;
  if (target.startsWith("src/") || exceptions[folderOf(path)]?.includes(target) === true) return null;
  return `imports ${target}, which is outside src/; product code stands alone`;
}

function refusePath(path: string, target: string, typeOnly: boolean): string | null {
  const from = folderOf(path);
  const to = folderOf(target);
  if (from === "") return refuseRootImport(path, target);
  if (exceptions[from]?.includes(target) === true) return null;
  if (to === from) return null;
  if (to === "")
    return `imports ${target}; only main.ts and app/ are above the folders: take what you need as an argument`;
  const row = importTable[from];
  if (row === undefined)
    return `src/${from}/ is not in the import table; add a row with a reason (scripts/tidy_rules.ts)`;
  if (row.folders.includes(to)) return null;
  if (row.rooms?.includes(dirname(target).replace(/^src\//, "")) === true) return null;
  // Rows as they are kept are shown as they are: written once, and the shapes alone.
  if (from === "admin" && typeOnly && target.startsWith("src/control/records/")) return null;
  if (to === "host" && row.host === true) return refuseHostImport(target, typeOnly);
  return `${from}/ does not import ${to}/ (the table is in src/README.md); app/ hands it over as an argument`;
}

function refuseHostImport(target: string, typeOnly: boolean): string | null {
  if (!hostFilesForAll.includes(target))
    return `imports ${target}; outside host/ only ${hostFilesForAll.join(" and ")} may be imported, or the simulator cannot replace it`;
  return target.endsWith("/host.ts") && !typeOnly
    ? "imports host.ts for more than types; it has nothing else"
    : null;
}

function refuseRootImport(path: string, target: string): string | null {
  const allowed = rootFiles[path.slice("src/".length)];
  if (allowed === undefined) return `${path} is not a known file of src/; put it into a folder`;
  const to = folderOf(target);
  const name = to === "" ? target.replace(/^src\//, "") : to;
  return allowed.includes(name) ? null : `${path} does not import ${name}; app/ is the only composition root`;
}

function refusePackage(path: string, specifier: string): string | null {
  const folder = folderOf(path);
  const packages = folder === "" ? [] : (importTable[folder]?.packages ?? []);
  const fits = packages.some((name) =>
    name.endsWith("*")
      ? specifier.startsWith(name.slice(0, -1))
      : specifier === name || specifier.startsWith(`${name}/`),
  );
  if (fits) return null;
  const where = folder === "" ? path : `${folder}/`;
  return specifier.startsWith("node:") || specifier === "bun" || specifier.startsWith("bun:")
    ? `${where} names a runtime ("${specifier}"); only host/ does: take what you need from Host`
    : `${where} does not use "${specifier}" (import table); wrap it in the folder that owns it`;
}

/** Reached through Host alone, so that a seeded simulator controls every one of them. */
const runtimeGlobals: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/\bBun\b/g, "Host"],
  [/\bDeno\b/g, "Host"],
  [/(?<![.\w])process\./g, "Host.process"],
  [/\b(?:Date\.now|performance\.)/g, "Host.clock"],
  [/\bnew Date\(\s*\)/g, "Host.clock.wallMs()"],
  [/\bMath\.random\b/g, "Host.random"],
  [/(?<![.\w])(?:setTimeout|setInterval|setImmediate)\(/g, "Host.clock.setTimer"],
  [/(?<![.\w])queueMicrotask\(/g, "Host.clock.defer"],
  [/(?<![.\w])console\./g, "a Logger, or Host.process.writeOut"],
  [/(?<![.\w#])crypto\./g, "the CryptoProvider, or Host.random"],
  [/(?<![.\w#])fetch\(/g, "a function that app/ hands in"],
  [/(?<![.\w])Buffer\./g, "Uint8Array"],
  [/(?<![.\w])require\(/g, "import"],
  [/\bglobalThis\b/g, "an argument"],
];

/** file → names it may use all the same, and why. */
const globalExceptions: Readonly<Record<string, readonly string[]>> = {
  // The runtime's own WebCrypto is one of the two providers; this file is where it enters.
  "src/pki/crypto/provider.ts": ["crypto", "globalThis"],
};

function checkGlobals(file: SourceFile, code: string): string[] {
  if (folderOf(file.path) === "host") return [];
  const found: string[] = [];
  const allowed = globalExceptions[file.path] ?? [];
  for (const [pattern, instead] of runtimeGlobals) {
    for (const match of code.matchAll(pattern)) {
      const word = match[0].replace(/[.(\s)]+$/, "");
      if (allowed.some((name) => word.startsWith(name)) || isDeclared(code, word)) continue;
      found.push(
        `${file.path}:${lineOf(code, match.index)}: uses ${word}; use ${instead}: what bypasses Host cannot be simulated`,
      );
    }
  }
  return found;
}

/** Whether the file has a parameter or variable of its own by this name (`crypto` of a CryptoProvider, say). */
function isDeclared(code: string, name: string): boolean {
  return new RegExp(`(?:[(,]\\s*|\\bconst (?:\\{ )?)${name}(?:: | = | \\})`).test(code);
}

function checkTypes(file: SourceFile, code: string): string[] {
  const found: string[] = [];
  for (const match of code.matchAll(/(?::|<|\bas|\|)\s*any\b(?!\s*\()/g))
    found.push(
      `${file.path}:${lineOf(code, match.index)}: the type any switches checking off; use unknown and narrow it`,
    );
  for (const match of code.matchAll(/[\w)\]]!(?!=)/g))
    found.push(
      `${file.path}:${lineOf(code, match.index)}: ! hides a null from the compiler; check it, or assert() with a reason`,
    );
  for (const match of code.matchAll(/^\s*(?:export )?(?:declare )?(?:const )?(?:enum|namespace) \w+/gm))
    found.push(
      `${file.path}:${lineOf(code, match.index)}: only erasable syntax, so that every runtime runs the source as it is`,
    );
  return found;
}

/** Files whose constants are the C library's, by its own names. */
const namesOfC = [
  "src/host/bun/datagrams.ts",
  "src/host/bun/handover/descriptors.ts",
  "src/host/bun/linux_socket.ts",
  "src/host/bun/linux_unix_socket.ts",
  "src/host/bun/passing/descriptor_messages.ts",
  "conformance/capture/packets.ts",
];

function checkConstants(file: SourceFile, code: string): string[] {
  if (namesOfC.includes(file.path) || file.path.startsWith("wasm/assembly/") || file.path.endsWith(".gen.ts"))
    return [];
  return [...code.matchAll(/^(?:export )?const ([A-Z][A-Z0-9_]+)\b/gm)].map(
    (match) => `${file.path}:${lineOf(code, match.index)}: ${match[1]}: constants are camelCase here`,
  );
}

/**
 * Bun 1.4.5 waits for `expect(promise).rejects` in a loop inside the event loop, in which immediates do not run while a server, a
 * timer or a child of any test file is there.
 */
function checkWaiting(file: SourceFile, code: string): string[] {
  return [...code.matchAll(/\.(?:rejects|resolves)\b/g)].map(
    (match) =>
      `${file.path}:${lineOf(code, match.index)}: ${match[0]} stops simulated time when other tests run in the same process; await rejectionOf or outcomeOf (src/base/testing/rejection.ts)`,
  );
}

function checkBarrel(file: SourceFile, code: string): string[] {
  // Of our own files: the one door to a package is no barrel.
  const reExports = [...file.text.matchAll(/^export (?:type )?(?:\*|\{[^}]*\})[^;]*? from "\./gm)].length;
  const statements = code.split("\n").filter((line) => /^\S/.test(line) && !/^[})\]]/.test(line)).length;
  return reExports > 0 && reExports >= statements / 2
    ? [`${file.path}: is a barrel; import from the file that owns the name, so that directions stay visible`]
    : [];
}

const vagueNames =
  /^(?:utils?|helpers?|common|misc|shared|index|types|constants|lib)(?:\.test)?\.(?:ts|mjs)$/;

function checkName(file: SourceFile): string[] {
  const name = file.path.split("/").at(-1) ?? "";
  if (vagueNames.test(name) && !file.path.startsWith("wasm/assembly/"))
    return [`${file.path}: "${name}" says nothing of what is in it; name the one idea it holds`];
  return /^[a-z0-9]+(?:_[a-z0-9]+)*(?:\.(?:test|gen|d|test-d))?\.(?:ts|mjs)$/.test(name)
    ? []
    : [`${file.path}: file names are snake_case.ts`];
}

export const maxLines = 400;
/** Files that may be longer, and why. */
const longFiles: Readonly<Record<string, string>> = {};

function checkLength(file: SourceFile): string[] {
  if (file.path in longFiles || file.path.endsWith(".gen.ts") || isTest(file.path)) return [];
  const lines = file.text.split("\n").length - 1;
  return lines > maxLines
    ? [`${file.path}: ${lines} lines; one idea a file, ${maxLines} at the most: split it`]
    : [];
}

/** Built from pieces so that this file does not hold what it looks for. */
const forbiddenWords: readonly (readonly [pattern: RegExp, why: string])[] = [
  [
    new RegExp(`\\b(?:${["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|")})\\b`, "g"),
    "finish it, or say what is not supported in the README's limits",
  ],
  [
    new RegExp(`["'\`(\\s]/(?:${["tm" + "p", "wor" + "k", "roo" + "t", "hom" + "e"].join("|")})/`, "g"),
    "a path of one machine; take it as an argument or use the runtime's temporary folder",
  ],
  [
    new RegExp(
      ["registry\\.npm" + "js", "pypi\\." + "org", "proxy\\.gol" + "ang", "crates\\." + "io"].join("|"),
      "g",
    ),
    "names a registry host; use the client as it is configured",
  ],
];

/** Words of comments and test titles that a reader has to translate first. Of a name that is data (a host, an account) nothing is said. */
export const unclearWords: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/\bnobody\b/gi, 'say who: "no caller", "no node", "no listener"'],
  [/\banew\b/gi, 'say "again"'],
  [/\b(?:stands?|stood|standing) (?:in|on)\b/gi, 'say "is in", "is on", "rests on"'],
  [/\bwire facts\b/gi, "cite what a reader can open: the RFC, or Istio's file and function"],
];

function checkClarity(file: SourceFile): string[] {
  const prose = proseOnly(file.text);
  return unclearWords.flatMap(([pattern, why]) =>
    [...prose.matchAll(pattern)].map(
      (match) => `${file.path}:${lineOf(prose, match.index)}: "${match[0]}": ${why}`,
    ),
  );
}

function checkWords(file: SourceFile): string[] {
  const found: string[] = [];
  for (const [pattern, why] of forbiddenWords)
    for (const match of file.text.matchAll(pattern))
      found.push(`${file.path}:${lineOf(file.text, match.index)}: "${match[0].trim()}": ${why}`);
  return found;
}
