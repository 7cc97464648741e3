/**
 * Telemetry (`telemetry.istio.io/v1`) as far as it is for waypoints: which requests have a line, how many begin a trace, and which metrics are
 * not counted (Istio `api/telemetry/v1alpha1/telemetry.proto`).
 */
import { trafficLimits } from "../../../base/limits/traffic.ts";
import type { Location } from "../../location.ts";
import type {
  AccessLogging,
  AccessLogRule,
  CustomTag,
  Metadata,
  MetricOverride,
  TagOverride,
  TelemetryDocument,
  TelemetrySettings,
  TracingRule,
} from "../document.ts";
import { ObjectReader, Problems, quote } from "../reader.ts";
import { checkCount } from "./bounds.ts";
import { readSelector } from "./labels.ts";
import { readTargetRefs } from "./target_ref.ts";
import { readFlag, readHeaderName, readNumber } from "./traffic/scalars.ts";

const fields = {
  known: ["selector", "targetRef", "targetRefs", "accessLogging", "tracing", "metrics"],
};
const modes = ["CLIENT_AND_SERVER", "CLIENT", "SERVER"] as const;
/** What each part is told to. Names of Istio's MeshConfig mean nothing here: each place is a setting of the waypoint. */
const providers = {
  accessLogging: { envoy: "log", otel: "collector", opentelemetry: "collector" },
  tracing: { otel: "collector", opentelemetry: "collector" },
  metrics: { prometheus: "port" },
} as const;
const places = {
  accessLogging: "envoy (the log) and otel (--waypoint-logs)",
  tracing: "otel (--waypoint-traces)",
  metrics: "prometheus",
} as const;
const logFields = { known: ["match", "providers", "disabled", "filter"] };
const tracingFields = {
  known: [
    ...["match", "providers", "randomSamplingPercentage", "disableSpanReporting", "customTags"],
    "enableIstioTags",
    "useRequestIdForTraceSampling",
    "disableContextPropagation",
  ],
};
/** Said to be false, these are what is done anyway. */
const alwaysFalse = {
  useRequestIdForTraceSampling: "a trace is begun by chance, or goes on as its caller says",
  disableContextPropagation: "a caller's trace is always passed on",
};
const metricFields = {
  known: ["providers", "overrides"],
  unsupported: { reportingInterval: "metrics are read when they are asked for" },
};
const overrideFields = { known: ["match", "disabled", "tagOverrides"] };
const customTagFields = {
  known: ["literal", "header", "formatter"],
  unsupported: { environment: "what is in the waypoint's environment is its operator's, not a document's" },
};
/** As Prometheus has them, but for those that the text formats need themselves. */
const labelName = /^(?!__|le$|quantile$)[a-zA-Z_][a-zA-Z0-9_]{0,99}$/;
/** Of requests, as `metrics[].overrides[].match.metric` calls them; those of TCP are counted by node tunnels. */
const requestMetrics = [
  "REQUEST_COUNT",
  "REQUEST_DURATION",
  "REQUEST_SIZE",
  "RESPONSE_SIZE",
  "GRPC_REQUEST_MESSAGES",
  "GRPC_RESPONSE_MESSAGES",
] as const;
const metrics = [
  "ALL_METRICS",
  ...requestMetrics,
  ...["TCP_OPENED_CONNECTIONS", "TCP_CLOSED_CONNECTIONS", "TCP_SENT_BYTES", "TCP_RECEIVED_BYTES"],
];

export function readTelemetry(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): TelemetryDocument {
  const spec = root.object("spec", fields);
  const base = { kind: "Telemetry", metadata, location, warnings: [] } as const;
  const nothing = { accessLog: null, tracing: null, metrics: null };
  if (spec === null) return { ...base, ...nothing, targetRefs: [], selector: null, client: nothing };
  const selector = readSelector(spec, "selector", "matchLabels", problems);
  if (selector !== null)
    problems.warn(
      spec.where("selector"),
      "Ignored",
      "a Telemetry with a selector is for workloads that have the waypoint's application in their tunnel (--l7); waypoints go by targetRefs",
    );
  // What is wrong with it is told once.
  const quiet = new Problems();
  const node = root.node("spec");
  const again = node === null ? null : ObjectReader.of(node, "spec", fields, quiet);
  return {
    ...base,
    targetRefs: readTargetRefs(spec, problems),
    selector,
    ...readSettings(spec, problems, "SERVER"),
    client: again === null ? nothing : readSettings(again, quiet, "CLIENT"),
  };
}

