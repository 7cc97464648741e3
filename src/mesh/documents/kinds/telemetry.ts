/**
 * Telemetry (`telemetry.istio.io/v1`) as far as it is for waypoints: which requests have a line, how many begin a trace, and which metrics are
 * not counted (Istio `api/telemetry/v1alpha1/telemetry.proto`).
 */
import { trafficLimits } from "../../../base/limits/traffic.ts";
import type { Location } from "../../location.ts";
import type { AccessLogRule, Metadata, TelemetryDocument, TracingRule } from "../document.ts";
import type { ObjectReader, Problems } from "../reader.ts";
import { checkCount } from "./bounds.ts";
import { readSelector } from "./labels.ts";
import { readTargetRefs } from "./target_ref.ts";
import { readFlag, readNumber } from "./traffic/scalars.ts";

const fields = {
  known: ["selector", "targetRef", "targetRefs", "accessLogging", "tracing", "metrics"],
};
const modes = ["CLIENT_AND_SERVER", "CLIENT", "SERVER"] as const;
const providerReason = "there is one place for each: the log, --waypoint-traces and the metrics' port";
const logFields = { known: ["match", "providers", "disabled", "filter"] };
const tracingFields = {
  known: ["match", "providers", "randomSamplingPercentage", "disableSpanReporting"],
  unsupported: {
    customTags: "spans have the attributes of OpenTelemetry's conventions",
    enableIstioTags: "spans have the attributes of OpenTelemetry's conventions",
    useRequestIdForTraceSampling: "a trace is begun by chance, or goes on as its caller says",
    disableContextPropagation: "a caller's trace is always passed on",
  },
};
const metricFields = {
  known: ["providers", "overrides"],
  unsupported: { reportingInterval: "metrics are read when they are asked for" },
};
const overrideFields = {
  known: ["match", "disabled"],
  unsupported: { tagOverrides: "the labels of Istio's metrics are fixed here" },
};
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
  const nothing = {
    targetRefs: [],
    hasSelector: false,
    accessLog: null,
    tracing: null,
    disabledMetrics: null,
  };
  if (spec === null) return { ...base, ...nothing };
  const selector = readSelector(spec, "selector", "matchLabels", problems);
  if (selector !== null)
    problems.warn(
      spec.where("selector"),
      "Ignored",
      "a Telemetry with a selector is for workloads, and waypoints go by targetRefs; it has no effect",
    );
  return {
    ...base,
    targetRefs: readTargetRefs(spec, problems),
    hasSelector: selector !== null,
    accessLog: lastForServers(spec, "accessLogging", logFields, problems, readAccessLog),
    tracing: lastForServers(spec, "tracing", tracingFields, problems, readTracing),
    disabledMetrics: readMetrics(spec, problems),
  };
}

/** A waypoint reports as a server does; of several that are for it the last counts. */
function lastForServers<T>(
  spec: ObjectReader,
  field: string,
  table: { readonly known: readonly string[]; readonly unsupported?: Readonly<Record<string, string>> },
  problems: Problems,
  read: (reader: ObjectReader, problems: Problems) => T,
): T | null {
  const items = spec.objects(field, table);
  checkCount(spec, field, items.length, trafficLimits.maxMatches, problems);
  let last: T | null = null;
  for (const item of items) {
    refuseProviders(item, problems);
    const mode = item.object("match", { known: ["mode"] })?.choice("mode", modes)?.value;
    const value = read(item, problems);
    if (mode !== "CLIENT") last = value;
  }
  return last;
}

function refuseProviders(item: ObjectReader, problems: Problems): void {
  for (const provider of item.objects("providers", { known: ["name"] })) {
    const name = provider.requiredString("name");
    if (name !== null && !["envoy", "prometheus", "otel", "opentelemetry"].includes(name.value))
      problems.warn(name.at, "Ignored", `the provider ${name.value} is not looked at: ${providerReason}`);
  }
}

function readAccessLog(item: ObjectReader, problems: Problems): AccessLogRule {
  const filter = item.object("filter", { known: ["expression"] })?.requiredString("expression") ?? null;
  return { isDisabled: readFlag(item, "disabled", problems) ?? false, filter };
}

function readTracing(item: ObjectReader, problems: Problems): TracingRule {
  return {
    samplingPercent: readNumber(item, "randomSamplingPercentage", 0, 100, problems),
    isDisabled: readFlag(item, "disableSpanReporting", problems) ?? false,
  };
}

/** Null when the document says nothing of metrics. */
function readMetrics(spec: ObjectReader, problems: Problems): ReadonlySet<string> | null {
  if (!spec.has("metrics")) return null;
  const disabled = new Set<string>();
  for (const item of spec.objects("metrics", metricFields)) {
    refuseProviders(item, problems);
    for (const override of item.objects("overrides", overrideFields)) {
      const match = override.object("match", {
        known: ["metric", "mode"],
        unsupported: { customMetric: "only Istio's own metrics are counted" },
      });
      const mode = match?.choice("mode", modes)?.value;
      const metric = match?.choice("metric", metrics)?.value ?? "ALL_METRICS";
      const isDisabled = readFlag(override, "disabled", problems) ?? false;
      if (mode === "CLIENT") continue;
      for (const name of metric === "ALL_METRICS" ? requestMetrics : [metric]) {
        if (isDisabled) disabled.add(name);
        else disabled.delete(name);
      }
    }
  }
  return disabled;
}
