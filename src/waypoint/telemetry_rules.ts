/** What Telemetry documents say of an exchange: whether it has a line, how likely it begins a trace, how metrics count it. */
import { type CelInput, celEnv, isCelError, parse, plan } from "@bufbuild/cel";
import type { Logger } from "../base/log.ts";
import type { AccessLogRule, CustomTag, TelemetryDocument } from "../mesh/documents/document.ts";
import type { Located } from "../mesh/documents/reader.ts";
import { formatLocation, type Location } from "../mesh/location.ts";
import type { Service } from "../mesh/service.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Attachment } from "./attached.ts";
import { expressionFlaw } from "./auth/conditions.ts";
import { selects } from "./auth/target_rules.ts";
import { type Downstream, field } from "./exchange.ts";
import { compileFormat } from "./telemetry/access_format.ts";
import type { RequestRecord } from "./telemetry/request_record.ts";
import type { MetricRule, Tags, TelemetryRule } from "./telemetry/telemetry_rule.ts";

const always = () => true;
const never = () => false;
export const noTelemetryRule: TelemetryRule = {
  isLogged: always,
  isCollected: always,
  samplingPercent: null,
  hasSpans: true,
  spanAttributes: istioTags,
  metrics: null,
};

export class TelemetryRules {
  readonly #logger: Logger;
  readonly #attachment: Attachment;
  readonly #rootNamespace: string;
  #documents: readonly TelemetryDocument[] = [];
  #rules = new WeakMap<Workload, WeakMap<Service | Workload, TelemetryRule>>();
  /** Of connections into and out of workloads that have the application in their tunnel. */
  #inside = new WeakMap<Downstream, TelemetryRule>();

  constructor(logger: Logger, attachment: Attachment, rootNamespace: string) {
    this.#logger = logger;
    this.#attachment = attachment;
    this.#rootNamespace = rootNamespace;
  }

  update(documents: readonly TelemetryDocument[]): void {
    this.#documents = documents;
    this.#rules = new WeakMap();
    this.#inside = new WeakMap();
  }

  of(downstream: Downstream): TelemetryRule {
    if (this.#documents.length === 0) return noTelemetryRule;
    const { waypoint, service, workload, place } = downstream;
    if (place.side !== "waypoint") {
      const rule = this.#inside.get(downstream) ?? this.#make(downstream);
      this.#inside.set(downstream, rule);
      return rule;
    }
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

  /** Each part is of the nearest document that says something of it: for the service, the waypoint or workload, its namespace, the mesh. */
  #make(downstream: Downstream): TelemetryRule {
    const isClient = downstream.place.side === "outbound";
    const ranked = this.#documents
      .map((document) => ({ document, rank: this.#rankOf(document, downstream) }))
      .filter(({ rank }) => rank > 0)
      .sort(
        (a, b) =>
          b.rank - a.rank || (a.document.metadata.createdMs ?? 0) - (b.document.metadata.createdMs ?? 0),
      )
      .map(({ document }) => (isClient ? { ...document, ...document.client } : document));
    const logging = ranked.find(({ accessLog }) => accessLog !== null);
    const traced = ranked.find(({ tracing }) => tracing !== null);
    const counted = ranked.find(({ metrics }) => metrics !== null);
    const { log = null, collector = null } = logging?.accessLog ?? {};
    const isLogged = logging === undefined ? always : this.#filter(logging, log);
    return {
      isLogged,
      isCollected: logging === undefined || collector === log ? isLogged : this.#filter(logging, collector),
      samplingPercent: traced?.tracing?.samplingPercent ?? null,
      hasSpans: traced?.tracing?.isDisabled !== true,
      spanAttributes: traced === undefined ? istioTags : this.#spanAttributes(traced),
      metrics: counted === undefined ? null : this.#metricRule(counted),
    };
  }

  #rankOf(document: TelemetryDocument, downstream: Downstream): number {
    const { targetRefs, metadata, selector } = document;
    if (targetRefs.length > 0) {
      if (!this.#attachment.isFor(document, downstream)) return 0;
      return targetRefs.some(({ value }) => /^Service(?:Entry)? /.test(value)) ? 4 : 3;
    }
    if (selector !== null) {
      const { waypoint, place } = downstream;
      const isNear = [waypoint.namespace, this.#rootNamespace].includes(metadata.namespace);
      return place.side !== "waypoint" && isNear && selects(selector, waypoint.labels) ? 3 : 0;
    }
    if (metadata.namespace === downstream.waypoint.namespace) return 2;
    return metadata.namespace === this.#rootNamespace ? 1 : 0;
  }

  /** A filter that cannot be used, or fails, lets the line be written: a record too many is better than one that is missing. */
  #filter(document: TelemetryDocument, rule: AccessLogRule | null): TelemetryRule["isLogged"] {
    if (rule === null || rule.isDisabled) return never;
    if (rule.filter === null) return always;
    const evaluate = this.#compile(
      document,
      rule.filter,
      "the filter of a Telemetry; every request has a line",
    );
    if (evaluate === null) return always;
    return (record) => {
      const result = evaluate(bindings(record));
      return isCelError(result) || result !== false;
    };
  }

  #spanAttributes(document: TelemetryDocument): TelemetryRule["spanAttributes"] {
    const { tracing } = document;
    if (tracing === null) return null;
    const parts = [...tracing.customTags].flatMap(([name, tag]): [string, SpanTag][] => {
      const value = tag.kind === "format" ? this.#format(document, tag.text) : spanTag(tag);
      return value === null ? [] : [[name, value]];
    });
    if (parts.length === 0 && !tracing.hasIstioTags) return null;
    return (record) => {
      const attributes: Record<string, string> = tracing.hasIstioTags ? istioTags(record) : {};
      for (const [name, value] of parts) {
        const text = value(record);
        if (text !== null) attributes[name] = text;
      }
      return attributes;
    };
  }

  #format(document: TelemetryDocument, { value, at }: Located<string>): SpanTag | null {
    const format = compileFormat(value);
    if (typeof format === "function") return format;
    this.#say(document, at, "a formatter of a Telemetry; its spans go without it", format.message);
    return null;
  }

  #metricRule(document: TelemetryDocument): MetricRule {
    const said = [...(document.metrics ?? [])];
    // One for all metrics that it is for.
    const known = new Map<Located<string>, Evaluate>();
    const compiled = said.flatMap(([name, { tags }]): [string, [string, Evaluate | null][]][] => {
      const values = [...tags].map(([label, expression]): [string, Evaluate | null] => {
        if (expression === null) return [label, null];
        const evaluate =
          known.get(expression) ??
          this.#compile(document, expression, "a label of a Telemetry; it is unknown") ??
          unknown;
        known.set(expression, evaluate);
        return [label, evaluate];
      });
      return values.length === 0 ? [] : [[name, values]];
    });
    return {
      namespace: document.metadata.namespace,
      disabled: new Set(said.flatMap(([name, { isDisabled }]) => (isDisabled ? [name] : []))),
      tags: compiled.length === 0 ? null : (record) => tagsOf(compiled, bindings(record)),
    };
  }

