/** Reads what a node's administration answers. It may be another version's, so a missing field is a blank, not a crash. */

export type Json = unknown;

export function member(value: Json, ...path: readonly string[]): Json {
  let current: Json = value;
  for (const key of path) {
    if (typeof current !== "object" || current === null) return undefined;
    current = (current as Readonly<Record<string, Json>>)[key];
  }
  return current;
}

/** The words of a member: lists joined by commas, `-` for nothing. */
export function text(value: Json, ...path: readonly string[]): string {
  const found = member(value, ...path);
  if (Array.isArray(found)) return found.length === 0 ? "-" : found.map((item) => text(item)).join(",");
  if (typeof found === "string") return found === "" ? "-" : printable(found);
  return typeof found === "number" || typeof found === "boolean" ? String(found) : "-";
}

export function list(value: Json, ...path: readonly string[]): readonly Json[] {
  const found = member(value, ...path);
  return Array.isArray(found) ? found : [];
}

export function count(value: Json, ...path: readonly string[]): number {
  const found = member(value, ...path);
  return typeof found === "object" && found !== null ? Object.keys(found).length : 0;
}

export function number(value: Json, ...path: readonly string[]): number {
  const found = member(value, ...path);
  return typeof found === "number" ? found : 0;
}

/** Names come from documents and peers; none of them may move the cursor. */
function printable(value: string): string {
  return value.replace(/[\p{Cc}\p{Cf}]/gu, "?");
}
