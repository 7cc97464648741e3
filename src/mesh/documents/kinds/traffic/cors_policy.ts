/** CORS of a VirtualService (Istio `validateCORSPolicy`). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { CorsPolicy, TextMatch } from "../../../traffic/route_plan.ts";
import { type Located, ObjectReader, type Problems, quote } from "../../reader.ts";
import { checkCount } from "../bounds.ts";
import { isToken, readFlag, readTime } from "./scalars.ts";
import { readTextMatch } from "./text_match.ts";

const fields = {
  known: [
    ...["allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials"],
    ...["unmatchedPreflights", "allowOrigin"],
  ],
};
/** Istio `supportedCORSMethods`. */
export const corsMethods: readonly string[] = [
  ...["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"],
];

export function readCorsPolicy(route: ObjectReader, problems: Problems): CorsPolicy | null {
  const reader = route.object("corsPolicy", fields);
  if (reader === null) return null;
  for (const field of ["allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders"])
    checkCount(reader, field, reader.list(field).length, trafficLimits.maxCorsItems, problems);
  const allowMethods = reader.strings("allowMethods");
  for (const { value, at } of allowMethods)
    if (!corsMethods.includes(value))
      problems.add(
        at,
        `${reader.path("allowMethods")}: ${quote(value)} is not an HTTP method`,
        value,
        corsMethods,
      );
  const maxAgeMs = readTime(reader, "maxAge", problems);
  if (maxAgeMs !== null && maxAgeMs % 1_000 !== 0)
    problems.add(reader.where("maxAge"), `${reader.path("maxAge")} must be whole seconds`, "maxAge");
  const unmatched = reader.choice("unmatchedPreflights", ["UNSPECIFIED", "FORWARD", "IGNORE"]);
  return {
    allowOrigins: readOrigins(reader, problems),
    allowMethods: allowMethods.map(({ value }) => value),
    allowHeaders: readHeaders(reader, "allowHeaders", problems),
    exposeHeaders: readHeaders(reader, "exposeHeaders", problems),
    maxAgeSeconds: maxAgeMs === null ? null : maxAgeMs / 1_000,
    allowCredentials: readFlag(reader, "allowCredentials", problems) ?? false,
    unmatchedPreflights: unmatched?.value === "IGNORE" ? "ignore" : "forward",
  };
}

function readOrigins(reader: ObjectReader, problems: Problems): readonly TextMatch[] {
  const older = reader.strings("allowOrigin");
  const newer = reader.list("allowOrigins").flatMap((node, index) => {
    const path = `${reader.path("allowOrigins")}[${index}]`;
    const match = readTextMatch(node, path, problems);
    if (match?.kind === "present" && ObjectReader.open(node, path, problems)?.isEmpty === true)
      problems.add(node.at, `${path} is empty; write exact, prefix or regex`);
    return match === null ? [] : [match];
  });
  // The newer field alone counts where both are (Istio `TranslateCORSPolicy`).
  return newer.length > 0 ? newer : older.map(({ value }) => ({ kind: "exact", value }));
}

function readHeaders(reader: ObjectReader, field: string, problems: Problems): readonly string[] {
  return reader.strings(field).map((read) => checkedName(read, reader.path(field), problems));
}

export function checkedName({ value, at }: Located<string>, path: string, problems: Problems): string {
  if (value !== "*" && !isToken(value))
    problems.add(at, `${path}: ${quote(value)} is not the name of a header`, value);
  return value;
}
