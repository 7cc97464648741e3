/** HTTPRoute, GRPCRoute, TCPRoute and TLSRoute, attached to services (Gateway API v1, and v1alpha2 of the last two). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { Location } from "../../../location.ts";
import { noHeaderChanges, type RetryPolicy, type SessionPersistence } from "../../../traffic/route_plan.ts";
import type { HttpRouteDocument, L4RouteDocument, Metadata } from "../../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { GatewayHttpRule, GatewayL4Rule } from "../../traffic_specs.ts";
import { isServiceHost, normalHost } from "../address.ts";
import { checkCount } from "../bounds.ts";
import { grpcFilters, httpFilters, readBackendHeaders, readFilters } from "./gateway_filters.ts";
import {
  grpcRouteMatchFields,
  httpRouteMatchFields,
  readGrpcRouteMatch,
  readHttpRouteMatch,
} from "./gateway_match.ts";
import { readBackends, readParents } from "./gateway_refs.ts";
import { isToken, readTime } from "./scalars.ts";

type Read<Document> = (
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
) => Document | null;

const specFields = {
  known: ["parentRefs", "hostnames", "rules"],
  unsupported: { useDefaultGateways: "this version has no gateways" },
};
const httpRuleFields = ["name", "matches", "filters", "backendRefs", "sessionPersistence"];
/** What an API server adds is taken and not looked at. */
const tcpSpecFields = { known: ["parentRefs", "rules"], unsupported: specFields.unsupported };

export function httpRouteReader(kind: HttpRouteDocument["kind"]): Read<HttpRouteDocument> {
  const readRule = kind === "HTTPRoute" ? readHttpRule : readGrpcRule;
  const known = kind === "HTTPRoute" ? [...httpRuleFields, "timeouts", "retry"] : httpRuleFields;
  return (root, metadata, location, problems) => {
    const spec = root.object("spec", specFields);
    if (spec === null) return missingSpec(root, problems);
    const rules = spec.objects("rules", { known });
    checkCount(spec, "rules", rules.length, trafficLimits.maxRules, problems);
    if (rules.length === 0) problems.add(spec.where("rules"), "spec.rules must hold at least one rule");
    const hostnames = readHostnames(spec, problems);
    if (hostnames.length > 0)
      problems.warn(
        spec.where("hostnames"),
        "Ignored",
        "spec.hostnames has no effect on a route for a service: the service is what was called",
      );
    const parents = readParents(spec, problems);
    const read = rules.map((rule) => readRule(rule, problems));
    return { kind, metadata, location, warnings: [], spec: { parents, hostnames, rules: read } };
  };
}

export function l4RouteReader(kind: L4RouteDocument["kind"]): Read<L4RouteDocument> {
  const isTls = kind === "TLSRoute";
  return (root, metadata, location, problems) => {
    const spec = root.object("spec", isTls ? specFields : tcpSpecFields);
    if (spec === null) return missingSpec(root, problems);
    const rules = spec.objects("rules", { known: ["name", "backendRefs"] });
    checkCount(spec, "rules", rules.length, trafficLimits.maxRules, problems);
    if (rules.length === 0) problems.add(spec.where("rules"), "spec.rules must hold at least one rule");
    const hostnames = isTls ? readHostnames(spec, problems) : [];
    const parents = readParents(spec, problems);
    const read = rules.map((rule): GatewayL4Rule => {
      const backends = readBackends(rule, [], () => noHeaderChanges, problems);
      if (backends.length === 0)
        problems.add(rule.where("backendRefs"), `${rule.path("backendRefs")} must have at least one backend`);
      return { at: rule.at, name: rule.string("name")?.value ?? null, backends };
    });
    return { kind, metadata, location, warnings: [], spec: { parents, hostnames, rules: read } };
  };
}

function missingSpec(root: ObjectReader, problems: Problems): null {
  if (!root.has("spec")) problems.add(root.at, "spec is missing");
  return null;
}

function readHostnames(spec: ObjectReader, problems: Problems): readonly Located<string>[] {
  const hostnames = spec.strings("hostnames");
  checkCount(spec, "hostnames", hostnames.length, trafficLimits.maxHosts, problems);
  return hostnames.map(({ value, at }) => {
    if (!isServiceHost(value))
      problems.add(
        at,
        `spec.hostnames: ${quote(value)} is not a host name, nor one that begins with "*."`,
        value,
      );
    return { value: normalHost(value), at };
  });
}

