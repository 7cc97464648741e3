/** Istio's standard metrics of HTTP and gRPC, by the names and labels of a waypoint or of a sidecar (https://istio.io/latest/docs/reference/config/metrics/). */
import type { Counter, Histogram, MetricFamily, MetricRegistry } from "../../base/metrics.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { Downstream } from "../exchange.ts";
import { type RequestRecord, requestProtocol } from "./request_record.ts";
import { TaggedLabels } from "./tagged_labels.ts";
import type { MetricRule } from "./telemetry_rule.ts";

/** Hexadecimal. */
export interface Trace {
  readonly traceId: string;
  readonly spanId: string;
}

const labelNames = [
  "reporter",
  "source_workload",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_canonical_service",
  "source_canonical_revision",
  "source_cluster",
  "destination_workload",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_service",
  "destination_service_name",
  "destination_service_namespace",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_cluster",
  "request_protocol",
  "response_code",
  "grpc_response_status",
  "response_flags",
  "connection_security_policy",
] as const;

type Labels = Record<(typeof labelNames)[number], string>;

/** Envoy's default bounds, which Istio uses for milliseconds and bytes alike. */
const bounds = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000,
  1_800_000, 3_600_000,
];

const none: ReadonlySet<string> = new Set();

/** What tells one request's series from another's, beside its connection and its endpoint. */
interface Outcome {
  readonly status: number;
  readonly flags: string;
  readonly grpcStatus: string | null;
  readonly protocol: string;
  readonly service: string;
}

interface Children {
  readonly requests: Counter;
  readonly duration: Histogram;
  readonly requestBytes: Histogram;
  readonly responseBytes: Histogram;
}

interface Series extends Outcome, Children {
  /** Of gRPC calls; null until one is counted. */
  requestMessages: Counter | null;
  responseMessages: Counter | null;
}

interface ByOutcome {
  last: Series | null;
  readonly all: Map<string, Series>;
}

export class RequestMetrics {
  readonly #families;
  readonly #tagged = new TaggedLabels();
  /** One request costs two look-ups and no string: by connection, then by endpoint; its outcome is mostly that of the one before. */
  readonly #byConnection = new WeakMap<Downstream, Map<Workload | null, ByOutcome>>();

  constructor(metrics: MetricRegistry) {
    this.#families = {
      requests: metrics.counter("istio_requests", "The total number of requests", labelNames),
      duration: metrics.histogram(
        "istio_request_duration_milliseconds",
        "How long requests took, in milliseconds",
        labelNames,
        bounds,
      ),
      requestBytes: metrics.histogram(
        "istio_request_bytes",
        "The size of requests' content",
        labelNames,
        bounds,
      ),
      responseBytes: metrics.histogram(
        "istio_response_bytes",
        "The size of answers' content",
        labelNames,
        bounds,
      ),
      requestMessages: metrics.counter("istio_request_messages", "The gRPC messages of clients", labelNames),
      responseMessages: metrics.counter(
        "istio_response_messages",
        "The gRPC messages of servers",
        labelNames,
      ),
    };
  }

  /** @param trace of the request, where its spans are kept. */
  count(record: RequestRecord, rule: MetricRule | null, trace: Trace | null): void {
    const exemplar = trace === null ? null : { ...trace, wallMs: record.startedWallMs + record.durationMs };
    const { requests, duration, requestBytes, responseBytes } =
      rule === null || rule.tags === null ? this.#seriesOf(record) : this.#taggedSeries(record, rule);
    const disabled = rule?.disabled ?? none;
    if (!disabled.has("REQUEST_COUNT")) requests.add(1);
    if (!disabled.has("REQUEST_DURATION")) duration.observe(record.durationMs, exemplar);
    if (!disabled.has("REQUEST_SIZE")) requestBytes.observe(record.requestBytes);
    if (!disabled.has("RESPONSE_SIZE")) responseBytes.observe(record.responseBytes);
  }

  /** Of a gRPC call, at its end. */
  countMessages(record: RequestRecord, requests: number, responses: number, rule: MetricRule | null): void {
    const { requestMessages, responseMessages } = this.#families;
    const disabled = rule?.disabled ?? none;
    const countsRequests = !disabled.has("GRPC_REQUEST_MESSAGES");
    const countsResponses = !disabled.has("GRPC_RESPONSE_MESSAGES");
    if (rule !== null && rule.tags !== null) {
      const child = this.#childrenBy(record, rule);
      if (countsRequests) child("GRPC_REQUEST_MESSAGES", requestMessages).add(requests);
      if (countsResponses) child("GRPC_RESPONSE_MESSAGES", responseMessages).add(responses);
      return;
    }
    // Kept with what else counts such calls: to write out two times 25 labels is dear beside all else that a call costs.
    const series = this.#seriesOf(record);
    if (countsRequests) {
      series.requestMessages ??= requestMessages.with(labelsOf(record));
      series.requestMessages.add(requests);
    }
    if (countsResponses) {
      series.responseMessages ??= responseMessages.with(labelsOf(record));
      series.responseMessages.add(responses);
    }
  }

  #taggedSeries(record: RequestRecord, rule: MetricRule): Children {
    const child = this.#childrenBy(record, rule);
    const { requests, duration, requestBytes, responseBytes } = this.#families;
    return {
      requests: child("REQUEST_COUNT", requests),
      duration: child("REQUEST_DURATION", duration),
      requestBytes: child("REQUEST_SIZE", requestBytes),
      responseBytes: child("RESPONSE_SIZE", responseBytes),
    };
  }

  /** @returns what finds the child of a metric that counts this request. */
  #childrenBy(record: RequestRecord, rule: MetricRule) {
    const labels = labelsOf(record);
    const tags = rule.tags?.(record) ?? null;
    return <Child>(name: string, family: MetricFamily<(typeof labelNames)[number], Child>): Child => {
      const ofMetric = tags?.get(name);
      if (ofMetric === undefined || ofMetric.size === 0) return family.with(labels);
      const [first, instead] = this.#tagged.written(name, rule.namespace, labels, ofMetric);
      return family.withWritten(first) ?? family.withWritten(instead) ?? family.with(labels);
    };
  }

  #seriesOf(record: RequestRecord): Series {
    const { downstream, endpoint } = record.exchange;
    let byEndpoint = this.#byConnection.get(downstream);
    if (byEndpoint === undefined) {
      byEndpoint = new Map();
      this.#byConnection.set(downstream, byEndpoint);
    }
    const workload = endpoint?.workload ?? null;
    let byOutcome = byEndpoint.get(workload);
    if (byOutcome === undefined) {
      byOutcome = { last: null, all: new Map() };
      byEndpoint.set(workload, byOutcome);
    }
    const { status, flags, grpcStatus, exchange } = record;
    const protocol = requestProtocol(exchange);
    const service = exchange.destination?.service ?? "";
    const { last } = byOutcome;
    if (
      last !== null &&
      last.status === status &&
      last.flags === flags &&
      last.grpcStatus === grpcStatus &&
      last.protocol === protocol &&
      last.service === service
    )
      return last;
    const outcome = `${status}|${flags}|${grpcStatus ?? ""}|${protocol}|${service}`;
    const known = byOutcome.all.get(outcome);
    if (known !== undefined) {
      byOutcome.last = known;
      return known;
    }
    const labels = labelsOf(record);
    const { requests, duration, requestBytes, responseBytes } = this.#families;
    const series: Series = {
      ...{ status, flags, grpcStatus, protocol, service },
      requests: requests.with(labels),
      duration: duration.with(labels),
      requestBytes: requestBytes.with(labels),
      responseBytes: responseBytes.with(labels),
      ...{ requestMessages: null, responseMessages: null },
    };
    byOutcome.all.set(outcome, series);
    byOutcome.last = series;
    return series;
  }
}

