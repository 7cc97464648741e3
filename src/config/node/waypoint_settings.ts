/** Settings of a host that is a waypoint, or whose tunnel has a waypoint's application inside. */

import { otlpLimits } from "../../base/limits/otlp.ts";
import { many, one, optional } from "../setting.ts";
import { Invalid, type Reader, readDuration, readNonEmpty, readWord, readWorkloadName } from "../value.ts";

const group = "Waypoint";

const readPercent: Reader<number> = (text) => {
  const percent = /^[0-9]{1,3}(?:\.[0-9]+)?$/.test(text) ? Number(text) : Number.NaN;
  return percent >= 0 && percent <= 100 ? percent : new Invalid("not a share in percent (0 to 100)");
};

const readCollector: Reader<string> = (text) => {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) return new Invalid("not http(s)://HOST[:PORT][/PATH]");
  if (url.username !== "" || url.password !== "") return new Invalid("an address with a password");
  return url.href;
};

export const waypointSettings = {
  waypoints: many(readWorkloadName, {
    flag: "--waypoint",
    hint: "NS/NAME",
    group,
    help: "a workload of this host that is a waypoint: it takes the traffic of the services and workloads bound to it",
  }),
  l7: optional(readWorkloadName, {
    flag: "--l7",
    hint: "NS/NAME",
    group,
    help: "sidecar mode: the one workload of this host whose own tunnel understands HTTP, with no waypoint between",
  }),
  waypointMiddleware: optional(readNonEmpty, {
    flag: "--waypoint-middleware",
    hint: "DIRECTORY",
    group,
    help: "the folder of the files that Middleware documents name; what is in it runs with all that this process may do",
  }),
  waypointFiles: optional(readNonEmpty, {
    flag: "--waypoint-files",
    hint: "DIRECTORY",
    group,
    help: "the folder of keys, roots and passwords that documents name, with a folder in it for each namespace",
  }),
  waypointAccessLog: optional(readNonEmpty, {
    flag: "--waypoint-access-log",
    hint: "FORMAT",
    group,
    help: "the access log's lines by Envoy's operators, %REQ(:PATH)% and so on; by default they have named fields",
  }),
  waypointTraces: optional(readCollector, {
    flag: "--waypoint-traces",
    hint: "URL",
    group,
    help: "a collector that takes spans by OTLP; without one traces pass through as they come",
  }),
  waypointTraceSampling: one(readPercent, "1", {
    flag: "--waypoint-trace-sampling",
    hint: "PERCENT",
    group,
    help: "how many of the requests that come without a trace begin one",
  }),
  waypointLogs: optional(readCollector, {
    flag: "--waypoint-logs",
    hint: "URL",
    group,
    help: "a collector that takes a log record of each request by OTLP, beside the access log",
  }),
  waypointMetrics: optional(readCollector, {
    flag: "--waypoint-metrics",
    hint: "URL",
    group,
    help: "a collector that takes this node's metrics by OTLP, beside the metrics port",
  }),
  waypointMetricsInterval: one(readDuration(otlpLimits.minMetricsIntervalMs, 86_400_000), "60s", {
    flag: "--waypoint-metrics-interval",
    hint: "DURATION",
    group,
    help: "how often metrics are sent to a collector",
  }),
  // The words of OTEL_EXPORTER_OTLP_PROTOCOL.
  waypointOtlpProtocol: one(readWord("http/protobuf", "http/json", "grpc"), "http/protobuf", {
    flag: "--waypoint-otlp-protocol",
    hint: "http/protobuf|http/json|grpc",
    group,
    help: "how collectors are spoken to",
  }),
  waypointOtlpHeaders: optional(readNonEmpty, {
    flag: "--waypoint-otlp-headers",
    hint: "PATH",
    group,
    help: "a file of headers for collectors, a line `Name: value` each; read again for each request",
  }),
  waypointOtlpRoot: optional(readNonEmpty, {
    flag: "--waypoint-otlp-root",
    hint: "PATH",
    group,
    help: "the roots by which collectors are known; the system's without it",
  }),
};
