/** `{exact: …}`, `{prefix: …}`, `{regex: …}` (Istio `StringMatch`, `validateStringMatch`). */

import { trafficLimits } from "../../../../base/limits/traffic.ts";
import { Pattern } from "../../../../base/pattern/pattern.ts";
import { PatternError } from "../../../../base/pattern/syntax.ts";
import type { Location } from "../../../location.ts";
import type { TextMatch } from "../../../traffic/route_plan.ts";
import { type Located, ObjectReader, type Problems, quote } from "../../reader.ts";
import type { YamlNode } from "../../yaml.ts";
import { checkCount } from "../bounds.ts";

const fields = { known: ["exact", "prefix", "regex"] };

export interface TextMatchRules {
  /** Of a path every path begins with nothing. */
  readonly emptyPrefix?: boolean;
  /** The expression `*`, which is none, asks for presence; Istio takes it in `withoutHeaders`. */
  readonly star?: boolean;
}

/** An object without any of the three asks for presence alone (Istio `canBeConvertedToPresentMatch`). */
export function readTextMatch(
  node: YamlNode,
  path: string,
  problems: Problems,
  { emptyPrefix = false, star = false }: TextMatchRules = {},
): TextMatch | null {
  const reader = ObjectReader.of(node, path, fields, problems);
  if (reader === null) return null;
  const said = fields.known.filter((field) => reader.has(field));
  const [kind, second] = said;
  if (kind === undefined) return { kind: "present" };
  if (second !== undefined) {
    problems.add(reader.where(second), `${path} has both ${kind} and ${second}; it takes one`, second);
    return null;
  }
  const read = reader.string(kind);
  if (read === null) return null;
  if (kind === "regex") {
    if (star && read.value === "*") return { kind: "present" };
    return checkPattern(read, reader.path(kind), problems) ? { kind: "regex", value: read.value } : null;
  }
  if (kind === "prefix" && read.value === "" && !emptyPrefix)
    problems.add(read.at, `${reader.path(kind)} is empty; leave the match out to take everything`);
  return {
    kind: kind === "exact" ? "exact" : "prefix",
    value: checkedValue(read, reader.path(kind), problems),
  };
}

/** @returns whether it is an expression that is matched in linear time. */
export function checkPattern(read: Located<string>, path: string, problems: Problems): boolean {
  if (read.value === "") {
    problems.add(read.at, `${path} is empty`);
    return false;
  }
  try {
    new Pattern(read.value);
    return true;
  } catch (error) {
    if (!(error instanceof PatternError)) throw error;
    problems.add(
      read.at,
      `${path}: ${quote(read.value)} is not a regular expression: ${error.message}`,
      read.value,
    );
    return false;
  }
}

export function checkedValue(read: Located<string>, path: string, problems: Problems): string {
  if (read.value.length > trafficLimits.maxValueLength)
    problems.add(read.at, `${path} has more than ${trafficLimits.maxValueLength} characters`);
  return read.value;
}

export interface NamedMatch {
  readonly name: string;
  readonly match: TextMatch;
}

/** A map from names to matches. @param readName null refuses the name, having said so. */
export function readNamedMatches(
  reader: ObjectReader,
  field: string,
  readName: (name: string, at: Location) => string | null,
  problems: Problems,
  rules: TextMatchRules = {},
): readonly NamedMatch[] {
  if (!reader.has(field)) return [];
  const entries = reader.map(field);
  checkCount(reader, field, entries.length, trafficLimits.maxMatchItems, problems);
  return entries.flatMap(({ key, keyAt, value }): NamedMatch[] => {
    const name = readName(key, keyAt);
    const path = `${reader.path(field)}.${key}`;
    if (value.kind === "scalar" && value.value === null) {
      problems.add(keyAt, `${path} has no value; write {} to ask for its presence`, key);
      return [];
    }
    const match = readTextMatch(value, path, problems, rules);
    return name === null || match === null ? [] : [{ name, match }];
  });
}
