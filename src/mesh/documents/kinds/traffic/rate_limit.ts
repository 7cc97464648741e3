/** RateLimit (`fairlead.dev/v1`): how many requests of whom a service takes in a time. */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { Location } from "../../../location.ts";
import type { UpstreamTls } from "../../../traffic/destination_policy.ts";
import type {
  RateLimitKey,
  RateLimitRule,
  RateLimitStore,
  TokenLimit,
  WhenAway,
} from "../../../traffic/rate_limit.ts";
import type { Metadata, RateLimitDocument } from "../../document.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import { isHostname } from "../address.ts";
import { checkCount } from "../bounds.ts";
import { readTargetRefs } from "../target_ref.ts";
import { readFlag, readHeaderName, readTime } from "./scalars.ts";
import { httpMatchFields, readHttpMatch } from "./virtual_match.ts";

const fields = { known: ["targetRef", "targetRefs", "rules", "store", "headers", "dryRun"] };
const ruleFields = { known: ["name", "match", "routes", "keys", "limit"] };
const matchFields = {
  known: httpMatchFields.known.filter(
    (field) => !["name", "port", "gateways", "sourceLabels", "sourceNamespace"].includes(field),
  ),
};
const keyKinds = ["Peer", "Service", "Route", "SourceAddress", "Header", "Claim"] as const;
const units = { SECOND: 1_000, MINUTE: 60_000, HOUR: 3_600_000, DAY: 86_400_000 } as const;
const unitWords = ["SECOND", "MINUTE", "HOUR", "DAY"] as const;
const longestPeriodMs = 31 * units.DAY;

export function readRateLimit(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): RateLimitDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const targets = readTargetRefs(spec, problems);
  if (targets.length === 0 && !problems.any)
    problems.add(
      spec.at,
      "spec.targetRefs is missing: a RateLimit says for which services or waypoints it is",
    );
  const readers = spec.objects("rules", ruleFields);
  checkCount(spec, "rules", readers.length, trafficLimits.maxRateLimitRules, problems);
  if (readers.length === 0) problems.add(spec.where("rules"), "spec.rules must hold at least one rule");
  const names = new Set<string>();
  const rules = readers.map((reader, index) => {
    const rule = readRule(reader, index, problems);
    if (names.has(rule.name))
      problems.add(
        reader.where("name"),
        `${reader.path("name")}: ${quote(rule.name)} is given twice`,
        rule.name,
      );
    names.add(rule.name);
    return rule;
  });
  return {
    kind: "RateLimit",
    metadata,
    location,
    warnings: [],
    spec: {
      targets,
      rules,
      store: readStore(spec, metadata.namespace, problems),
      headers: readFlag(spec, "headers", problems) ?? true,
      dryRun: readFlag(spec, "dryRun", problems) ?? false,
    },
  };
}

function readRule(reader: ObjectReader, index: number, problems: Problems): RateLimitRule {
  const name = reader.string("name");
  if (name !== null && !/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/.test(name.value))
    problems.add(name.at, `${reader.path("name")}: ${quote(name.value)} is not a name`, name.value);
  const matches = reader.objects("match", matchFields).map((match) => readHttpMatch(match, problems).match);
  checkCount(reader, "match", matches.length, trafficLimits.maxMatches, problems);
  const keys = reader.objects("keys", { known: ["by", "name"] }).flatMap((key) => readKey(key, problems));
  checkCount(reader, "keys", keys.length, trafficLimits.maxRateLimitKeys, problems);
  return {
    name: name?.value ?? `rule-${index}`,
    location: reader.at,
    matches,
    routes: reader.strings("routes").map(({ value }) => value),
    keys,
    limit: readLimit(reader, problems),
  };
}

function readKey(reader: ObjectReader, problems: Problems): RateLimitKey[] {
  const by = reader.choice("by", keyKinds)?.value;
  if (by === undefined) {
    if (!reader.has("by")) problems.add(reader.at, `${reader.path("by")} is missing`);
    return [];
  }
  if (by !== "Header" && by !== "Claim") {
    if (reader.has("name"))
      problems.add(
        reader.where("name"),
        `${reader.path("name")} can only be given with Header and Claim`,
        "name",
      );
    const plain = {
      Peer: "peer",
      Service: "service",
      Route: "route",
      SourceAddress: "source-address",
    } as const;
    return [{ by: plain[by] }];
  }
  const name = reader.requiredString("name");
  if (name === null) return [];
  if (by === "Header") {
    const header = readHeaderName(name, reader.path("name"), problems);
    return header === null ? [] : [{ by: "header", name: header }];
  }
  const path = name.value.split(".");
  if (path.includes(""))
    problems.add(name.at, `${reader.path("name")}: ${quote(name.value)} is not a claim`, name.value);
  return [{ by: "claim", path }];
}

