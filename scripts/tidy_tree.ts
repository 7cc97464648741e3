/** Rules about the tree as a whole: circles of imports, files that nothing imports, folders that grew too large, sub-folders' directions. */
import { dirname, join, normalize } from "node:path/posix";
import { maxLines, type SourceFile, unclearWords } from "./tidy_rules.ts";
import { type Import, importsOf } from "./tidy_source.ts";

/** Files of the product that nothing imports because they are where a program or a test world begins. */
const entryPoints: ReadonlySet<string> = new Set([
  "src/main.ts",
  "src/main_node.ts",
  "src/host/memory/world.ts",
]);

/** Product files in one folder, tests and generated files not counted. More than that and a prefix begins to do a folder's work. */
const maxFilesInFolder = 25;

/** A file of fewer lines with one caller goes into it, where it fits and no test is its own. */
const smallLines = 40;

/**
 * Inside a folder: which rooms a room may import. "" is the folder itself. A folder with sub-folders that is not here has no rule yet,
 * which is a finding too.
 */
export const roomTable: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  base: {
    "": ["limits"],
    limits: [],
    counts: ["", "limits"],
    pattern: ["", "limits"],
    settings: [""],
    turns: ["", "limits"],
  },
  host: {
    "": [],
    http: [""],
    system: ["", "http"],
    bun: ["", "system", "bun/handover", "bun/passing"],
    "bun/handover": ["", "bun"],
    "bun/passing": ["", "bun", "bun/handover"],
    node: ["", "system"],
    memory: ["", "http"],
    capture: [""],
  },
  wire: {
    "": ["h1", "h2"],
    hpack: [],
    h1: ["h2", "hpack"],
    h2: ["hpack"],
    messages: [],
    dns: [],
    grpc: ["h2", "messages"],
    ads: ["messages"],
  },
  transport: { "": [], rpc: [""], http: [""] },
  mesh: {
    "": [],
    documents: ["", "traffic", "documents/kinds", "documents/kinds/traffic", "documents/kinds/security"],
    "documents/kinds": ["", "documents", "documents/kinds/traffic", "documents/kinds/security"],
    "documents/kinds/traffic": ["", "documents", "documents/kinds", "traffic"],
    "documents/kinds/security": ["", "documents", "documents/kinds"],
    traffic: ["", "documents", "store"],
    store: [""],
    convert: ["", "documents", "store", "traffic"],
    codec: ["", "store"],
    route: ["", "store"],
    targets: ["", "documents"],
    names: [],
  },
  policy: { "": ["explain"], wasm: [""], explain: [""] },
  pki: {
    der: [],
    crypto: ["der"],
    x509: ["der", "crypto"],
    trust: ["der", "crypto", "x509"],
    issue: ["der", "crypto", "x509", "trust"],
    svid: ["der", "crypto", "x509", "trust", "issue"],
    token: [],
  },
  proxy: {
    // Flows at the top use what is below them; a tunnel needs what a node shares.
    "": ["entry", "names", "tunnel", "carry"],
    names: [],
    entry: ["carry"],
    tunnel: ["", "carry"],
    carry: [],
  },
  waypoint: {
    // The pipeline is at the top; its stages do not know each other.
    "": ["serve", "match", "auth", "guard", "upstream", "telemetry", "extend"],
    extend: [""],
    serve: [""],
    match: [""],
    auth: [""],
    guard: [""],
    upstream: [""],
    telemetry: [""],
  },
  agent: {
    xds: [],
    join: ["xds"],
    files: [],
    workload_api: [],
  },
  control: {
    audit: ["records", "state"],
    records: [],
    state: ["records"],
    identity: ["state", "records"],
    keys: ["records"],
    rotation: ["keys", "records"],
    documents: ["state", "records", "identity"],
    ca: ["identity", "keys", "state", "records"],
    xds: ["identity", "records"],
  },
  admin: { "": [], node: [""], control: [""] },
  config: { "": ["node", "control"], node: [""], control: ["", "node"] },
  cli: {
    "": ["node", "control", "explain", "install"],
    install: [""],
    check: [""],
    node: ["", "check"],
    control: [""],
    explain: ["", "control"],
  },
  app: {
    "": [],
    node: ["", "node/workers"],
    "node/workers": ["", "node"],
    control: ["", "node"],
    command: ["", "node", "node/workers", "control"],
  },
};

