/** Matches of HTTPRoute and GRPCRoute (`gateway.networking.k8s.io` v1, `HTTPRouteMatch`, `GRPCRouteMatch`). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { HttpMatch, PathMatch, TextMatch } from "../../../traffic/route_plan.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import { checkCount } from "../bounds.ts";
import { readHeaderName } from "./scalars.ts";
import { checkedValue, checkPattern, type NamedMatch } from "./text_match.ts";

export const httpRouteMatchFields = { known: ["path", "headers", "queryParams", "method"] };
export const grpcRouteMatchFields = { known: ["method", "headers"] };
const methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] as const;

const nothing = {
  ignorePathCase: false,
  method: null,
  scheme: null,
  authority: null,
  withoutHeaders: [],
  query: [],
};

export function readHttpRouteMatch(reader: ObjectReader, problems: Problems): HttpMatch {
  const method = reader.choice("method", methods);
  return {
    ...nothing,
    path: readPath(reader, problems),
    method: method === null ? null : { kind: "exact", value: method.value },
    headers: readNamed(reader, "headers", true, problems),
    query: readNamed(reader, "queryParams", false, problems),
    location: reader.at,
  };
}

function readPath(match: ObjectReader, problems: Problems): PathMatch | null {
  const reader = match.object("path", { known: ["type", "value"] });
  if (reader === null) return null;
  const type = reader.choice("type", ["Exact", "PathPrefix", "RegularExpression"])?.value ?? "PathPrefix";
  const value = reader.string("value") ?? { value: "/", at: reader.at };
  const path = reader.path("value");
  if (type === "RegularExpression")
    return checkPattern(value, path, problems) ? { kind: "regex", value: value.value } : null;
  checkPath(value, path, problems);
  return { kind: type === "Exact" ? "exact" : "segments", value: value.value };
}

/** The specification's rules for values of Exact and PathPrefix. */
function checkPath({ value, at }: Located<string>, path: string, problems: Problems): void {
  const wrong = ["//", "/./", "/../", "%2f", "%2F", "#"].find((part) => value.includes(part));
  const end = ["/..", "/."].find((part) => value.endsWith(part));
  if (!value.startsWith("/")) problems.add(at, `${path} must begin with a slash`, value);
  else if (wrong !== undefined || end !== undefined)
    problems.add(
      at,
      `${path}: ${quote(value)} must not have ${quote(wrong ?? end ?? "")}, which a normalized path cannot have`,
      value,
    );
  else if (!/^[\x21-\x7e]+$/.test(value) || value.length > 1_024)
    problems.add(at, `${path}: ${quote(value)} is not a path: it has characters that must be escaped`, value);
}

function readNamed(
  match: ObjectReader,
  field: string,
  isHeader: boolean,
  problems: Problems,
): readonly NamedMatch[] {
  const readers = match.objects(field, { known: ["type", "name", "value"] });
  checkCount(match, field, readers.length, trafficLimits.maxMatchItems, problems);
  const seen = new Set<string>();
  return readers.flatMap((reader): NamedMatch[] => {
    const read = reader.requiredString("name");
    const name = isHeader ? readHeaderName(read, reader.path("name"), problems) : (read?.value ?? null);
    const wanted = readTyped(reader, problems);
    if (name === null || wanted === null) return [];
    if (seen.has(name)) {
      // "Only the first entry with an equivalent name must be considered".
      problems.warn(reader.at, "Ignored", `${reader.name}: ${quote(name)} is given twice; the first counts`);
      return [];
    }
    seen.add(name);
    return [{ name: name === "host" && isHeader ? ":authority" : name, match: wanted }];
  });
}

function readTyped(reader: ObjectReader, problems: Problems): TextMatch | null {
  const type = reader.choice("type", ["Exact", "RegularExpression"])?.value ?? "Exact";
  const value = reader.requiredString("value");
  if (value === null) return null;
  if (type === "RegularExpression")
    return checkPattern(value, reader.path("value"), problems) ? { kind: "regex", value: value.value } : null;
  return { kind: "exact", value: checkedValue(value, reader.path("value"), problems) };
}

/** A call's path is `/service/method` (gRPC over HTTP/2, "Requests"). */
export function readGrpcRouteMatch(reader: ObjectReader, problems: Problems): HttpMatch {
  return {
    ...nothing,
    path: readGrpcMethod(reader, problems),
    headers: readNamed(reader, "headers", true, problems),
    location: reader.at,
  };
}

function readGrpcMethod(match: ObjectReader, problems: Problems): PathMatch | null {
  const reader = match.object("method", { known: ["type", "service", "method"] });
  if (reader === null) return null;
  const type = reader.choice("type", ["Exact", "RegularExpression"])?.value ?? "Exact";
  const service = reader.string("service")?.value ?? "";
  const method = reader.string("method")?.value ?? "";
  if (service === "" && method === "") {
    problems.add(reader.at, `${reader.name} must have a service, a method or both`);
    return null;
  }
  if (type === "RegularExpression") {
    const value = `/${service || "[^/]+"}/${method || "[^/]+"}`;
    const at = reader.where(service === "" ? "method" : "service");
    return checkPattern({ value, at }, reader.name, problems) ? { kind: "regex", value } : null;
  }
  for (const field of ["service", "method"]) {
    const read = reader.string(field);
    const known = field === "service" ? /^[A-Za-z_][A-Za-z0-9_.]*$/ : /^[A-Za-z_][A-Za-z0-9_]*$/;
    if (read !== null && read.value !== "" && !known.test(read.value))
      problems.add(
        read.at,
        `${reader.path(field)}: ${quote(read.value)} is not the name of a ${field}`,
        read.value,
      );
  }
  if (service === "") return { kind: "regex", value: `/[^/]+/${method}` };
  return method === ""
    ? { kind: "prefix", value: `/${service}/` }
    : { kind: "exact", value: `/${service}/${method}` };
}
