/** The screen of `fairlead top`: what keys do to it, and what is on it. Knows no terminal. */
import type { Style } from "../style.ts";
import { cut, formatBytes, formatCount } from "./screen_text.ts";
import { type Reading, type TopRow, topRows } from "./top_rows.ts";

export interface ScreenSize {
  readonly columns: number;
  readonly rows: number;
}

interface Column {
  readonly title: string;
  readonly width: number;
  readonly cell: (row: TopRow) => string;
  readonly order: (row: TopRow) => number;
}

/** The most telling first: the others go where the screen is narrow. */
const columns: readonly Column[] = [
  {
    title: "CONN/s",
    width: 6,
    cell: ({ connections }) => formatCount(connections),
    order: (row) => row.connections,
  },
  { title: "DENY/s", width: 6, cell: ({ denied }) => formatCount(denied), order: (row) => row.denied },
  { title: "FAIL/s", width: 6, cell: ({ failed }) => formatCount(failed), order: (row) => row.failed },
  { title: "REQ/s", width: 5, cell: ({ requests }) => formatCount(requests), order: (row) => row.requests },
  { title: "OPEN", width: 5, cell: ({ open }) => formatCount(open), order: (row) => row.open },
  { title: "IN/s", width: 5, cell: ({ bytesIn }) => formatBytes(bytesIn), order: (row) => row.bytesIn },
  { title: "OUT/s", width: 5, cell: ({ bytesOut }) => formatBytes(bytesOut), order: (row) => row.bytesOut },
];
const minNameWidth = 12;
const gap = "  ";

const keyHelp = [
  "up, down, j, k   choose a service",
  "enter            show its callers; esc goes back",
  "s, S             sort by the next column, by the one before",
  "/                show what has these letters in its name; esc shows all",
  "?                this help",
  "q                quit",
];

export class TopView {
  #before: Reading | null = null;
  #now: Reading | null = null;
  /** Of `columns`. */
  #sort = 0;
  #chosen: string | null = null;
  /** Whose callers are shown; null for all services. */
  #service: string | null = null;
  #filter = "";
  #typing = false;
  #helping = false;
  /** Why the node does not answer; null while it does. */
  problem: string | null = null;

  /** @returns whether there are two readings now, and so rates. */
  take(reading: Reading): boolean {
    this.#before = this.#now;
    this.#now = reading;
    this.problem = null;
    return this.#before !== null;
  }