/** A waypoint reports as a server does. */
type Side = "SERVER" | "CLIENT";

function readSettings(spec: ObjectReader, problems: Problems, side: Side): TelemetrySettings {
  return {
    accessLog: readAccessLogging(spec, problems, side),
    tracing: readTracings(spec, problems, side),
    metrics: readMetrics(spec, problems, side),
  };
}

function isFor(side: Side, item: ObjectReader): boolean {
  const mode = item.object("match", { known: ["mode"] })?.choice("mode", modes)?.value;
  return isOf(side, mode);
}

function isOf(side: Side, mode: (typeof modes)[number] | undefined): boolean {
  return mode === undefined || mode === "CLIENT_AND_SERVER" || mode === side;
}

/** @returns the places that the providers are; all of them without any. */
function readPlaces<Part extends keyof typeof providers>(
  part: Part,
  item: ObjectReader,
  problems: Problems,
): ReadonlySet<string> {
  const known: Readonly<Record<string, string>> = providers[part];
  const named = item.objects("providers", { known: ["name"] });
  const found = named.flatMap((provider) => {
    const name = provider.requiredString("name");
    if (name === null) return [];
    const place = Object.hasOwn(known, name.value) ? known[name.value] : undefined;
    if (place !== undefined) return place;
    problems.add(
      name.at,
      `${provider.path("name")}: there is no provider ${quote(name.value)} here, only ${places[part]}`,
      name.value,
      Object.keys(known),
    );
    return [];
  });
  return new Set(named.length === 0 ? Object.values(known) : found);
}

/** Of several for one place the last counts; a place that no provider names gets nothing. */
function readAccessLogging(spec: ObjectReader, problems: Problems, side: Side): AccessLogging | null {
  const items = spec.objects("accessLogging", logFields);
  checkCount(spec, "accessLogging", items.length, trafficLimits.maxMatches, problems);
  let isSaid = false;
  let log: AccessLogRule | null = null;
  let collector: AccessLogRule | null = null;
  for (const item of items) {
    const named = readPlaces("accessLogging", item, problems);
    const rule = readAccessLog(item, problems);
    if (!isFor(side, item)) continue;
    isSaid = true;
    if (named.has("log")) log = rule;
    if (named.has("collector")) collector = rule;
  }
  return isSaid ? { log, collector } : null;
}

function readAccessLog(item: ObjectReader, problems: Problems): AccessLogRule {
  const filter = item.object("filter", { known: ["expression"] })?.requiredString("expression") ?? null;
  return { isDisabled: readFlag(item, "disabled", problems) ?? false, filter };
}

/** Of several the last counts. */
function readTracings(spec: ObjectReader, problems: Problems, side: Side): TracingRule | null {
  const items = spec.objects("tracing", tracingFields);
  checkCount(spec, "tracing", items.length, trafficLimits.maxMatches, problems);
  let last: TracingRule | null = null;
  for (const item of items) {
    readPlaces("tracing", item, problems);
    const rule = {
      samplingPercent: readNumber(item, "randomSamplingPercentage", 0, 100, problems),
      isDisabled: readFlag(item, "disableSpanReporting", problems) ?? false,
      hasIstioTags: readFlag(item, "enableIstioTags", problems) ?? true,
      customTags: readCustomTags(item, problems),
    };
    for (const [field, reason] of Object.entries(alwaysFalse))
      if (readFlag(item, field, problems) === true)
        problems.add(item.where(field), `${item.path(field)}: true is not supported: ${reason}`, field);
    if (isFor(side, item)) last = rule;
  }
  return last;
}

