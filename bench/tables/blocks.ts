/**
 * Tables of the READMEs, made of raw results alone: one run each, whatever is in bold or a ratio is worked out here. A block of a page
 * lies between `<!-- bench NAME -->` and `<!-- end -->`; `npm run bench -- tables` writes them, a test says when one is stale. Between
 * `<!-- kept NAME -->` and `<!-- end -->` is a table whose raw results were not kept: with the first ones that are, it becomes a block.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { besideIstiod } from "../control/beside_istiod.ts";
import type { Round } from "../control/run.ts";
import { idleTable } from "../growth/idle.ts";
import { growthPage } from "../growth/page.ts";
import type { MicroResult } from "../micro/measure.ts";
import type { EngineFigure } from "../micro/record.ts";
import { type Run, ratio, type Summaries, type Summary, summarize, table } from "../tunnel/report.ts";
import { markdown, ranged, rangedOrNot, significant, summaryOf, wrapped } from "./cells.ts";
import { engineTable, policyTable } from "./micro_tables.ts";

const repository = join(import.meta.dir, "..", "..");
export const pages = ["README.md", "bench/README.md", "bench/micro/README.md"] as const;

interface Raw {
  /** ISO 8601. */
  readonly date: string;
  readonly machine: { readonly kernel: string; readonly cpu: string; readonly cores: number };
  readonly bun: string;
  /** Of a machine that did other things beside: what they took. */
  readonly busy?: string | null;
  readonly load?: number;
}

interface RawRuns extends Raw {
  readonly rounds: number;
  readonly runs: readonly Run[];
}

interface RawControl extends Raw {
  readonly size: { readonly workloads: number; readonly services: number; readonly policies: number };
  readonly nodes: number;
  readonly rounds: readonly Round[];
}

interface RawMicro extends Raw {
  readonly results: readonly MicroResult[];
  readonly figures: readonly EngineFigure[];
}

/** Null where there is none. */
function read<T extends Raw>(name: string): T | null {
  const path = join(repository, "bench", "raw", `${name}.json`);
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : null;
}

/** @param rounds null where a table says it itself. */
function where({ date, machine, bun, busy, load }: Raw, rounds: number | null): string {
  const [cpu = machine.cpu] = machine.cpu.split(" with ");
  const other =
    busy != null
      ? `, **while ${busy}**, so that ratios of one round mean more than figures`
      : load !== undefined && load > 1
        ? `, at a load of ${load.toFixed(1)} when it ended`
        : "";
  const kernel = machine.kernel.split("-")[0];
  const inTurn = `: ${rounds} rounds, in turn; medians (lowest–highest)`;
  const times = rounds === null ? "" : rounds === 1 ? ": one round" : inTurn;
  return wrapped(
    `${date.slice(0, 10)}, ${cpu}, ${machine.cores} cores, Linux ${kernel}, Bun ${bun}${other}${times}.`,
  );
}

/** What a reader wants first; all of it is in bench/README.md. A name with a role has two measures, outbound and inbound. */
const tunnelRows: readonly (readonly [said: string, measure: string, hasRoles: boolean])[] = [
  ["CPU µs per keep-alive request, 32 connections", "CPU us/request at 32", true],
  ["the same, 256 connections", "CPU us/request at 256", true],
  ["the same, 1 connection", "CPU us/request at 1", true],
  ["CPU µs per new connection", "CPU us/connection", true],
  ["new connections a second", "new connections/s", false],
  ["p99 of a new connection, ms", "new connection p99 ms", false],
  ["p99, 1 connection, ms", "p99 ms at 1", false],
  ["p99, 32 connections, ms", "p99 ms at 32", false],
  ["p99, 256 connections, ms", "p99 ms at 256", false],
  ["bulk up, Gbit/s", "bulk Gbit/s up", false],
  ["bulk down, Gbit/s", "bulk Gbit/s down", false],
  ["CPU seconds per GB, up", "CPU s/GB up", true],
  ["CPU seconds per GB, down", "CPU s/GB down", true],
  ["KB per idle connection", "KB per idle connection", true],
  ["resident MB when idle", "idle MB rss", true],
  ["CPU seconds from start to idle", "CPU s from start to idle", true],
];