function readLimit(rule: ObjectReader, problems: Problems): TokenLimit {
  const reader = rule.object("limit", { known: ["requests", "unit", "period", "burst"] });
  if (reader === null) {
    if (!rule.has("limit")) problems.add(rule.at, `${rule.path("limit")} is missing`);
    return { requests: 1, periodMs: 1_000, burst: 1 };
  }
  if (!reader.has("requests")) problems.add(reader.at, `${reader.path("requests")} is missing`);
  const requests = reader.integer("requests", 1, 1_000_000_000)?.value ?? 1;
  if (reader.has("unit") === reader.has("period"))
    problems.add(reader.at, `${reader.name} must have either unit (SECOND, MINUTE, HOUR, DAY) or period`);
  const unit = reader.choice("unit", unitWords)?.value;
  const period = readTime(reader, "period", problems);
  if (period !== null && period > longestPeriodMs)
    problems.add(reader.where("period"), `${reader.path("period")} is longer than 31 days`, "period");
  const burst = reader.integer("burst", 1, 1_000_000_000)?.value ?? requests;
  return { requests, periodMs: period ?? units[unit ?? "SECOND"], burst };
}

const storeFields = { known: ["type", "redis", "rls"] };
const placeFields = ["address", "tls", "timeout", "whenAway"];

function readStore(spec: ObjectReader, namespace: string, problems: Problems): RateLimitStore {
  const reader = spec.object("store", storeFields);
  const type = reader?.choice("type", ["Local", "Redis", "RLS"])?.value ?? "Local";
  if (reader === null || type === "Local") {
    for (const field of ["redis", "rls"])
      if (reader?.has(field) === true)
        problems.add(reader.where(field), `${reader.path(field)} cannot be given with type Local`, field);
    return { kind: "local" };
  }
  const field = type === "Redis" ? "redis" : "rls";
  const other = type === "Redis" ? "rls" : "redis";
  if (reader.has(other))
    problems.add(reader.where(other), `${reader.path(other)} cannot be given with type ${type}`, other);
  const known = [...placeFields, ...(type === "Redis" ? ["passwordFile", "database"] : ["domain"])];
  const place = reader.object(field, { known });
  if (place === null) {
    if (!reader.has(field)) problems.add(reader.at, `${reader.path(field)} is missing`);
    return { kind: "local" };
  }
  const { isSecured, ...address } = readAddress(place, type === "Redis", problems);
  const tls = readStoreTls(place, namespace, isSecured, problems);
  const timeoutMs = readTime(place, "timeout", problems) ?? 100;
  const whenAway = readWhenAway(place);
  if (type === "Redis") {
    const database = place.integer("database", 0, 15)?.value ?? 0;
    return {
      kind: "redis",
      address,
      tls,
      passwordFile: place.string("passwordFile")?.value ?? null,
      database,
      timeoutMs,
      whenAway,
    };
  }
  const domain = place.requiredString("domain")?.value ?? "";
  return { kind: "rls", address, tls, domain, timeoutMs, whenAway };
}

/** Files are those of the document's namespace, as everywhere. @param isSecured the address says that TLS is spoken. */
function readStoreTls(
  place: ObjectReader,
  namespace: string,
  isSecured: boolean,
  problems: Problems,
): UpstreamTls | null {
  const reader = place.object("tls", { known: ["caFile", "certificateFile", "keyFile", "serverName"] });
  if (reader === null && (!isSecured || place.has("tls"))) return null;
  const file = (field: string): string | null => reader?.string(field)?.value || null;
  const certificate = file("certificateFile");
  const key = file("keyFile");
  if (reader !== null && (certificate === null) !== (key === null))
    problems.add(reader.at, `${reader.name} must have both certificateFile and keyFile, or neither`);
  const serverName = reader?.string("serverName") ?? null;
  if (reader !== null && serverName !== null && !isHostname(serverName.value))
    problems.add(
      serverName.at,
      `${reader.path("serverName")}: ${quote(serverName.value)} is not a host name`,
      serverName.value,
    );
  return {
    namespace,
    mode: certificate === null ? "simple" : "mutual",
    sni: serverName?.value ?? "",
    caCertificates: file("caFile"),
    caCrl: null,
    clientCertificate: certificate,
    privateKey: key,
    subjectAltNames: [],
    insecureSkipVerify: false,
    location: reader?.at ?? place.at,
  };
}

/** Said aloud: both answers are wrong for somebody. */
function readWhenAway(place: ObjectReader): WhenAway {
  const word = place.choice("whenAway", ["Local", "Allow", "Deny"])?.value ?? "Local";
  return word === "Local" ? "local" : word === "Allow" ? "allow" : "deny";
}

/** @param takesScheme `redis://` and `rediss://` may come first. */
function readAddress(
  place: ObjectReader,
  takesScheme: boolean,
  problems: Problems,
): { readonly host: string; readonly port: number; readonly isSecured: boolean } {
  const read = place.requiredString("address");
  const scheme = takesScheme ? (/^rediss?:\/\//.exec(read?.value ?? "")?.[0] ?? "") : "";
  const match = /^(?:\[([0-9A-Fa-f:]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(read?.value.slice(scheme.length) ?? "");
  const host = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3] ?? 0);
  const isHost = match?.[1] !== undefined || isHostname(host) || /^\d+(\.\d+){3}$/.test(host);
  if (read !== null && (!isHost || port < 1 || port > 65_535))
    problems.add(read.at, `${place.path("address")}: ${quote(read.value)} is not host:port`, read.value);
  if (scheme === "redis://" && place.has("tls"))
    problems.add(
      place.where("tls"),
      `${place.path("tls")} cannot be given with redis://, which is plain text`,
      "tls",
    );
  return { host, port, isSecured: scheme === "rediss://" };
}