export interface TreeFigures {
  readonly files: number;
  readonly lines: number;
  readonly folders: number;
  readonly largestFolder: { readonly path: string; readonly files: number };
  readonly longestFile: { readonly path: string; readonly lines: number };
  /** Each as the files that import each other. */
  readonly circles: readonly (readonly string[])[];
  readonly withoutImporter: readonly string[];
  readonly findings: readonly string[];
}

/** @param files all of `src/`. */
export function measureTree(files: readonly SourceFile[]): TreeFigures {
  const product = files.filter(({ path }) => isProduct(path));
  const graph = importGraph(product);
  const circles = findCircles(graph);
  const imported = new Set([...graph.values()].flat());
  const withoutImporter = product
    .map(({ path }) => path)
    .filter((path) => !imported.has(path) && !entryPoints.has(path));
  const folders = countByFolder(product);
  const largest = [...folders].reduce((most, one) => (one[1] > most[1] ? one : most), ["", 0] as const);
  const longest = product
    .filter(({ path }) => !path.endsWith(".gen.ts"))
    .map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }))
    .reduce((most, one) => (one.lines > most.lines ? one : most), { path: "", lines: 0 });
  return {
    files: product.length,
    lines: product.reduce((sum, { text }) => sum + text.split("\n").length - 1, 0),
    folders: folders.size,
    largestFolder: { path: largest[0], files: largest[1] },
    longestFile: longest,
    circles,
    withoutImporter,
    findings: [
      ...circles.map(
        (circle) => `${circle.join(" ↔ ")}: import each other; move what both need into a file of its own`,
      ),
      ...withoutImporter.map(
        (path) => `${path}: nothing in the product imports it; remove it, or move it to testing/`,
      ),
      ...smallWithOneCaller(files, graph).map(
        ([path, caller]) =>
          `${path}: under ${smallLines} lines, with one caller and no test; move it into ${caller}, or test it`,
      ),
      ...[...folders]
        .filter(([, count]) => count > maxFilesInFolder)
        .map(
          ([path, count]) =>
            `${path}/: ${count} files, ${maxFilesInFolder} at the most; give parts of it a room`,
        ),
      ...[...graph].flatMap(([path, targets]) => targets.flatMap((target) => refuseRoom(path, target))),
    ],
  };
}

function isProduct(path: string): boolean {
  return path.endsWith(".ts") && !path.endsWith(".test.ts") && !path.includes("/testing/");
}

function importGraph(
  files: readonly SourceFile[],
  counts: (one: Import) => boolean = () => true,
): ReadonlyMap<string, readonly string[]> {
  const known = new Set(files.map(({ path }) => path));
  return new Map(
    files.map(({ path, text }) => [
      path,
      importsOf(text)
        .filter((one) => one.specifier.startsWith(".") && counts(one))
        .map(({ specifier }) => normalize(join(dirname(path), specifier)))
        .filter((target) => known.has(target)),
    ]),
  );
}

/** The strongly connected components of more than one file (Tarjan), type-only imports included. */
export function findCircles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const open: string[] = [];
  const circles: string[][] = [];
  const visit = (node: string): number => {
    const own = order.size;
    order.set(node, own);
    lowest.set(node, own);
    open.push(node);
    for (const target of graph.get(node) ?? []) {
      const seen = order.get(target);
      const reach = seen === undefined ? visit(target) : open.includes(target) ? seen : own;
      lowest.set(node, Math.min(lowest.get(node) ?? own, reach));
    }
    const low = lowest.get(node) ?? own;
    if (low === own) {
      const circle = open.splice(open.indexOf(node));
      if (circle.length > 1 || graph.get(node)?.includes(node) === true) circles.push(circle.sort());
    }
    return low;
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return circles;
}

