/** A document that stands some lines further down, or up, than where it was parsed: the same in all but its places. */
import { IpAddress } from "../../base/ip.ts";
import type { ParsedEntry } from "./parse.ts";

/**
 * Twenty times as fast as to parse it again, which is what a line more at the top of a large file would cost for all that follow.
 *
 * @returns null where it has to be parsed: it was refused or warned of, in words that may name a line, or holds what is not known here.
 */
export function relocate(entries: readonly ParsedEntry[], lines: number): readonly ParsedEntry[] | null {
  const moved: ParsedEntry[] = [];
  for (const entry of entries) {
    const { document, errors } = entry;
    if (document === null || errors.length > 0 || document.warnings.length > 0) return null;
    const copy = moveValue(entry, lines);
    if (copy === unknown) return null;
    moved.push(copy as ParsedEntry);
  }
  return moved;
}

const unknown = Symbol("a value of no kind that is known");

function moveValue(value: unknown, lines: number): unknown {
  if (typeof value !== "object" || value === null) return typeof value === "function" ? unknown : value;
  if (value instanceof IpAddress) return value;
  if (Array.isArray(value)) return moveItems(value, lines);
  if (value instanceof Map) {
    const items = moveItems([...value.values()], lines);
    if (items === unknown) return unknown;
    return new Map([...value.keys()].map((key, index) => [key, (items as readonly unknown[])[index]]));
  }
  if (value instanceof Set)
    return [...value].every((item) => typeof item !== "object" || item === null) ? value : unknown;
  if (Object.getPrototypeOf(value) !== Object.prototype) return unknown;
  const copy: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    const moved = moveValue(item, lines);
    if (moved === unknown) return unknown;
    copy[key] = moved;
  }
  if (isLocation(copy)) copy.line += lines;
  return copy;
}

function moveItems(items: readonly unknown[], lines: number): readonly unknown[] | typeof unknown {
  const moved: unknown[] = [];
  for (const item of items) {
    const one = moveValue(item, lines);
    if (one === unknown) return unknown;
    moved.push(one);
  }
  return moved;
}

function isLocation(value: Record<string, unknown>): value is { file: string; line: number; column: number } {
  return typeof value.file === "string" && typeof value.line === "number" && typeof value.column === "number";
}