function readCustomTags(item: ObjectReader, problems: Problems): ReadonlyMap<string, CustomTag> {
  const entries = item.map("customTags");
  checkCount(item, "customTags", entries.length, trafficLimits.maxMatches, problems);
  const tags = new Map<string, CustomTag>();
  for (const { key, value } of entries) {
    const path = `${item.path("customTags")}.${key}`;
    const reader = ObjectReader.of(value, path, customTagFields, problems);
    if (reader === null) continue;
    if (customTagFields.known.filter((kind) => reader.has(kind)).length !== 1) {
      if (!reader.has("environment"))
        problems.add(reader.at, `${path} must have one of ${customTagFields.known.join(", ")}`);
      continue;
    }
    const tag = readCustomTag(reader, problems);
    if (tag !== null) tags.set(key, tag);
  }
  return tags;
}

function readCustomTag(reader: ObjectReader, problems: Problems): CustomTag | null {
  const literal = reader.object("literal", { known: ["value"] })?.requiredString("value") ?? null;
  if (literal !== null) return { kind: "literal", value: literal.value };
  const text = reader.object("formatter", { known: ["value"] })?.requiredString("value") ?? null;
  if (text !== null) return { kind: "format", text };
  const header = reader.object("header", { known: ["name", "defaultValue"] });
  const name = header?.requiredString("name") ?? null;
  if (header === null || name === null) return null;
  const valid = readHeaderName(name, header.path("name"), problems);
  const otherwise = header.string("defaultValue")?.value || null;
  return valid === null ? null : { kind: "header", name: valid, otherwise };
}

/** Null when the document says nothing of metrics. Later ones add to those before. */
function readMetrics(
  spec: ObjectReader,
  problems: Problems,
  side: Side,
): ReadonlyMap<string, MetricOverride> | null {
  if (!spec.has("metrics")) return null;
  const said = new Map<string, { isDisabled: boolean; tags: Map<string, TagOverride> }>();
  for (const item of spec.objects("metrics", metricFields)) {
    readPlaces("metrics", item, problems);
    for (const override of item.objects("overrides", overrideFields)) {
      const match = override.object("match", {
        known: ["metric", "mode"],
        unsupported: { customMetric: "only Istio's own metrics are counted" },
      });
      const mode = match?.choice("mode", modes)?.value;
      const metric = match?.choice("metric", metrics)?.value ?? "ALL_METRICS";
      const disabled = readFlag(override, "disabled", problems);
      const tags = readTagOverrides(override, problems);
      if (!isOf(side, mode)) continue;
      for (const name of metric === "ALL_METRICS" ? requestMetrics : [metric]) {
        const before = said.get(name);
        said.set(name, {
          isDisabled: disabled ?? before?.isDisabled ?? false,
          tags: new Map([...(before?.tags ?? []), ...tags]),
        });
      }
    }
  }
  return said;
}

function readTagOverrides(override: ObjectReader, problems: Problems): ReadonlyMap<string, TagOverride> {
  const entries = override.map("tagOverrides");
  checkCount(override, "tagOverrides", entries.length, trafficLimits.maxMatches, problems);
  const tags = new Map<string, TagOverride>();
  for (const { key, keyAt, value } of entries) {
    const path = `${override.path("tagOverrides")}.${key}`;
    const reader = ObjectReader.of(value, path, { known: ["operation", "value"] }, problems);
    if (reader === null) continue;
    if (!labelName.test(key)) problems.add(keyAt, `${path}: ${quote(key)} is not the name of a label`, key);
    const operation = reader.choice("operation", ["UPSERT", "REMOVE"])?.value ?? "UPSERT";
    if (operation === "REMOVE") {
      if (reader.has("value"))
        problems.add(reader.where("value"), `${path}.value cannot be given with REMOVE`, "value");
      tags.set(key, null);
      continue;
    }
    const expression = reader.requiredString("value");
    if (expression !== null) tags.set(key, expression);
  }
  return tags;
}