/** Small files that are no idea of their own: one file calls them, no test does, and they would fit into their caller. */
function smallWithOneCaller(
  files: readonly SourceFile[],
  graph: ReadonlyMap<string, readonly string[]>,
): [path: string, caller: string][] {
  const lines = new Map(files.map(({ path, text }) => [path, text.split("\n").length - 1]));
  const tested = new Set([...importGraph(files)].flatMap(([path, to]) => (isProduct(path) ? [] : to)));
  const loadedLater = new Set([...importGraph(files, ({ dynamic }) => dynamic).values()].flat());
  const callers = new Map<string, string[]>();
  for (const [path, targets] of graph)
    for (const target of new Set(targets)) callers.set(target, [...(callers.get(target) ?? []), path]);
  return [...callers].flatMap(([path, [caller, ...others]]) => {
    const own = lines.get(path) ?? 0;
    const isSmall =
      sameFolder(path, caller ?? "") && own < smallLines && own + (lines.get(caller ?? "") ?? 0) <= maxLines;
    return caller !== undefined &&
      others.length === 0 &&
      isSmall &&
      !tested.has(path) &&
      !loadedLater.has(path)
      ? [[path, caller]]
      : [];
  });
}

/** Of another folder's file it may be that it cannot be there: only `host/` knows the runtime. */
function sameFolder(one: string, other: string): boolean {
  return roomOf(one)[0] === roomOf(other)[0];
}

function countByFolder(files: readonly SourceFile[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { path } of files)
    if (!path.endsWith(".gen.ts")) counts.set(dirname(path), (counts.get(dirname(path)) ?? 0) + 1);
  return counts;
}

function refuseRoom(path: string, target: string): string[] {
  const [folder, from] = roomOf(path);
  const [targetFolder, to] = roomOf(target);
  if (folder === "" || folder !== targetFolder || from === to) return [];
  const rooms = roomTable[folder];
  const allowed = rooms?.[from];
  if (allowed === undefined)
    return [
      `${path}: src/${join(folder, from)}/ is not in the table of rooms (scripts/tidy_tree.ts); add it with its directions`,
    ];
  return allowed.includes(to)
    ? []
    : [
        `${path}: ${join(folder, from)}/ does not import ${join(folder, to)}/ (${target}); hand it over, or move the type`,
      ];
}

/** `src/mesh/documents/kinds/x.ts` → ["mesh", "documents/kinds"]; a file of src/ itself has no folder. */
function roomOf(path: string): readonly [folder: string, room: string] {
  const parts = dirname(path).split("/").slice(1);
  return [parts[0] ?? "", parts.slice(1).join("/")];
}

/** Lines of prose that no screen shows whole. Tables and code may be as wide as they have to. */
export function checkProse({ path, text }: SourceFile): string[] {
  const found: string[] = [];
  let isCode = false;
  for (const [index, line] of text.split("\n").entries()) {
    if (/^\s*(?:```|~~~)/.test(line)) isCode = !isCode;
    if (!isCode)
      for (const [pattern, why] of unclearWords)
        for (const [word] of line.matchAll(pattern)) found.push(`${path}:${index + 1}: "${word}": ${why}`);
    if (
      !isCode &&
      [...line].length > maxProseColumns &&
      !line.trimStart().startsWith("|") &&
      !isOneWord(line)
    )
      found.push(
        `${path}:${index + 1}: ${[...line].length} columns, ${maxProseColumns} at the most; wrap it`,
      );
  }
  return found;
}

const maxProseColumns = 120;

/** A link cannot be wrapped. */
function isOneWord(line: string): boolean {
  return !line
    .trim()
    .replace(/^[-*] /, "")
    .includes(" ");
}