  /** @param what cannot be used, and what follows. @returns null when it cannot be used, which the log says. */
  #compile(document: TelemetryDocument, { value, at }: Located<string>, what: string): Evaluate | null {
    const flaw = expressionFlaw(value);
    if (flaw === null) return plan(celEnv({}), parse(value));
    this.#say(document, at, what, flaw);
    return null;
  }

  #say({ metadata }: TelemetryDocument, at: Location, what: string, error: string): void {
    const [subject, consequence] = what.split("; ", 2);
    this.#logger.log("error", "telemetry", `${subject} cannot be used; ${consequence}`, {
      telemetry: `${metadata.namespace}/${metadata.name}`,
      at: formatLocation(at),
      error,
    });
  }
}

type SpanTag = (record: RequestRecord) => string | null;
type Evaluate = ReturnType<typeof plan>;

const unknown: Evaluate = () => "unknown";

function spanTag(tag: Exclude<CustomTag, { readonly kind: "format" }>): SpanTag {
  if (tag.kind === "literal") return () => tag.value;
  return ({ exchange }) => field(exchange.request.fields, tag.name) ?? tag.otherwise;
}

/** As Istio's (`tracing.go`, `buildServiceTags`): of the service that is called. */
function istioTags({ exchange: { endpoint, downstream } }: RequestRecord): Record<string, string> {
  const workload = endpoint?.workload ?? downstream.workload;
  if (workload === null) return {};
  return {
    "istio.canonical_service": workload.canonicalName,
    "istio.canonical_revision": workload.canonicalRevision,
    "istio.namespace": workload.namespace,
    "istio.cluster_id": workload.clusterId,
  };
}

/** What cannot be told is `unknown`, as in Istio's own labels. Each expression is evaluated once, for however many metrics. */
function tagsOf(
  compiled: readonly (readonly [metric: string, tags: readonly (readonly [string, Evaluate | null])[]])[],
  seen: Record<string, CelInput>,
): ReadonlyMap<string, Tags> {
  const values = new Map<Evaluate, string>();
  const textOf = (evaluate: Evaluate): string => {
    const known = values.get(evaluate);
    if (known !== undefined) return known;
    const result = evaluate(seen);
    const text = isCelError(result) || typeof result === "object" ? "unknown" : String(result);
    values.set(evaluate, text);
    return text;
  };
  return new Map(
    compiled.map(([metric, tags]): [string, Tags] => [
      metric,
      new Map(tags.map(([label, evaluate]) => [label, evaluate === null ? null : textOf(evaluate)])),
    ]),
  );
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
    source: { principal: downstream.peer?.uri ?? "", address: downstream.source.ip.text },
    connection: { requested_server_name: downstream.sni, mtls: downstream.peer !== null },
  };
}
