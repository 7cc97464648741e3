/** The stages of a node's waypoint: who may, and what is done with traffic. */
import { MeshError } from "../../base/errors.ts";
import type { Config } from "../../config/node/config.ts";
import type { Host } from "../../host/host.ts";
import type { DocumentsInForce } from "../../mesh/documents/in_force.ts";
import type { TrafficPlan } from "../../mesh/traffic/traffic_plan.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import { answered } from "../../waypoint/app.ts";
import { Attachment } from "../../waypoint/attached.ts";
import type { SharedStores } from "../../waypoint/guard/shared_stores.ts";
import type { AuthStages, Stages } from "../../waypoint/stages.ts";
import { type AccessFormat, compileFormat } from "../../waypoint/telemetry/access_format.ts";
import { SpanExport } from "../../waypoint/telemetry/spans.ts";
import { TelemetryRules } from "../../waypoint/telemetry_rules.ts";
import { Traffic } from "../../waypoint/traffic.ts";
import { versionFields } from "../version.ts";

export interface WaypointStages {
  readonly stages: Stages;
  /** Requests that are under way keep the rules they have. */
  update(plan: TrafficPlan, documents: DocumentsInForce): void;
}

/** @throws MeshError `configuration` for a format of the access log that is none. */
export function waypointStages(
  context: NodeContext,
  host: Host,
  config: Pick<Config, "waypointSettings" | "rootNamespace" | "waypoints">,
  auth: AuthStages,
  shared: SharedStores,
): WaypointStages {
  const { clock, logger, random, store, telemetry } = context;
  const { waypointSettings, rootNamespace } = config;
  const attachment = new Attachment(rootNamespace, (key) => store.serviceByKey(key));
  const rules = new TelemetryRules(logger, attachment, rootNamespace);
  const traffic = new Traffic({
    rules,
    ...{ clock, random, logger, store, metrics: telemetry.metrics },
    files: host.files,
    process: host.process,
    labels: ({ labels }) => labels,
    middleware: {
      folder: waypointSettings.middlewareDirectory,
      reply: answered,
      applies: (document, { downstream }) => attachment.isFor(document, downstream),
    },
    shared: shared.of,
    accessFormat: formatOf(waypointSettings.accessLog),
    tracing: tracingOf(context, host, config),
  });
  return {
    stages: { ...auth, ...traffic.stages },
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

function formatOf(text: string | null): AccessFormat | null {
  if (text === null) return null;
  const format = compileFormat(text);
  if (typeof format === "function") return format;
  const { message, column } = format;
  throw new MeshError("configuration", "local", `--waypoint-access-log: ${message} (character ${column})`);
}

function tracingOf(
  { clock, logger }: NodeContext,
  { http, name }: Host,
  {
    waypointSettings: { traces },
    waypoints: [waypoint = "waypoint"],
  }: Pick<Config, "waypointSettings" | "waypoints">,
) {
  if (traces === null) return null;
  const { url, samplingPercent } = traces;
  const version = versionFields(name).version ?? "unknown";
  // As Istio names a service to its tracers: workload, then namespace.
  const serviceName = waypoint.split("/").reverse().join(".");
  return { samplingPercent, spans: new SpanExport({ clock, logger, http, url, version, serviceName }) };
}
