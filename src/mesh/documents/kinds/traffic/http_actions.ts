/** What a route of a VirtualService does with a request (Istio `pkg/config/validation/virtualservice.go` and `validation.go`). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { Fault, HttpMatch, PathRewrite, Redirect, Rewrite } from "../../../traffic/route_plan.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { VirtualHttpRoute } from "../../traffic_specs.ts";
import { isHostname } from "../address.ts";
import { readNumber, readPercent, readTime } from "./scalars.ts";
import { checkPattern } from "./text_match.ts";

const redirectFields = {
  known: ["uri", "authority", "port", "derivePort", "scheme", "redirectCode", "prefixRewrite"],
};
const redirectCodes = [301, 302, 303, 307, 308] as const;

export function readRedirect(
  route: ObjectReader,
  matches: readonly HttpMatch[],
  problems: Problems,
): Redirect | null {
  const reader = route.object("redirect", redirectFields);
  if (reader === null) return null;
  if (
    !["uri", "prefixRewrite", "authority", "port", "derivePort", "scheme"].some((field) => reader.has(field))
  )
    problems.add(reader.at, `${reader.name} must give a uri, an authority, a scheme or a port`);
  if (reader.has("uri") && reader.has("prefixRewrite"))
    problems.add(
      reader.where("prefixRewrite"),
      `${reader.name} has both uri and prefixRewrite`,
      "prefixRewrite",
    );
  if (reader.has("port") && reader.has("derivePort"))
    problems.add(reader.where("derivePort"), `${reader.name} has both port and derivePort`, "derivePort");
  const prefix = reader.string("prefixRewrite");
  if (prefix !== null && matches.some(({ path }) => path !== null && path.kind !== "prefix"))
    problems.add(
      prefix.at,
      `${reader.path("prefixRewrite")} needs every match of the path to be by prefix`,
      prefix.value,
    );
  const uri = reader.string("uri");
  const code = reader.integer("redirectCode", 300, 399);
  const status = redirectCodes.find((known) => known === (code?.value ?? 301));
  if (code !== null && status === undefined)
    problems.add(
      code.at,
      `${reader.path("redirectCode")} must be one of ${redirectCodes.join(", ")}`,
      String(code.value),
    );
  const derived = reader.choice("derivePort", ["FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"]);
  const port = reader.integer("port", 1, 65535)?.value ?? null;
  return {
    status: status ?? 301,
    scheme: reader.choice("scheme", ["http", "https"])?.value ?? null,
    host: readAuthority(reader, problems),
    port: derived === null ? port : derived.value === "FROM_REQUEST_PORT" ? "request" : "scheme",
    path: redirectPath(uri, prefix, reader, problems),
  };
}

function redirectPath(
  uri: Located<string> | null,
  prefix: Located<string> | null,
  reader: ObjectReader,
  problems: Problems,
): PathRewrite | null {
  if (uri !== null && uri.value !== "")
    return { kind: "full", value: checkedPath(uri, reader.path("uri"), problems) };
  if (prefix === null || prefix.value === "") return null;
  return { kind: "prefix", value: checkedPath(prefix, reader.path("prefixRewrite"), problems) };
}

/** What becomes a request's target, or a header of ours: visible ASCII. */
export function checkedPath(read: Located<string>, path: string, problems: Problems): string {
  if (!/^[\x21-\x7e]*$/.test(read.value) || read.value.length > trafficLimits.maxValueLength)
    problems.add(
      read.at,
      `${path}: ${quote(read.value)} is not a path: it has characters that must be escaped`,
      read.value,
    );
  if (read.value.includes("#"))
    problems.add(read.at, `${path} has a fragment, which is not sent`, read.value);
  return read.value;
}

export function readAuthority(reader: ObjectReader, problems: Problems, field = "authority"): string | null {
  const read = reader.string(field);
  if (read === null || read.value === "") return null;
  const [host = "", port, ...more] = read.value.startsWith("[")
    ? [read.value.slice(0, read.value.indexOf("]") + 1), read.value.split("]:")[1]]
    : read.value.split(":");
  const isHost = isHostname(host) || /^\d+(\.\d+){3}$/.test(host) || /^\[[0-9A-Fa-f:.]+\]$/.test(host);
  const isPort = port === undefined || (/^\d{1,5}$/.test(port) && Number(port) <= 65535);
  if (!isHost || !isPort || more.length > 0)
    problems.add(
      read.at,
      `${reader.path(field)}: ${quote(read.value)} is not a host, with a port or without`,
      read.value,
    );
  return read.value;
}

export function readRewrite(route: ObjectReader, problems: Problems): Rewrite | null {
  const reader = route.object("rewrite", { known: ["uri", "authority", "uriRegexRewrite"] });
  if (reader === null) return null;
  const regex = reader.object("uriRegexRewrite", { known: ["match", "rewrite"] });
  if (reader.has("uri") && regex !== null)
    problems.add(regex.at, `${reader.name} has both uri and uriRegexRewrite`, "uriRegexRewrite");
  if (reader.isEmpty)
    problems.add(reader.at, `${reader.name} must give a uri, a uriRegexRewrite or an authority`);
  const uri = reader.string("uri");
  const path: PathRewrite | null =
    regex !== null
      ? readRegexRewrite(regex, problems)
      : uri === null || uri.value === ""
        ? null
        : { kind: "prefix", value: checkedPath(uri, reader.path("uri"), problems) };
  return { path, authority: readAuthority(reader, problems) };
}