function tunnelAgainst(summaries: Summaries, reference: string): string {
  const rows: string[][] = [];
  for (const [said, measure, hasRoles] of tunnelRows) {
    const isMeasured = (role: string) => summaries.get(reference)?.has(`${measure}${role}`) === true;
    const roles = (hasRoles ? [" outbound", " inbound"] : [""]).filter(isMeasured);
    const cells = (subject: string) =>
      roles.map((role) => {
        const found = summaries.get(subject)?.get(`${measure}${role}`);
        return found === undefined ? "?" : ranged(found);
      });
    const ratios = roles.map((role) => {
      const value = ratio(summaries, `${measure}${role}`, "fairlead", reference);
      if (value === null || !Number.isFinite(value)) return "?";
      const text = significant(Number(value.toPrecision(2)));
      return value < 1 ? `**${text}**` : text;
    });
    if (ratios.every((text) => text === "?")) continue;
    rows.push([said, cells(reference).join(" / "), cells("fairlead").join(" / "), ratios.join(" / ")]);
  }
  return markdown(["measure (outbound / inbound)", reference, "Fairlead", "ratio"], rows);
}

function controlRows({ rounds }: RawControl, columns: readonly Column[]): string {
  const whats = rounds[0]?.rows.map(({ what }) => what) ?? [];
  const rows = whats.map((what) => {
    const all = rounds
      .map(({ rows: of }) => of.find((row) => row.what === what))
      .filter((row) => row !== undefined);
    return [what, ...columns.map(({ of }) => rangedOrNot(all.map(of)))];
  });
  return markdown(["what", ...columns.map(({ name }) => name)], rows);
}

type ControlRow = Round["rows"][number];
interface Column {
  readonly name: string;
  readonly of: (row: ControlRow) => number | null;
}

const controlColumns: readonly Column[] = [
  { name: "median ms", of: ({ medianMs }) => medianMs },
  { name: "last ms", of: ({ lastMs }) => lastMs },
  { name: "CPU ms", of: ({ cpuMs }) => cpuMs },
  { name: "KB", of: ({ bytes }) => bytes / 1024 },
  { name: "responses", of: ({ responses }) => responses },
  { name: "RSS MB", of: ({ residentBytes }) => residentBytes / 1024 / 1024 },
];

function certificateRows({ rounds }: RawControl): string {
  const whats = rounds[0]?.certificates.map(({ what }) => what) ?? [];
  const rows = whats.map((what) => {
    const all = rounds.flatMap(({ certificates }) => certificates.filter((row) => row.what === what));
    return [
      what,
      rangedOrNot(all.map(({ perSecond }) => perSecond)),
      rangedOrNot(all.map(({ p50Ms }) => p50Ms)),
      rangedOrNot(all.map(({ p99Ms }) => p99Ms)),
      rangedOrNot(all.map(({ cpuMs }) => cpuMs)),
      rangedOrNot(all.map(({ residentBytes }) => residentBytes / 1024 / 1024)),
    ];
  });
  return markdown(["asked for", "per second", "p50 ms", "p99 ms", "CPU ms", "RSS MB"], rows);
}

function memoryOf({ rounds, nodes }: RawControl): string {
  const of = (pick: (memory: Round["memory"]) => number) =>
    ranged(summaryOf(rounds.map(({ memory }) => pick(memory) / 1024 / 1024)));
  return wrapped(
    `Resident after a collection, MB: ${of((memory) => memory.beforeBytes)} with the mesh, ${of((memory) => memory.encodedBytes)} with its resources, ${of((memory) => memory.connectedBytes)} with ${nodes} nodes (heap ${of((memory) => memory.heapBytes)}).`,
  );
}

/** Of a table whose raw results were not kept: its caption, and its cells. */
interface Kept {
  readonly caption: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

function kept(name: string): Kept {
  const page = readFileSync(join(repository, "bench", "README.md"), "utf8");
  const text = [...page.matchAll(blockPattern)].find(
    ([, , kind, own]) => kind === "kept" && own === name,
  )?.[4];
  if (text === undefined) throw new Error(`bench/README.md keeps no table of ${name}`);
  const lines = text.split("\n");
  const cells = (line: string) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim());
  const [head = "", , ...rows] = lines.filter((line) => line.startsWith("|"));
  const caption = lines.slice(0, lines.indexOf(head)).join("\n").trim();
  return { caption, head: cells(head), rows: rows.map(cells) };
}

/** `30.9 (28.5–31.4)`. */
function summaryIn(cell: string): Summary | null {
  const [median, min = median, max = median] =
    cell.match(/[0-9][0-9,.]*/g)?.map((text) => Number(text.replaceAll(",", ""))) ?? [];
  return median === undefined || min === undefined || max === undefined ? null : { median, min, max };
}

function keptSummaries({ head, rows }: Kept): Summaries {
  return new Map(
    head.slice(1).map((subject, column) => [
      subject,
      new Map(
        rows.flatMap(([measure = "", ...cells]) => {
          const found = summaryIn(cells[column] ?? "");
          return found === null ? [] : [[measure, found] as const];
        }),
      ),
    ]),
  );
}

/** The columns that a reader wants first. */
function keptInShort({ caption, head, rows }: Kept, columns: readonly string[]): string {
  const at = columns.map((name) => head.indexOf(name));
  const of = (row: readonly string[]) => [row[0] ?? "", ...at.map((column) => row[column] ?? "")];
  return `${caption}\n\n${markdown(of(head), rows.map(of))}`;
}

