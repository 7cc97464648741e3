/** What is told of a connection: ztunnel's metrics and its access log, exactly one record each. */
import type { ErrorCode, MeshError } from "../base/errors.ts";
import { formatAddress, formatSocketAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { LogFields, Logger } from "../base/log.ts";
import type { Counter, MetricRegistry } from "../base/metrics.ts";
import type { Clock } from "../host/host.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { Workload } from "../mesh/workload.ts";
import type { CopyCounters } from "./carry/copy.ts";
import { type AskedPolicy, ConnectionHistory, type EndedConnection } from "./connection_history.ts";
import { type Labels, labelNames, makeLabels, type Parties, partyKey } from "./parties.ts";

/** ztunnel's `response_flags` (`metrics.rs`). */
export type ResponseFlag =
  | "-"
  | "DENY"
  | "CONNECT"
  | "TLS_FAILURE"
  | "H2_HANDSHAKE_FAILURE"
  | "IDENTITY_ERROR"
  | "CERT_REVOKED";

/** What a handshake negotiated, as far as the runtime tells. */
export interface TlsParameters {
  /** `TLS_AES_128_GCM_SHA256` */
  readonly cipherSuite: string;
  /** `X25519MLKEM768`; null where the runtime keeps it to itself. */
  readonly keyExchange: string | null;
}

/** The counters of one label set; found again by its parties, so that a connection costs one look-up. */
interface Series {
  readonly labels: Labels;
  readonly opened: Counter;
  readonly received: Counter;
  readonly sent: Counter;
  readonly closed: Map<ResponseFlag, { readonly closed: Counter; readonly failed: Counter | null }>;
}

export class Telemetry {
  /** Where what is counted beside connections goes. */
  readonly metrics: MetricRegistry;
  /** What `fairlead explain --connection` is asked about. */
  readonly history = new ConnectionHistory();
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #families;
  readonly #series = new Map<string, Series>();
  #lastId: number;

  /** @param firstId connections are numbered from there on. */
  constructor(clock: Clock, logger: Logger, metrics: MetricRegistry, firstId = 1) {
    this.#clock = clock;
    this.#lastId = firstId - 1;
    this.#logger = logger;
    this.metrics = metrics;
    this.#families = {
      opened: metrics.counter(
        "istio_tcp_connections_opened",
        "The total number of TCP connections opened",
        labelNames,
      ),
      closed: metrics.counter(
        "istio_tcp_connections_closed",
        "The total number of TCP connections closed",
        labelNames,
      ),
      failed: metrics.counter(
        "istio_tcp_connections_failed",
        "The total number of TCP connections that failed",
        labelNames,
      ),
      received: metrics.counter(
        "istio_tcp_received_bytes",
        "The size of total bytes received during request in case of a TCP connection",
        labelNames,
      ),
      sent: metrics.counter(
        "istio_tcp_sent_bytes",
        "The size of total bytes sent during response in case of a TCP connection",
        labelNames,
      ),
      revoked: metrics.counter(
        "istio_crl_policy_rejections",
        "The total number of connections refused or ended because a certificate is revoked",
        ["reporter"],
      ),
    };
  }

  /** A connection whose parties are known begins. */
  opened(parties: Parties): ConnectionRecord {
    return new ConnectionRecord(++this.#lastId, parties, this.#clock.now(), this);
  }

  /** A connection that was refused before its parties were known: no metrics, one line. */
  refused(
    direction: Parties["direction"],
    source: SocketAddress,
    destination: SocketAddress | string,
    error: MeshError,
  ): void {
    this.#countRevoked(direction, error);
    this.#reportBug(error);
    const id = ++this.#lastId;
    const sourceText = formatSocketAddress(source);
    const destinationText = typeof destination === "string" ? destination : formatSocketAddress(destination);
    const errorText = `${error.code}: ${error.message}`;
    this.history.add({
      id,
      endedAtMs: this.#clock.wallMs(),
      durationMs: 0,
      direction,
      source: { address: sourceText, workload: null, identity: null },
      destination: { address: destinationText, workload: null, identity: null },
      policy: null,
      dryRun: null,
      error: errorText,
      asked: null,
    });
    this.#logger.log("warn", "access", "connection failed", {
      "src.addr": sourceText,
      "dst.addr": destinationText,
      direction,
      error: errorText,
      id,
    });
  }

  /** A record names the connection that met the bug; this tells where in the program it is. */
  #reportBug(error: MeshError | null): void {
    if (error?.code !== "bug") return;
    const { cause } = error;
    const stack = cause instanceof Error ? (cause.stack ?? cause.message) : String(cause);
    this.#logger.log("error", "bug", "please report this bug of fairlead: it ended one connection", {
      error: stack,
    });
  }

  /** For `ConnectionRecord` alone. */
  seriesOf(parties: Parties): Series {
    return this.#find(parties);
  }

  /** For `ConnectionRecord` alone. ztunnel says this at debug too. */
  counted(record: ConnectionRecord): void {
    if (this.#logger.wants?.("debug", "access") === true)
      this.#logger.log("debug", "access", "connection opened", partyFields(record));
  }

  /** For `ConnectionRecord` alone. */
  closed(record: ConnectionRecord, series: Series, error: MeshError | null): void {
    const flag = error === null ? "-" : responseFlag(error.code);
    this.#countRevoked(record.parties.direction, error);
    this.#reportBug(error);
    const counters = this.#closedCounters(series, flag);
    counters.closed.add(1);
    counters.failed?.add(1);
    const level = error === null ? "info" : "error";
    if (this.#logger.wants?.(level, "access") === false) return;
    const durationMs = Math.round(this.#clock.now() - record.openedAtMs);
    this.#logger.log(level, "access", "connection complete", {
      ...partyFields(record),
      ...byteFields(record),
      "tls.suite": record.tls?.cipherSuite ?? null,
      "tls.group": record.tls?.keyExchange ?? null,
      duration: `${durationMs}ms`,
      error: error === null ? null : `${error.code}: ${error.message}`,
      dry_run: record.dryRun,
      id: record.id,
    });
    this.history.add(ended(record, this.#clock.wallMs(), durationMs, error));
  }

  #countRevoked(direction: Parties["direction"], error: MeshError | null): void {
    if (error?.code !== "certificate_revoked") return;
    this.#families.revoked.with({ reporter: direction === "outbound" ? "source" : "destination" }).add(1);
  }

  #find(parties: Parties): Series {
    const { source, destination } = parties;
    const key = `${parties.direction[0]}|${partyKey(source)}|${partyKey(destination)}|${destination.service?.hostname ?? ""}|${destination.service?.namespace ?? ""}`;
    const known = this.#series.get(key);
    // A document may change under an unchanged uid: the objects are compared by what the labels were made of.
    if (known !== undefined) return known;
    const labels = makeLabels(parties);
    const series: Series = {
      labels,
      opened: this.#families.opened.with(labels),
      received: this.#families.received.with(labels),
      sent: this.#families.sent.with(labels),
      closed: new Map(),
    };
    if (this.#series.size >= proxyLimits.telemetrySeries) this.#series.clear();
    this.#series.set(key, series);
    return series;
  }

  #closedCounters(series: Series, flag: ResponseFlag) {
    const known = series.closed.get(flag);
    if (known !== undefined) return known;
    const labels = { ...series.labels, response_flags: flag };
    const made = {
      closed: this.#families.closed.with(labels),
      failed: flag === "-" ? null : this.#families.failed.with(labels),
    };
    series.closed.set(flag, made);
    return made;
  }
}