function readRegexRewrite(regex: ObjectReader, problems: Problems): PathRewrite | null {
  const match = regex.requiredString("match");
  const rewrite = regex.requiredString("rewrite");
  if (match === null || rewrite === null || !checkPattern(match, regex.path("match"), problems)) return null;
  const unknown = /\\(?![0-9\\])/.exec(rewrite.value);
  if (unknown !== null)
    problems.add(
      rewrite.at,
      `${regex.path("rewrite")}: a backslash is followed by the number of a group`,
      rewrite.value,
    );
  checkedPath(rewrite, regex.path("rewrite"), problems);
  return { kind: "regex", pattern: match.value, substitution: rewrite.value };
}

export function readAnswer(route: ObjectReader, problems: Problems): VirtualHttpRoute["answer"] {
  const reader = route.object("directResponse", { known: ["status", "body"] });
  if (reader === null) return null;
  if (!reader.has("status")) problems.add(reader.at, `${reader.path("status")} is missing`);
  const status = reader.integer("status", 200, 599)?.value ?? 200;
  const body = reader.object("body", { known: ["string", "bytes"] });
  if (body?.has("string") === true && body.has("bytes"))
    problems.add(body.where("bytes"), `${body.name} has both string and bytes`, "bytes");
  const text = body?.string("string") ?? null;
  const bytes = body?.string("bytes") ?? null;
  const content = text === null ? decodedBytes(bytes, body, problems) : new TextEncoder().encode(text.value);
  if (content.length > trafficLimits.maxAnswerBytes)
    problems.add(
      reader.where("body"),
      `${reader.path("body")} has more than ${trafficLimits.maxAnswerBytes} bytes`,
    );
  return { status, body: content };
}

function decodedBytes(
  read: Located<string> | null,
  body: ObjectReader | null,
  problems: Problems,
): Uint8Array {
  if (read === null || body === null) return new Uint8Array(0);
  try {
    return Uint8Array.from(atob(read.value), (char) => char.charCodeAt(0));
  } catch {
    problems.add(read.at, `${body.path("bytes")} is not base64`, read.value);
    return new Uint8Array(0);
  }
}

/** https://github.com/grpc/grpc/blob/master/doc/statuscodes.md, in the order of their numbers. */
const grpcStatuses: readonly string[] = [
  ...["OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"],
  ...["PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"],
  ...["UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"],
];

export function readFault(route: ObjectReader, problems: Problems): Fault | null {
  const reader = route.object("fault", { known: ["delay", "abort"] });
  if (reader === null) return null;
  if (!reader.has("delay") && !reader.has("abort"))
    problems.add(reader.at, `${reader.name} must have a delay, an abort or both`);
  return { delay: readDelay(reader, problems), abort: readAbort(reader, problems) };
}

function readDelay(fault: ObjectReader, problems: Problems): Fault["delay"] {
  const reader = fault.object("delay", {
    known: ["fixedDelay", "percentage", "percent"],
    unsupported: { exponentialDelay: "Istio does not support it either; write fixedDelay" },
  });
  if (reader === null) return null;
  if (!reader.has("fixedDelay") && !reader.has("exponentialDelay"))
    problems.add(reader.at, `${reader.path("fixedDelay")} is missing`);
  const ms = readTime(reader, "fixedDelay", problems);
  // Of the older field nothing is 0 (Istio `TranslateFault`).
  const older = reader.has("percent") ? readNumber(reader, "percent", 0, 100, problems) : 0;
  const percent = reader.has("percentage") ? readPercent(reader, "percentage", problems) : older;
  if (percent === 0)
    problems.warn(reader.at, "Ignored", `${reader.name} has no percentage, so no request is delayed`);
  return ms === null ? null : { ms, percent: percent ?? 0 };
}

function readAbort(fault: ObjectReader, problems: Problems): Fault["abort"] {
  const reader = fault.object("abort", {
    known: ["httpStatus", "grpcStatus", "percentage"],
    unsupported: { http2Error: "Istio does not support it either; write httpStatus or grpcStatus" },
  });
  if (reader === null) return null;
  const said = ["httpStatus", "grpcStatus"].filter((field) => reader.has(field));
  if (said.length !== 1 && !reader.has("http2Error"))
    problems.add(reader.at, `${reader.name} must have either httpStatus or grpcStatus`);
  const httpStatus = reader.integer("httpStatus", 200, 599)?.value ?? null;
  const grpc = reader.string("grpcStatus");
  const grpcStatus = grpc === null ? null : grpcStatuses.indexOf(grpc.value);
  if (grpc !== null && grpcStatus === -1)
    problems.add(
      grpc.at,
      `${reader.path("grpcStatus")}: ${quote(grpc.value)} is not a gRPC status`,
      grpc.value,
      grpcStatuses,
    );
  // Without a percentage Envoy aborts every request (Istio documents it as the default).
  const percent = reader.has("percentage") ? (readPercent(reader, "percentage", problems) ?? 0) : 100;
  return { httpStatus, grpcStatus, percent };
}