/** Of a block, or of a table that is kept, and whether there are raw results to make it of. */
export function hasRaw(name: string): boolean {
  const [word = ""] = name.split(" ");
  const file = ["tunnel", "cores", "growth", "waypoint", "micro"].includes(word) ? word : "control";
  return existsSync(join(repository, "bench", "raw", `${file}.json`));
}

/** What a block of this name says. @throws Error for a name that is none. */
export function block(name: string): string {
  switch (name) {
    case "tunnel":
    case "tunnel against ztunnel": {
      const raw = read<RawRuns>("tunnel");
      if (raw === null) {
        const table = kept("tunnel");
        return `${table.caption}\n\n${tunnelAgainst(keptSummaries(table), "ztunnel")}`;
      }
      const summaries = summarize(raw.runs);
      const body = name === "tunnel" ? table(summaries, "fairlead", []) : tunnelAgainst(summaries, "ztunnel");
      return `${where(raw, raw.rounds)}\n\n${body}`;
    }
    case "cores": {
      const raw = read<RawRuns>("cores");
      if (raw === null) throw new Error("there are no raw results of cores");
      return `${where(raw, raw.rounds)}\n\n${table(summarize(raw.runs), "fairlead 2", ["fairlead 1", "ztunnel 2"])}`;
    }
    case "growth": {
      const raw = read<RawRuns>("growth");
      if (raw === null) throw new Error("there are no raw results of growth");
      return `${where(raw, raw.rounds)}\n\n${growthPage(summarize(raw.runs))}`;
    }
    case "growth idle": {
      const raw = read<RawRuns>("growth_idle");
      return raw === null
        ? "Not measured yet: the first raw results of `--idle` put the table here."
        : `${where(raw, raw.rounds)}\n\n${idleTable(summarize(raw.runs))}`;
    }
    case "waypoint": {
      const raw = read<RawRuns>("waypoint");
      if (raw === null) throw new Error("there are no raw results of the waypoint");
      return `${where(raw, raw.rounds)}\n\n${table(summarize(raw.runs), "fairlead", ["envoy"])}`;
    }
    case "control":
    case "control in short": {
      const raw = read<RawControl>("control");
      if (raw === null) return keptInShort(kept("control"), ["last ms", "CPU ms"]);
      const { workloads, services, policies } = raw.size;
      const mesh = `${workloads.toLocaleString("en")} workloads, ${services.toLocaleString("en")} services, ${policies} policies, ${raw.nodes} nodes.`;
      const head = `${where(raw, raw.rounds.length)}\n${mesh}`;
      return name === "control"
        ? `${head}\n\n${controlRows(raw, controlColumns)}\n\n${memoryOf(raw)}`
        : `${head}\n\n${controlRows(raw, controlColumns.slice(1, 3))}`;
    }
    case "control beside istiod": {
      const raw = read<RawControl>("control");
      const body = raw === null ? null : besideIstiod(raw.rounds);
      return raw === null || body === null
        ? "Not measured yet: the first raw results with a whole istiod (`ISTIOD_LAB`) put the table here."
        : `${where(raw, raw.rounds.length)}\n\n${body}`;
    }
    case "certificates": {
      const raw = read<RawControl>("control");
      if (raw === null) throw new Error("there are no raw results of the control plane");
      return `${where(raw, raw.rounds.length)}\n\n${certificateRows(raw)}`;
    }
    case "micro policy":
    case "micro engines": {
      const raw = read<RawMicro>("micro");
      if (raw === null) throw new Error("there are no raw results of the micro benchmarks");
      const body = name === "micro policy" ? policyTable(raw.results) : engineTable(raw.figures);
      return `${where(raw, null)}\n\n${body}`;
    }
    default:
      throw new Error(`no table is called ${name}`);
  }
}

const blockPattern = /(<!-- (bench|kept) ([a-z ]+?) -->\n)([\s\S]*?)(\n<!-- end -->)/g;

/** A page with its blocks as the raw results have them. */
export function withBlocks(text: string): string {
  return text.replace(blockPattern, (whole, _, kind: string, name: string, __, close: string) =>
    kind === "kept" && !hasRaw(name) ? whole : `<!-- bench ${name} -->\n${block(name)}${close}`,
  );
}

/** Of a page, in order. */
export function blocksOf(text: string): readonly { readonly kind: string; readonly name: string }[] {
  return [...text.matchAll(blockPattern)].map(([, , kind = "", name = ""]) => ({ kind, name }));
}

/** What is in no block. */
export function withoutBlocks(text: string): string {
  return text.replace(blockPattern, "");
}