function readHttpRule(rule: ObjectReader, problems: Problems): GatewayHttpRule {
  const matches = rule
    .objects("matches", httpRouteMatchFields)
    .map((match) => readHttpRouteMatch(match, problems));
  checkCount(rule, "matches", matches.length, trafficLimits.maxMatches, problems);
  const filters = readFilters(rule, httpFilters, problems);
  const backends = readBackends(
    rule,
    ["filters"],
    (reader) => readBackendHeaders(reader, problems),
    problems,
  );
  if (filters.redirect !== null && backends.length > 0)
    problems.add(
      rule.where("backendRefs"),
      `${rule.name} has both a RequestRedirect and backendRefs`,
      "backendRefs",
    );
  const path = filters.redirect?.path ?? filters.rewrite?.path ?? null;
  const isByPrefix = matches.every((match) => match.path === null || match.path.kind === "segments");
  if (path?.kind === "segments" && (!isByPrefix || matches.length > 1))
    problems.add(
      rule.where("filters"),
      `${rule.path("filters")}: replacePrefixMatch needs one match, and that by PathPrefix`,
      "filters",
    );
  const timeouts = rule.object("timeouts", { known: ["request", "backendRequest"] });
  const timeoutMs = timeouts === null ? null : readTime(timeouts, "request", problems, true);
  const tryMs = timeouts === null ? null : readTime(timeouts, "backendRequest", problems, true);
  if (timeoutMs !== null && tryMs !== null && timeoutMs > 0 && tryMs > timeoutMs)
    problems.add(
      timeouts?.where("backendRequest") ?? rule.at,
      `${rule.path("timeouts")}.backendRequest is longer than request`,
      "backendRequest",
    );
  return {
    at: rule.at,
    name: rule.string("name")?.value ?? null,
    matches,
    backends,
    ...filters,
    timeoutMs: timeoutMs ?? (tryMs !== null && !rule.has("retry") ? tryMs : null),
    retries: readRetry(rule, tryMs, problems),
    session: readSession(rule, problems),
  };
}

function readGrpcRule(rule: ObjectReader, problems: Problems): GatewayHttpRule {
  const matches = rule
    .objects("matches", grpcRouteMatchFields)
    .map((match) => readGrpcRouteMatch(match, problems));
  checkCount(rule, "matches", matches.length, trafficLimits.maxMatches, problems);
  return {
    at: rule.at,
    name: rule.string("name")?.value ?? null,
    matches,
    backends: readBackends(rule, ["filters"], (reader) => readBackendHeaders(reader, problems), problems),
    ...readFilters(rule, grpcFilters, problems),
    timeoutMs: null,
    retries: "unset",
    session: readSession(rule, problems),
  };
}

/** GEP-1731. Connection errors are always tried again; Istio does the same (`convertHTTPRoute`). */
function readRetry(
  rule: ObjectReader,
  perTryTimeoutMs: number | null,
  problems: Problems,
): RetryPolicy | "unset" {
  const reader = rule.object("retry", { known: ["codes", "attempts", "backoff"] });
  if (reader === null) return "unset";
  const codes = reader.list("codes").flatMap((node, index) => {
    const value = node.kind === "scalar" && typeof node.value === "number" ? node.value : Number.NaN;
    if (Number.isInteger(value) && value >= 400 && value <= 599) return [value];
    problems.add(node.at, `${reader.path("codes")}[${index}] must be a status from 400 to 599`);
    return [];
  });
  const baseMs = readTime(reader, "backoff", problems);
  return {
    attempts: reader.integer("attempts", 0, 100)?.value ?? 2,
    perTryTimeoutMs: perTryTimeoutMs === 0 ? null : perTryTimeoutMs,
    retryOn: ["connect-failure", "refused-stream", "reset", "unavailable", "cancelled"],
    retriableStatuses: codes,
    backoff: baseMs === null ? null : { baseMs, maxMs: baseMs * 10 },
    avoidTried: true,
    remoteLocalities: false,
  };
}

/** GEP-1619. */
function readSession(rule: ObjectReader, problems: Problems): SessionPersistence | null {
  const reader = rule.object("sessionPersistence", {
    known: ["sessionName", "absoluteTimeout", "idleTimeout", "type", "cookieConfig"],
  });
  if (reader === null) return null;
  const type = reader.choice("type", ["Cookie", "Header"])?.value ?? "Cookie";
  const cookie = reader.object("cookieConfig", { known: ["lifetimeType"] });
  if (cookie !== null && type === "Header")
    problems.add(
      cookie.at,
      `${reader.path("cookieConfig")} cannot be given with type Header`,
      "cookieConfig",
    );
  const lifetime = cookie?.choice("lifetimeType", ["Permanent", "Session"])?.value ?? "Session";
  const absoluteTimeoutMs = readTime(reader, "absoluteTimeout", problems);
  if (lifetime === "Permanent" && absoluteTimeoutMs === null)
    problems.add(reader.at, `${reader.path("absoluteTimeout")} is missing: a Permanent cookie needs it`);
  const name = reader.string("sessionName");
  if (name !== null && (!isToken(name.value) || name.value.length > 128))
    problems.add(name.at, `${reader.path("sessionName")}: ${quote(name.value)} is not a name`, name.value);
  const said = name?.value ?? (type === "Cookie" ? "fairlead-session" : "x-fairlead-session");
  return {
    name: type === "Header" ? said.toLowerCase() : said,
    type: type === "Cookie" ? "cookie" : "header",
    absoluteTimeoutMs,
    idleTimeoutMs: readTime(reader, "idleTimeout", problems),
    lifetime: lifetime === "Permanent" ? "permanent" : "session",
    cookiePath: "/",
  };
}