function labelsOf({ exchange, status, grpcStatus, flags }: RequestRecord): Labels {
  const { downstream, endpoint } = exchange;
  const { place } = downstream;
  const service = endpoint?.service ?? (place.side === "inbound" ? place.service : downstream.service);
  const source = partyOf(downstream.sourceWorkload, downstream.peer);
  const workload = endpoint?.workload ?? downstream.workload;
  const destination = partyOf(workload, workload?.identity ?? null);
  return {
    reporter: reporters[place.side],
    source_workload: source.workload,
    source_workload_namespace: source.namespace,
    source_principal: source.principal,
    source_app: source.canonicalName,
    source_version: source.canonicalRevision,
    source_canonical_service: source.canonicalName,
    source_canonical_revision: source.canonicalRevision,
    source_cluster: source.cluster,
    destination_workload: destination.workload,
    destination_workload_namespace: destination.namespace,
    destination_principal: destination.principal,
    destination_app: destination.canonicalName,
    destination_version: destination.canonicalRevision,
    destination_service: known(service?.hostname),
    destination_service_name: known(service?.name),
    destination_service_namespace: known(service?.namespace),
    destination_canonical_service: destination.canonicalName,
    destination_canonical_revision: destination.canonicalRevision,
    destination_cluster: destination.cluster,
    request_protocol: requestProtocol(exchange),
    response_code: String(status),
    grpc_response_status: grpcStatus ?? "",
    response_flags: flags,
    connection_security_policy: securityPolicy(downstream),
  };
}

const reporters = { waypoint: "waypoint", inbound: "destination", outbound: "source" } as const;

/** A waypoint is reached by HBONE alone. Who calls does not tell how it will be carried, as in Istio. */
function securityPolicy({ place, peer }: Downstream): string {
  if (place.side === "outbound") return "unknown";
  return peer === null ? "none" : "mutual_tls";
}

function partyOf(workload: Workload | null, identity: SpiffeId | null) {
  return {
    workload: known(workload?.workloadName),
    // Of one that is not known by its address, the identity that it proved still says the namespace.
    namespace: known(workload?.namespace ?? identity?.namespace),
    principal: known(identity?.uri),
    canonicalName: known(workload?.canonicalName),
    canonicalRevision: known(workload?.canonicalRevision),
    cluster: known(workload?.clusterId),
  };
}

function known(value: string | undefined): string {
  return value === undefined || value === "" ? "unknown" : value;
}