/** The one record of a connection. Its byte counters are written by the copy and flushed into the metrics at a scrape and at the end. */
export class ConnectionRecord implements CopyCounters {
  /** In the access log, and of this run of the node alone. */
  readonly id: number;
  /** What policy was asked; null where it was not. */
  asked: AskedPolicy | null = null;
  /** `namespace/name` of the ALLOW policy that let it in. */
  allowedBy: string | null = null;
  /** What policies in dry run would have refused of it. */
  dryRun: string | null = null;
  #parties: Parties;
  /** Monotonic. */
  readonly openedAtMs: number;
  bytesToUpstream = 0;
  bytesToDownstream = 0;
  /** The destination's identity once it was verified: a line names only identities that were proven. */
  verifiedDestination: SpiffeId | null = null;
  /** What protects the connection; null for plaintext. */
  tls: TlsParameters | null = null;
  /** Null until it is counted, which it is once: at first for whom a name stands is not known. */
  #series: Series | null = null;
  readonly #telemetry: Telemetry;
  #flushedToUpstream = 0;
  #flushedToDownstream = 0;
  #closed = false;

  constructor(id: number, parties: Parties, openedAtMs: number, telemetry: Telemetry) {
    this.id = id;
    this.#parties = parties;
    this.openedAtMs = openedAtMs;
    this.#telemetry = telemetry;
    if ("ip" in parties.destination.address) this.#count();
  }

