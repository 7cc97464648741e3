/** The stages of a node's waypoint: who may, and what is done with traffic. */
import { MeshError } from "../../base/errors.ts";
import { otlpLimits } from "../../base/limits/otlp.ts";
import type { Config } from "../../config/node/config.ts";
import type { Host, Socket } from "../../host/host.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import type { TrafficPlan } from "../../mesh/traffic/traffic_plan.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import { answered } from "../../waypoint/app.ts";
import { Attachment } from "../../waypoint/attached.ts";
import type { SharedStores } from "../../waypoint/guard/shared_stores.ts";
import type { AuthStages, Stages } from "../../waypoint/stages.ts";
import { type AccessFormat, compileFormat } from "../../waypoint/telemetry/access_format.ts";
import { type CollectorSignal, GrpcCollector } from "../../waypoint/telemetry/grpc_collector.ts";
import { HttpCollector } from "../../waypoint/telemetry/http_collector.ts";
import { MetricExport } from "../../waypoint/telemetry/metric_export.ts";
import { OtlpQueue } from "../../waypoint/telemetry/otlp_queue.ts";
import { TelemetryRules } from "../../waypoint/telemetry_rules.ts";
import { Traffic } from "../../waypoint/traffic.ts";
import type { OtlpLog, OtlpSpan } from "../../wire/otlp/items.ts";
import { encodeLogs, encodeSpans } from "../../wire/otlp/otlp.ts";
import { versionFields } from "../version.ts";

/** TLS to a server that the operator's own settings name, verified by the roots in a file; null: by the system's. */
type SecureByRoots = (socket: Socket, name: string, rootPath: string | null) => Promise<Socket>;

export interface WaypointStages {
  readonly stages: Stages;
  /** Requests that are under way keep the rules they have. */
  update(plan: TrafficPlan, documents: DocumentsInForce): void;
  /** What is told to collectors goes there now, before the process ends. */
  flush(): void;
}

/** @throws MeshError `configuration` for a format of the access log that is none. */
export function waypointStages(
  context: NodeContext,
  host: Host,
  config: Pick<Config, "waypointSettings" | "rootNamespace" | "waypoints">,
  auth: AuthStages,
  shared: SharedStores,
  secure: SecureByRoots,
): WaypointStages {
  const { clock, logger, random, store, telemetry } = context;
  const { waypointSettings, rootNamespace } = config;
  const attachment = new Attachment(rootNamespace, (key) => store.serviceByKey(key));
  const rules = new TelemetryRules(logger, attachment, rootNamespace);
  const exported = exportsOf(context, host, config, secure);
  const traffic = new Traffic({
    rules,
    ...{ clock, random, logger, store, metrics: telemetry.metrics },
    files: host.files,
    process: host.process,
    labels: knownLabels,
    middleware: {
      folder: waypointSettings.middlewareDirectory,
      reply: answered,
      applies: {
        isFor: (document, { downstream }) => attachment.isFor(document, downstream),
        scope: ({ downstream }) => attachment.scopeOf(downstream),
      },
    },
    shared: shared.of,
    accessFormat: formatOf(waypointSettings.accessLog),
    logs: exported.logs,
    tracing: exported.tracing,
  });
  return {
    stages: { ...auth, ...traffic.stages },
    flush: exported.flush,
    update: (plan, { documents }) => {
      attachment.update(documents.flatMap((document) => (document.kind === "Gateway" ? document : [])));
      rules.update(documents.flatMap((document) => (document.kind === "Telemetry" ? document : [])));
      traffic.update(
        plan,
        documents.flatMap((document) => (document.kind === "Middleware" ? document : [])),
      );
    },
  };
}

/** istiod tells no tunnel a workload's labels, but what its version's comes to (`canonical_revision`): most subsets go by that. */
function knownLabels({ labels, canonicalRevision }: Workload): ReadonlyMap<string, string> {
  if (labels.size > 0 || canonicalRevision === "latest") return labels;
  return new Map([
    ["version", canonicalRevision],
    ["service.istio.io/canonical-revision", canonicalRevision],
  ]);
}

function formatOf(text: string | null): AccessFormat | null {
  if (text === null) return null;
  const format = compileFormat(text);
  if (typeof format === "function") return format;
  const { message, column } = format;
  throw new MeshError("configuration", "local", `--waypoint-access-log: ${message} (character ${column})`);
}

/** What goes to collectors. All that is counted of it has a name of its own: what is lost there must be seen elsewhere. */
function exportsOf(
  { clock, logger, random, telemetry: { metrics } }: NodeContext,
  host: Host,
  { waypointSettings, waypoints: [waypoint = "waypoint"] }: Pick<Config, "waypointSettings" | "waypoints">,
  secure: SecureByRoots,
) {
  const { traces, logs, metrics: metricSettings, otlp } = waypointSettings;
  const version = versionFields(host.name).version ?? "unknown";
  const source = {
    // As Istio names a service to its tracers: workload, then namespace.
    resource: { "service.name": waypoint.split("/").reverse().join("."), "service.version": version },
    scope: "fairlead.waypoint",
    version,
  };
  const items = metrics.counter(
    "fairlead_otlp_items",
    "Spans, log records and points of metrics for collectors",
    ["signal", "outcome"],
  );
  const counted = (signal: string) => ({
    sent: items.with({ signal, outcome: "sent" }),
    lost: items.with({ signal, outcome: "lost" }),
  });
  const { protocol, headersPath, rootPath } = otlp;
  const encoding = protocol === "http/json" ? "json" : "protobuf";
  const collector = (signal: CollectorSignal, { url }: { readonly url: string }) =>
    protocol === "grpc"
      ? new GrpcCollector({
          ...{ host, signal, url, headersPath },
          secure: (socket, name) => secure(socket, name, rootPath),
        })
      : new HttpCollector({ http: host.http, files: host.files, url, encoding, headersPath, rootPath });
  const common = { clock, random, logger };
  const spans =
    traces === null
      ? null
      : new OtlpQueue<OtlpSpan>({
          ...{ ...common, collector: collector("traces", traces), what: "spans", ...counted("traces") },
          maxQueued: otlpLimits.maxQueuedSpans,
          encode: (batch) => encodeSpans(source, batch, encoding),
        });
  const records =
    logs === null
      ? null
      : new OtlpQueue<OtlpLog>({
          ...{ ...common, collector: collector("logs", logs), what: "log records", ...counted("logs") },
          maxQueued: otlpLimits.maxQueuedLogs,
          encode: (batch) => encodeLogs(source, batch, encoding),
        });
  const points =
    metricSettings === null
      ? null
      : new MetricExport({
          ...{ clock, logger, metrics, source, intervalMs: metricSettings.intervalMs },
          ...{ collector: collector("metrics", metricSettings), ...counted("metrics") },
        });
  return {
    logs: records,
    tracing: spans === null || traces === null ? null : { spans, samplingPercent: traces.samplingPercent },
    flush: () => {
      for (const one of [spans, records, points]) one?.flush();
    },
  };
}
