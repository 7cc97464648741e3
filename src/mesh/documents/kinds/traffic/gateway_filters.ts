/** Filters of HTTPRoute and GRPCRoute (`HTTPRouteFilter`). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import {
  type CorsPolicy,
  type HeaderChanges,
  type HeaderOps,
  noHeaderOps,
  type PathRewrite,
  type Redirect,
  type Rewrite,
  type TextMatch,
} from "../../../traffic/route_plan.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { GatewayHttpRule } from "../../traffic_specs.ts";
import { isHostname } from "../address.ts";
import { checkCount } from "../bounds.ts";
import { checkedName, corsMethods } from "./cors_policy.ts";
import { readBackend } from "./gateway_refs.ts";
import { readChangedName, readHeaderValue } from "./header_changes.ts";
import { checkedPath } from "./http_actions.ts";
import { readFlag } from "./scalars.ts";

export type Filters = Pick<GatewayHttpRule, "redirect" | "rewrite" | "headers" | "mirrors" | "cors">;

/** By type: the field that says more of it. */
const bodies = {
  RequestHeaderModifier: "requestHeaderModifier",
  ResponseHeaderModifier: "responseHeaderModifier",
  RequestMirror: "requestMirror",
  RequestRedirect: "requestRedirect",
  URLRewrite: "urlRewrite",
  CORS: "cors",
} as const;
export type FilterType = keyof typeof bodies;
export const httpFilters: readonly FilterType[] = [
  ...(["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "RequestRedirect"] as const),
  ...(["URLRewrite", "CORS"] as const),
];
export const grpcFilters: readonly FilterType[] = [
  ...(["RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror"] as const),
];
export const backendFilters: readonly FilterType[] = ["RequestHeaderModifier", "ResponseHeaderModifier"];

const notOurs = { ExtensionRef: "filters of other kinds are not supported" };

export function readFilters(
  owner: ObjectReader,
  allowed: readonly FilterType[],
  problems: Problems,
): Filters {
  const filters: { -readonly [Field in keyof Filters]: Filters[Field] } = {
    redirect: null,
    rewrite: null,
    headers: { request: noHeaderOps, response: noHeaderOps },
    mirrors: [],
    cors: null,
  };
  const readers = owner.objects("filters", { known: ["type", ...Object.values(bodies), "extensionRef"] });
  checkCount(owner, "filters", readers.length, trafficLimits.maxMirrors + 8, problems);
  const seen = new Set<FilterType>();
  for (const reader of readers) {
    const type = reader.choice("type", allowed, notOurs)?.value;
    if (type === undefined) {
      if (!reader.has("type")) problems.add(reader.at, `${reader.path("type")} is missing`);
      continue;
    }
    if (seen.has(type) && type !== "RequestMirror")
      problems.add(reader.where("type"), `${owner.path("filters")}: ${type} is given twice`, type);
    seen.add(type);
    const body = bodies[type];
    for (const other of Object.values(bodies))
      if (other !== body && reader.has(other))
        problems.add(reader.where(other), `${reader.path(other)} cannot be given with type ${type}`, other);
    if (!reader.has(body)) problems.add(reader.at, `${reader.path(body)} is missing`);
    readInto(filters, type, reader, problems);
  }
  if (filters.redirect !== null && filters.rewrite !== null)
    problems.add(owner.where("filters"), `${owner.path("filters")} has both RequestRedirect and URLRewrite`);
  return filters;
}

function readInto(
  filters: { -readonly [Field in keyof Filters]: Filters[Field] },
  type: FilterType,
  reader: ObjectReader,
  problems: Problems,
): void {
  switch (type) {
    case "RequestHeaderModifier":
      filters.headers = { ...filters.headers, request: readOps(reader, bodies[type], problems) };
      return;
    case "ResponseHeaderModifier":
      filters.headers = { ...filters.headers, response: readOps(reader, bodies[type], problems) };
      return;
    case "RequestMirror":
      filters.mirrors = [...filters.mirrors, ...readMirror(reader, problems)];
      return;
    case "RequestRedirect":
      filters.redirect = readRedirect(reader, problems);
      return;
    case "URLRewrite":
      filters.rewrite = readRewrite(reader, problems);
      return;
    case "CORS":
      filters.cors = readCors(reader, problems);
  }
}

/** Of a backend: its changes of headers. */
export function readBackendHeaders(reader: ObjectReader, problems: Problems): HeaderChanges {
  return readFilters(reader, backendFilters, problems).headers;
}

function readOps(filter: ObjectReader, field: string, problems: Problems): HeaderOps {
  const reader = filter.object(field, { known: ["set", "add", "remove"] });
  if (reader === null) return noHeaderOps;
  const pairs = (which: "set" | "add") => {
    const items = reader.objects(which, { known: ["name", "value"] });
    checkCount(reader, which, items.length, trafficLimits.maxHeaderChanges, problems);
    return items.flatMap((item): (readonly [string, string])[] => {
      const read = item.requiredString("name");
      const name = read === null ? null : readChangedName(read, item.path("name"), problems);
      const value = item.string("value");
      if (value === null && !item.has("value")) problems.add(item.at, `${item.path("value")} is missing`);
      const text = value === null ? null : readHeaderValue(value, item.path("value"), problems);
      return name === null || text === null ? [] : [[name, text]];
    });
  };
  const removed = reader.strings("remove");
  checkCount(reader, "remove", removed.length, trafficLimits.maxHeaderChanges, problems);
  return {
    remove: removed.flatMap((read) => readChangedName(read, reader.path("remove"), problems) ?? []),
    set: pairs("set"),
    add: pairs("add"),
  };
}

function readMirror(filter: ObjectReader, problems: Problems): Filters["mirrors"] {
  const reader = filter.object("requestMirror", { known: ["backendRef", "percent", "fraction"] });
  if (reader === null) return [];
  const backend = readBackend(reader, "backendRef", problems);
  if (!reader.has("backendRef")) problems.add(reader.at, `${reader.path("backendRef")} is missing`);
  if (reader.has("percent") && reader.has("fraction"))
    problems.add(reader.where("fraction"), `${reader.name} has both percent and fraction`, "fraction");
  const fraction = reader.object("fraction", { known: ["numerator", "denominator"] });
  const numerator = fraction?.integer("numerator", 0, 2_147_483_647)?.value ?? 0;
  const denominator = fraction?.integer("denominator", 1, 2_147_483_647)?.value ?? 100;
  if (fraction !== null && numerator > denominator)
    problems.add(fraction.at, `${fraction.name} is more than 1`);
  const percent =
    fraction === null
      ? (reader.integer("percent", 0, 100)?.value ?? 100)
      : Math.min(100, (numerator / denominator) * 100);
  return backend === null ? [] : [{ backend, percent }];
}

function readRedirect(filter: ObjectReader, problems: Problems): Redirect | null {
  const reader = filter.object("requestRedirect", {
    known: ["scheme", "hostname", "path", "port", "statusCode"],
  });
  if (reader === null) return null;
  const codes = [301, 302, 303, 307, 308] as const;
  const code = reader.integer("statusCode", 300, 399);
  const status = codes.find((one) => one === (code?.value ?? 302));
  if (code !== null && status === undefined)
    problems.add(
      code.at,
      `${reader.path("statusCode")} must be one of ${codes.join(", ")}`,
      String(code.value),
    );
  const scheme = reader.choice("scheme", ["http", "https"])?.value ?? null;
  const port = reader.integer("port", 1, 65535)?.value ?? null;
  return {
    status: status ?? 302,
    scheme,
    host: readHostname(reader, problems),
    // "If redirect scheme is not-empty, the well-known port of it; else the port of the listener."
    port: port ?? (scheme === null ? "request" : "scheme"),
    path: readPathModifier(reader, problems),
  };
}

function readRewrite(filter: ObjectReader, problems: Problems): Rewrite | null {
  const reader = filter.object("urlRewrite", { known: ["hostname", "path"] });
  if (reader === null) return null;
  return { path: readPathModifier(reader, problems), authority: readHostname(reader, problems) };
}

function readHostname(reader: ObjectReader, problems: Problems): string | null {
  const read = reader.string("hostname");
  if (read === null) return null;
  if (!isHostname(read.value))
    problems.add(read.at, `${reader.path("hostname")}: ${quote(read.value)} is not a host name`, read.value);
  return read.value.toLowerCase();
}

function readPathModifier(filter: ObjectReader, problems: Problems): PathRewrite | null {
  const reader = filter.object("path", { known: ["type", "replaceFullPath", "replacePrefixMatch"] });
  if (reader === null) return null;
  const type = reader.choice("type", ["ReplaceFullPath", "ReplacePrefixMatch"])?.value;
  if (type === undefined) {
    if (!reader.has("type")) problems.add(reader.at, `${reader.path("type")} is missing`);
    return null;
  }
  const [field, other] =
    type === "ReplaceFullPath"
      ? (["replaceFullPath", "replacePrefixMatch"] as const)
      : (["replacePrefixMatch", "replaceFullPath"] as const);
  const value = reader.string(field);
  if (value === null && !reader.has(field)) problems.add(reader.at, `${reader.path(field)} is missing`);
  if (reader.has(other))
    problems.add(reader.where(other), `${reader.path(other)} cannot be given with type ${type}`, other);
  if (value === null) return null;
  return {
    kind: type === "ReplaceFullPath" ? "full" : "segments",
    value: withSlash(checkedPath(value, reader.path(field), problems), type),
  };
}

function withSlash(path: string, type: "ReplaceFullPath" | "ReplacePrefixMatch"): string {
  const mayBeEmpty = type === "ReplacePrefixMatch" && path === "";
  return mayBeEmpty || path.startsWith("/") ? path : `/${path}`;
}

function readCors(filter: ObjectReader, problems: Problems): CorsPolicy | null {
  const reader = filter.object("cors", {
    known: ["allowOrigins", "allowCredentials", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge"],
  });
  if (reader === null) return null;
  for (const field of ["allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders"])
    checkCount(reader, field, reader.list(field).length, trafficLimits.maxCorsItems, problems);
  const methods = reader.strings("allowMethods");
  for (const { value, at } of methods)
    if (!corsMethods.includes(value))
      problems.add(
        at,
        `${reader.path("allowMethods")}: ${quote(value)} is not an HTTP method`,
        value,
        corsMethods,
      );
  const names = (field: string) =>
    reader.strings(field).map((read) => checkedName(read, reader.path(field), problems));
  return {
    allowOrigins: reader.strings("allowOrigins").map((read) => readOrigin(read, reader, problems)),
    allowMethods: methods.map(({ value }) => value),
    allowHeaders: names("allowHeaders"),
    exposeHeaders: names("exposeHeaders"),
    maxAgeSeconds: reader.integer("maxAge", 1, 2_147_483_647)?.value ?? 5,
    allowCredentials: readFlag(reader, "allowCredentials", problems) ?? false,
    // The specification lets an origin that is not allowed have no answer of CORS.
    unmatchedPreflights: "ignore",
  };
}

/** `*`, `https://shop.example`, `https://*.example` with a port or without. */
function readOrigin({ value, at }: Located<string>, reader: ObjectReader, problems: Problems): TextMatch {
  if (value === "*") return { kind: "exact", value };
  if (!/^[a-z][a-z0-9+.-]*:\/\/(\*\.)?[A-Za-z0-9.-]+(:\d{1,5})?$/i.test(value))
    problems.add(
      at,
      `${reader.path("allowOrigins")}: ${quote(value)} is not an origin such as https://shop.example`,
      value,
    );
  if (!value.includes("*")) return { kind: "exact", value };
  return { kind: "regex", value: `\\Q${value.replace("*", "\\E[^/:]+\\Q")}\\E` };
}