  /** @param pressed as a terminal sends it. @returns false to quit. */
  key(pressed: string): boolean {
    if (pressed === "\u0003" || pressed === "\u0004") return false;
    if (this.#typing) this.#type(pressed);
    else if (this.#helping) this.#helping = false;
    else return this.#command(pressed);
    return true;
  }

  #type(pressed: string): void {
    if (pressed === "\r" || pressed === "\n") this.#typing = false;
    else if (pressed === "\u001b") {
      this.#filter = "";
      this.#typing = false;
    } else if (pressed === "\u007f" || pressed === "\b")
      this.#filter = [...this.#filter].slice(0, -1).join("");
    else if (/^[\x20-\x7e]+$/.test(pressed)) this.#filter += pressed;
  }

  #command(pressed: string): boolean {
    switch (pressed) {
      case "q":
        return false;
      case "?":
      case "h":
        this.#helping = true;
        break;
      case "s":
        this.#sort = (this.#sort + 1) % columns.length;
        break;
      case "S":
        this.#sort = (this.#sort + columns.length - 1) % columns.length;
        break;
      case "/":
        this.#typing = true;
        this.#filter = "";
        break;
      case "j":
      case "\u001b[B":
        this.#move(1);
        break;
      case "k":
      case "\u001b[A":
        this.#move(-1);
        break;
      case "\r":
      case "\n":
        if (this.#service === null) this.#service = this.#chosenRow()?.name ?? null;
        this.#chosen = null;
        break;
      case "\u001b":
        if (this.#filter === "") this.#service = null;
        this.#filter = "";
    }
    return true;
  }

  #move(by: 1 | -1): void {
    const rows = this.#rows();
    const at = rows.findIndex(({ name }) => name === this.#chosen);
    const to = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
    this.#chosen = rows[to]?.name ?? null;
  }

  #chosenRow(): TopRow | undefined {
    const rows = this.#rows();
    return rows.find(({ name }) => name === this.#chosen) ?? rows[0];
  }

  #rows(): readonly TopRow[] {
    if (this.#now === null) return [];
    const order = columns[this.#sort]?.order ?? (() => 0);
    return topRows(this.#before, this.#now, this.#service)
      .filter(({ name }) => name.includes(this.#filter))
      .sort((left, right) => order(right) - order(left) || (left.name < right.name ? -1 : 1));
  }

  /** Lines for a screen, at most as many as it has and none wider; of no screen, all rows. */
  lines(size: ScreenSize | null, style: Style): readonly string[] {
    const width = size?.columns ?? Number.POSITIVE_INFINITY;
    if (this.#helping) return keyHelp.map((line) => cut(line, width));
    const rows = this.#rows();
    const shown = columns.filter((_, index) => fits(index, width));
    const nameWidth = this.#nameWidth(rows, shown, width);
    const line = (name: string, cells: readonly string[]): string =>
      [
        cut(name, nameWidth).padEnd(nameWidth),
        ...cells.map((cell, index) => cell.padStart(shown[index]?.width ?? 0)),
      ].join(gap);
    const titles = shown.map(({ title }) => title);
    const head = line(this.#service === null ? "SERVICE" : `CALLERS OF ${this.#service}`, titles);
    const bodyRows = size === null ? rows.length : Math.max(0, size.rows - 3);
    const body = this.#window(rows, bodyRows).map((row) => {
      const words = line(
        row.name,
        shown.map(({ cell }) => cell(row)),
      );
      if (size !== null && row.name === this.#chosen) return style.bold(words);
      return row.denied > 0 || row.failed > 0 ? style.red(words) : words;
    });
    if (size === null) return [head, ...body];
    return [
      cut(this.#summary(rows), width),
      style.bold(head),
      ...body,
      style.dim(cut(this.#footer(), width)),
    ].slice(0, size.rows);
  }

  #nameWidth(rows: readonly TopRow[], shown: readonly Column[], width: number): number {
    const longest = Math.max(minNameWidth, ...rows.map(({ name }) => name.length));
    if (width === Number.POSITIVE_INFINITY) return longest;
    const taken = shown.reduce((sum, column) => sum + gap.length + column.width, 0);
    return Math.max(1, width - taken);
  }

  /** The part of the list in which the chosen row is. */
  #window(rows: readonly TopRow[], count: number): readonly TopRow[] {
    const at = rows.findIndex(({ name }) => name === this.#chosen);
    const from = Math.max(0, Math.min(at - count + 1, rows.length - count));
    return rows.slice(from, from + count);
  }

  #summary(rows: readonly TopRow[]): string {
    if (this.problem !== null) return `the node does not answer: ${this.problem}`;
    const sum = (pick: (row: TopRow) => number): number => rows.reduce((all, row) => all + pick(row), 0);
    const bytes = sum((row) => row.bytesIn + row.bytesOut);
    const one = this.#service === null ? "service" : "caller";
    const what = `${rows.length} ${one}${rows.length === 1 ? "" : "s"}`;
    return `${what}, ${formatCount(sum((row) => row.open))} open, ${formatCount(sum((row) => row.connections))} connections/s, ${formatBytes(bytes)}/s, ${formatCount(sum((row) => row.denied))} denied/s`;
  }

  #footer(): string {
    if (this.#typing) return `/${this.#filter}_`;
    const filtered = this.#filter === "" ? "" : `names with "${this.#filter}" (esc: all); `;
    return `${filtered}sorted by ${columns[this.#sort]?.title}; ?: keys, q: quit`;
  }
}

function fits(index: number, width: number): boolean {
  const taken = columns.slice(0, index + 1).reduce((sum, column) => sum + gap.length + column.width, 0);
  return taken + minNameWidth <= width;
}
