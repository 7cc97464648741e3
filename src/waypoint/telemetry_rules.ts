/** What Telemetry documents say of an exchange: whether it has a line, how likely it begins a trace, which metrics do not count it. */
import { type CelInput, celEnv, isCelError, parse, plan } from "@bufbuild/cel";
import type { Logger } from "../base/log.ts";
import type { TelemetryDocument } from "../mesh/documents/document.ts";
import { formatLocation } from "../mesh/location.ts";
import type { Service } from "../mesh/service.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Attachment } from "./attached.ts";
import { expressionFlaw } from "./auth/conditions.ts";
import type { Downstream } from "./exchange.ts";
import type { RequestRecord } from "./telemetry/request_record.ts";

export interface TelemetryRule {
  readonly isLogged: (record: RequestRecord) => boolean;
  /** Of requests that come without a trace; null: the waypoint's setting. 0 where spans are not reported at all. */
  readonly samplingPercent: number | null;
  /** Istio's names: `REQUEST_COUNT` and so on. */
  readonly disabledMetrics: ReadonlySet<string>;
}

const always = () => true;
const never = () => false;
export const noTelemetryRule: TelemetryRule = {
  isLogged: always,
  samplingPercent: null,
  disabledMetrics: new Set(),
};

export class TelemetryRules {
  readonly #logger: Logger;
  readonly #attachment: Attachment;
  readonly #rootNamespace: string;
  #documents: readonly TelemetryDocument[] = [];
  #rules = new WeakMap<Workload, WeakMap<Service | Workload, TelemetryRule>>();

  constructor(logger: Logger, attachment: Attachment, rootNamespace: string) {
    this.#logger = logger;
    this.#attachment = attachment;
    this.#rootNamespace = rootNamespace;
  }

  update(documents: readonly TelemetryDocument[]): void {
    this.#documents = documents.filter(({ hasSelector }) => !hasSelector);
    this.#rules = new WeakMap();
  }

  of(downstream: Downstream): TelemetryRule {
    if (this.#documents.length === 0) return noTelemetryRule;
    const { waypoint, service, workload } = downstream;
    const called = service ?? workload ?? waypoint;
    let byCalled = this.#rules.get(waypoint);
    if (byCalled === undefined) {
      byCalled = new WeakMap();
      this.#rules.set(waypoint, byCalled);
    }
    const known = byCalled.get(called);
    if (known !== undefined) return known;
    const rule = this.#make(downstream);
    byCalled.set(called, rule);
    return rule;
  }

  /** Each part is of the nearest document that says something of it: for the service, the waypoint, its namespace, the mesh. */
  #make(downstream: Downstream): TelemetryRule {
    const ranked = this.#documents
      .map((document) => ({ document, rank: this.#rankOf(document, downstream) }))
      .filter(({ rank }) => rank > 0)
      .sort(
        (a, b) =>
          b.rank - a.rank || (a.document.metadata.createdMs ?? 0) - (b.document.metadata.createdMs ?? 0),
      )
      .map(({ document }) => document);
    const logging = ranked.find(({ accessLog }) => accessLog !== null);
    const tracing = ranked.find((each) => each.tracing !== null)?.tracing ?? null;
    return {
      isLogged: logging === undefined ? always : this.#filter(logging),
      samplingPercent: tracing === null ? null : tracing.isDisabled ? 0 : tracing.samplingPercent,
      disabledMetrics:
        ranked.find(({ disabledMetrics }) => disabledMetrics !== null)?.disabledMetrics ?? new Set(),
    };
  }

  #rankOf(document: TelemetryDocument, downstream: Downstream): number {
    const { targetRefs, metadata } = document;
    if (targetRefs.length > 0) {
      if (!this.#attachment.isFor(document, downstream)) return 0;
      return targetRefs.some(({ value }) => /^Service(?:Entry)? /.test(value)) ? 4 : 3;
    }
    if (metadata.namespace === downstream.waypoint.namespace) return 2;
    return metadata.namespace === this.#rootNamespace ? 1 : 0;
  }

  /** A filter that cannot be used, or fails, lets the line be written: a record too many is better than one that is missing. */
  #filter({ accessLog, metadata }: TelemetryDocument): TelemetryRule["isLogged"] {
    if (accessLog === null) return always;
    if (accessLog.isDisabled) return never;
    if (accessLog.filter === null) return always;
    const { value, at } = accessLog.filter;
    const flaw = expressionFlaw(value);
    if (flaw !== null) {
      this.#logger.log(
        "error",
        "telemetry",
        "the filter of a Telemetry cannot be used; every request has a line",
        {
          telemetry: `${metadata.namespace}/${metadata.name}`,
          at: formatLocation(at),
          error: flaw,
        },
      );
      return always;
    }
    const evaluate = plan(celEnv({}), parse(value));
    return (record) => {
      const result = evaluate(bindings(record));
      return isCelError(result) || result !== false;
    };
  }
}

/** Envoy's attributes that a filter asks for (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes). */
function bindings({
  exchange,
  status,
  flags,
  durationMs,
  requestBytes,
  responseBytes,
  grpcStatus,
}: RequestRecord): Record<string, CelInput> {
  const { request, downstream, response } = exchange;
  const headers = new Map<string, string>();
  for (let i = 0; i + 1 < request.fields.length; i += 2)
    headers.set(request.fields[i] ?? "", request.fields[i + 1] ?? "");
  const answered = new Map<string, string>();
  const fields = response?.fields ?? [];
  for (let i = 0; i + 1 < fields.length; i += 2) answered.set(fields[i] ?? "", fields[i + 1] ?? "");
  return {
    request: {
      method: request.method,
      path: request.path,
      url_path: request.path.split("?")[0] ?? "",
      host: request.authority,
      scheme: request.scheme,
      protocol: request.version === "2" ? "HTTP/2" : `HTTP/${request.version}`,
      headers,
      size: BigInt(requestBytes),
      duration_ms: BigInt(Math.round(durationMs)),
    },
    response: {
      code: BigInt(status),
      flags_text: flags,
      size: BigInt(responseBytes),
      headers: answered,
      grpc_status: BigInt(grpcStatus ?? 0),
    },
    source: { principal: downstream.peer.uri, address: downstream.source.ip.text },
    connection: { requested_server_name: downstream.sni, mtls: true },
  };
}
