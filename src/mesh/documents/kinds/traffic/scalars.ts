/** Single values of documents about traffic. */
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import { readDuration } from "../duration.ts";

/** Null when it is not said. */
export function readFlag(reader: ObjectReader, field: string, problems: Problems): boolean | null {
  problems.onAsked?.(reader.path(field), { kind: "boolean" });
  const node = reader.node(field);
  if (node === null) return null;
  if (node.kind === "scalar" && typeof node.value === "boolean") return node.value;
  problems.add(
    node.at,
    `${reader.path(field)} must be true or false`,
    node.kind === "scalar" ? node.source : undefined,
  );
  return null;
}

/** A number, with a fraction or without. */
export function readNumber(
  reader: ObjectReader,
  field: string,
  least: number,
  most: number,
  problems: Problems,
): number | null {
  problems.onAsked?.(reader.path(field), { kind: "number", least, most });
  const node = reader.node(field);
  if (node === null) return null;
  const value = node.kind === "scalar" && typeof node.value === "number" ? node.value : Number.NaN;
  if (value >= least && value <= most) return value;
  const word = node.kind === "scalar" ? node.source : undefined;
  problems.add(node.at, `${reader.path(field)} must be a number from ${least} to ${most}`, word);
  return null;
}

/** Istio `ValidateDuration`: 1 ms at least, and no fraction of one. 0 where that means "none". */
export function readTime(
  reader: ObjectReader,
  field: string,
  problems: Problems,
  zeroIsNone = false,
): number | null {
  const milliseconds = readDuration(reader, field, 0, problems);
  if (milliseconds === null) return null;
  const read = reader.string(field);
  if (milliseconds === 0 && !zeroIsNone)
    problems.add(read?.at ?? reader.at, `${reader.path(field)} must be at least 1 ms`, read?.value);
  else if (!Number.isInteger(milliseconds))
    problems.add(read?.at ?? reader.at, `${reader.path(field)} has a part of a millisecond`, read?.value);
  return milliseconds;
}

/** `{value: 12.5}` (Istio `validatePercentage`). */
export function readPercent(reader: ObjectReader, field: string, problems: Problems): number | null {
  const percent = reader.object(field, { known: ["value"] });
  if (percent === null) return null;
  const value = percent.has("value") ? readNumber(percent, "value", 0, 100, problems) : 0;
  if (value !== null && value > 0 && value < 0.0001)
    problems.add(
      percent.where("value"),
      `${percent.path("value")} is less than 0.0001, and counts as nothing`,
      "value",
    );
  return value;
}

/** RFC 9110 §5.6.2. */
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

export function isToken(text: string): boolean {
  return text.length <= 256 && token.test(text);
}

/** Lower case. */
export function readHeaderName(
  read: Located<string> | null,
  path: string,
  problems: Problems,
): string | null {
  if (read === null) return null;
  if (isToken(read.value)) return read.value.toLowerCase();
  problems.add(read.at, `${path}: ${quote(read.value)} is not the name of a header`, read.value);
  return null;
}

/** Istio `validateWeight`. */
export function readWeight(reader: ObjectReader, otherwise: number): number {
  return reader.integer("weight", 0, 1_000_000)?.value ?? otherwise;
}