  get parties(): Parties {
    return this.#parties;
  }

  /** A name turned out to be this, or of several addresses this one answered. */
  reached(parties: Parties): void {
    if (this.#closed) return;
    this.#parties = parties;
    this.#count();
  }

  #count(): Series {
    if (this.#series !== null) return this.#series;
    const series = this.#telemetry.seriesOf(this.#parties);
    series.opened.add(1);
    this.#series = series;
    this.#telemetry.counted(this);
    return series;
  }

  /** Istio counts as received what the caller sends, and as sent what it is answered, at both reporters. */
  flushBytes(): void {
    const series = this.#series;
    if (series === null) return;
    series.received.add(this.bytesToUpstream - this.#flushedToUpstream);
    series.sent.add(this.bytesToDownstream - this.#flushedToDownstream);
    this.#flushedToUpstream = this.bytesToUpstream;
    this.#flushedToDownstream = this.bytesToDownstream;
  }

  /** Idempotent: whoever comes first gives the reason. */
  close(error: MeshError | null): void {
    if (this.#closed) return;
    this.#closed = true;
    const series = this.#count();
    this.flushBytes();
    this.#telemetry.closed(this, series, error);
  }
}

/** The metric's word for a failure. */
export function responseFlag(code: ErrorCode): ResponseFlag {
  switch (code) {
    case "policy_denied":
    case "policy_missing":
    case "policy_changed":
      return "DENY";
    case "certificate_revoked":
      return "CERT_REVOKED";
    case "identity_unavailable":
    case "workload_changed":
      return "IDENTITY_ERROR";
    case "tls_handshake":
    case "tls_parameters":
    case "certificate_missing":
    case "certificate_malformed":
    case "certificate_untrusted":
    case "certificate_expired":
    case "certificate_not_yet_valid":
    case "certificate_usage":
    case "certificate_identity":
    case "trust_changed":
      return "TLS_FAILURE";
    case "h2_protocol":
    case "h2_flow_control":
    case "h2_flood":
    case "h2_keepalive_timeout":
      return "H2_HANDSHAKE_FAILURE";
    default:
      return "CONNECT";
  }
}

/** The fields of an access line, in ztunnel's order; identities only where they were verified. */
function partyFields(record: ConnectionRecord): LogFields {
  const { direction, source, destination } = record.parties;
  return {
    "src.addr": formatAddress(source.address),
    "src.workload": source.workload?.name ?? orNull(source.baggage?.workloadName),
    "src.namespace": source.workload?.namespace ?? orNull(source.baggage?.namespace),
    "src.identity": source.identity?.uri ?? null,
    "src.cluster": orNull(source.workload?.clusterId ?? source.baggage?.cluster),
    "dst.addr": formatAddress(destination.address),
    "dst.hbone_addr": destination.hboneAddress,
    "dst.service": destination.service?.hostname ?? null,
    "dst.workload": destination.workload?.name ?? null,
    "dst.namespace": destination.workload?.namespace ?? null,
    "dst.identity": record.verifiedDestination?.uri ?? null,
    "dst.cluster": orNull(destination.workload?.clusterId),
    direction,
  };
}

function ended(
  record: ConnectionRecord,
  endedAtMs: number,
  durationMs: number,
  error: MeshError | null,
): EndedConnection {
  const { direction, source, destination } = record.parties;
  const name = (workload: Workload | null) =>
    workload === null ? null : `${workload.namespace}/${workload.name}`;
  return {
    id: record.id,
    endedAtMs,
    durationMs,
    direction,
    source: {
      address: formatAddress(source.address),
      workload: name(source.workload),
      identity: source.identity?.uri ?? null,
    },
    destination: {
      address: formatAddress(destination.address),
      workload: name(destination.workload),
      identity: record.verifiedDestination?.uri ?? null,
    },
    policy: record.allowedBy,
    dryRun: record.dryRun,
    error: error === null ? null : `${error.code}: ${error.message}`,
    asked: record.asked,
  };
}

function orNull(value: string | undefined): string | null {
  return value === undefined || value === "" ? null : value;
}

/** Logs count from the reporter's own end: the source sends what the caller said, the destination what it answered. */
function byteFields(record: ConnectionRecord): LogFields {
  const outbound = record.parties.direction === "outbound";
  return {
    bytes_sent: outbound ? record.bytesToUpstream : record.bytesToDownstream,
    bytes_recv: outbound ? record.bytesToDownstream : record.bytesToUpstream,
  };
}
