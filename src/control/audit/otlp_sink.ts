/**
 * The audit log to a collector, as log records of the OpenTelemetry protocol over HTTP (OTLP/HTTP in its JSON encoding, opentelemetry.io,
 * "OTLP Specification", and `opentelemetry/proto/logs/v1/logs.proto`).
 */
import { MeshError } from "../../base/errors.ts";
import { auditExportLimits } from "../../base/limits/control.ts";
import type { Files, HttpClient, HttpResponse } from "../../host/host.ts";
import { readHeaderLines } from "../../wire/otlp/header_lines.ts";
import type { ChainedEntry } from "../records/audit.ts";
import type { AuditSink } from "./audit_export.ts";
import { recordOf } from "./audit_record.ts";

export interface OtlpTarget {
  /** Where logs are sent to, its path included: `https://collector.example:4318/v1/logs`. */
  readonly url: string;
  /** Roots by which it is known; null for the system's. */
  readonly rootPath: string | null;
  /** `Name: value` lines, read for each request: a credential in it may be replaced. */
  readonly headersPath: string | null;
}

export interface OtlpSinkOptions {
  readonly http: HttpClient;
  readonly files: Pick<Files, "readText">;
  readonly target: OtlpTarget;
  readonly stateId: string;
  readonly version: string;
  /** Of this host, as `host.name`. */
  readonly hostName: string;
}

export class OtlpSink implements AuditSink {
  readonly target = "otlp";
  readonly where: string;
  readonly settleMs = 0;
  readonly #options: OtlpSinkOptions;
  #closed = false;

  constructor(options: OtlpSinkOptions) {
    this.#options = options;
    this.where = options.target.url;
  }

  /** A batch that a collector cannot take at all is cut in halves, until it is known which row that is. @throws MeshError. */
  async send(rows: readonly ChainedEntry[]): Promise<number> {
    if (this.#closed) throw new MeshError("stopped", "local", "the export is stopping");
    const response = await this.#post(rows);
    if (response.status === 200) return rejectedOf(response);
    // "The client MUST NOT retry" what is a bad request (OTLP Specification, "Bad Data"); that one row spoils the others is not said.
    if (response.status !== 400 && response.status !== 413) throw refusal(response);
    if (rows.length < 2) return rows.length;
    const middle = Math.ceil(rows.length / 2);
    return (await this.send(rows.slice(0, middle))) + (await this.send(rows.slice(middle)));
  }

  close(): void {
    this.#closed = true;
  }

  async #post(rows: readonly ChainedEntry[]): Promise<HttpResponse> {
    const { http, files, target, stateId, version, hostName } = this.#options;
    const { url, rootPath, headersPath } = target;
    const headers =
      headersPath === null
        ? {}
        : readHeaderLines(await files.readText(headersPath), headersPath, auditExportLimits.maxOtlpHeaders);
    const body = otlpLogs(rows, stateId, { version, hostName });
    return http.send({
      method: "POST",
      url,
      headers: { ...headers, "content-type": "application/json" },
      body: new TextEncoder().encode(JSON.stringify(body)),
      timeoutMs: auditExportLimits.otlpTimeoutMs,
      maxResponseBytes: auditExportLimits.maxOtlpAnswerBytes,
      // Named by who runs the control plane, in its own settings, and mostly a private address.
      reach: "any",
      ...(rootPath === null ? {} : { trustedRootsPem: await files.readText(rootPath) }),
    });
  }
}

/** `ExportLogsServiceRequest`. 64-bit integers are strings (OTLP Specification, "JSON Protobuf Encoding"). */
export function otlpLogs(
  rows: readonly ChainedEntry[],
  stateId: string,
  { version, hostName }: Pick<OtlpSinkOptions, "version" | "hostName">,
): unknown {
  const resource = { "service.name": "fairlead-control", "service.version": version, "host.name": hostName };
  const logRecords = rows.map((row) => logRecord(row, stateId));
  return {
    resourceLogs: [
      {
        resource: { attributes: attributes({ ...resource, "fairlead.state": stateId }) },
        scopeLogs: [{ scope: { name: "fairlead.audit", version }, logRecords }],
      },
    ],
  };
}

/** SEVERITY_NUMBER of `logs.proto`, and its text. */
const severities = { ok: [9, "INFO"], refused: [13, "WARN"], failed: [17, "ERROR"] } as const;

function logRecord(row: ChainedEntry, stateId: string): unknown {
  const { id, atMs, actor, action, target, namespace, outcome, detail } = row.entry;
  const [severityNumber, severityText] = severities[outcome];
  const nanos = `${BigInt(Math.floor(atMs)) * 1_000_000n}`;
  return {
    timeUnixNano: nanos,
    observedTimeUnixNano: nanos,
    severityNumber,
    severityText,
    eventName: `fairlead.audit.${action}`,
    body: { stringValue: `${actor} ${action} ${target}: ${outcome}${detail === "" ? "" : `, ${detail}`}` },
    attributes: [
      ...attributes({ "audit.actor": actor, "audit.action": action, "audit.target": target }),
      ...attributes({
        "audit.outcome": outcome,
        ...(namespace === null ? {} : { "k8s.namespace.name": namespace }),
      }),
      { key: "audit.id", value: { intValue: String(id) } },
      // The row as it is in the chain: what checks the log reads this.
      ...attributes({
        "audit.hash": row.hash.toHex(),
        "audit.record": JSON.stringify(recordOf(stateId, row)),
      }),
    ],
  };
}

function attributes(values: Readonly<Record<string, string>>): readonly unknown[] {
  return Object.entries(values).map(([key, stringValue]) => ({ key, value: { stringValue } }));
}

/** A partial success must not be sent again (OTLP Specification, "Partial Success"). */
function rejectedOf({ body }: HttpResponse): number {
  try {
    const answer = JSON.parse(new TextDecoder().decode(body)) as {
      readonly partialSuccess?: { readonly rejectedLogRecords?: unknown };
    };
    const count = Number(answer.partialSuccess?.rejectedLogRecords ?? 0);
    return Number.isSafeInteger(count) && count > 0 ? count : 0;
  } catch {
    // A success whose body is not JSON is one.
    return 0;
  }
}

function refusal({ status, body }: HttpResponse): MeshError {
  const said = new TextDecoder().decode(body.subarray(0, 200)).replaceAll(/[^ -~]+/g, " ");
  return new MeshError(
    "http_protocol",
    "upstream",
    `the collector answers ${status}${said === "" ? "" : `: ${said}`}`,
  );
}
