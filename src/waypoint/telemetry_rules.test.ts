import { describe, expect, test } from "bun:test";
import type { TelemetryDocument } from "../mesh/documents/document.ts";
import { parseDocuments } from "../mesh/documents/parse.ts";
import { service } from "../mesh/testing/fixture.ts";
import { Attachment } from "./attached.ts";
import { recordOf } from "./telemetry/request_record.ts";
import { TelemetryRules } from "./telemetry_rules.ts";
import { exchangeOf } from "./testing/exchanges.ts";

function telemetry(namespace: string, spec: string): TelemetryDocument {
  const text = `apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: t, namespace: ${namespace}}\nspec:\n${spec.replace(/^/gm, "  ")}\n`;
  const { documents, errors } = parseDocuments([{ path: "t.yaml", text }]);
  expect(errors).toEqual([]);
  const [document] = documents;
  if (document?.kind !== "Telemetry") throw new Error("no Telemetry");
  return document;
}

function rulesOf(...documents: TelemetryDocument[]) {
  const log: string[] = [];
  const attachment = new Attachment("istio-system", () => null);
  const logger = { log: (_level: string, _target: string, message: string) => log.push(message) };
  const rules = new TelemetryRules(logger, attachment, "istio-system");
  rules.update(documents);
  return { rules, log };
}

function record(status: number, path = "/") {
  const exchange = exchangeOf({ request: { path, fields: ["x-a", "1"] }, downstream: { service: cart } });
  exchange.response = { status, fields: [] };
  return recordOf(exchange, 10, 0);
}

const cart = service("cart", { 80: 8080 });
const { downstream } = exchangeOf({ downstream: { service: cart } });
const ofService = "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: cart}]";

describe("what Telemetry documents say", () => {
  test("without any, every request has a line, and nothing is switched off", () => {
    const { rules } = rulesOf();
    expect(rules.of(downstream).isLogged(record(200))).toBe(true);
    expect(rules.of(downstream).samplingPercent).toBeNull();
  });

  test("a filter is looked at for each request", () => {
    const { rules } = rulesOf(
      telemetry(
        "shop",
        `accessLogging: [{filter: {expression: 'response.code >= 400 || request.path.startsWith("/a")'}}]`,
      ),
    );
    const { isLogged } = rules.of(downstream);
    expect([isLogged(record(200)), isLogged(record(404)), isLogged(record(200, "/a/b"))]).toEqual([
      false,
      true,
      true,
    ]);
  });

  test("a filter that cannot be read, or fails, leaves the lines; the first is said", () => {
    const { rules, log } = rulesOf(
      telemetry("shop", "accessLogging: [{filter: {expression: 'response.code >='}}]"),
    );
    expect(rules.of(downstream).isLogged(record(200))).toBe(true);
    expect(log).toHaveLength(1);
    const failing = rulesOf(
      telemetry("shop", "accessLogging: [{filter: {expression: 'no.such > 1'}}]"),
    ).rules;
    expect(failing.of(downstream).isLogged(record(200))).toBe(true);
  });

  test("each part is of the nearest document that says something of it", () => {
    const { rules } = rulesOf(
      telemetry(
        "istio-system",
        "accessLogging: [{disabled: true}]\ntracing: [{randomSamplingPercentage: 5}]",
      ),
      telemetry(
        "shop",
        "tracing: [{randomSamplingPercentage: 10}]\nmetrics: [{overrides: [{disabled: true}]}]",
      ),
      telemetry("shop", `${ofService}\naccessLogging: [{}]`),
      telemetry("other", "tracing: [{randomSamplingPercentage: 99}]"),
    );
    const rule = rules.of(downstream);
    expect(rule.isLogged(record(200))).toBe(true);
    expect(rule.samplingPercent).toBe(10);
    expect(rule.metrics?.disabled.has("REQUEST_COUNT")).toBe(true);
    const elsewhere = exchangeOf({ downstream: { service: service("web", { 80: 80 }) } });
    expect(rules.of(elsewhere.downstream).isLogged(record(200))).toBe(false);
  });

  test("no spans are none, whoever began the trace", () => {
    const { rules } = rulesOf(telemetry("shop", "tracing: [{disableSpanReporting: true}]"));
    expect(rules.of(downstream).hasSpans).toBe(false);
    expect(rulesOf().rules.of(downstream).hasSpans).toBe(true);
  });

  test("a document that names the collector alone leaves no line in the log, and the other way round", () => {
    for (const [provider, logged, collected] of [
      ["otel", false, true],
      ["envoy", true, false],
    ] as const) {
      const { rules } = rulesOf(telemetry("shop", `accessLogging: [{providers: [{name: ${provider}}]}]`));
      const { isLogged, isCollected } = rules.of(downstream);
      expect([isLogged(record(200)), isCollected(record(200))]).toEqual([logged, collected]);
    }
  });

  test("attributes of spans: literal, header, format, and whose service it is", () => {
    const { rules, log } = rulesOf(
      telemetry(
        "shop",
        `tracing:
- customTags:
    tier: {literal: {value: gold}}
    a: {header: {name: X-A}}
    b: {header: {name: X-B, defaultValue: none}}
    c: {header: {name: X-C}}
    way: {formatter: {value: "%REQ(:METHOD)% %RESPONSE_CODE%"}}
    bad: {formatter: {value: "%NO_SUCH%"}}`,
      ),
    );
    expect(rules.of(downstream).spanAttributes?.(record(207))).toEqual({
      ...{ tier: "gold", a: "1", b: "none", way: "GET 207" },
    });
    expect(log).toEqual(["a formatter of a Telemetry cannot be used; its spans go without it"]);
  });

  test("labels of metrics: by expression, taken away, and unknown where it fails", () => {
    const { rules, log } = rulesOf(
      telemetry(
        "shop",
        `metrics:
- overrides:
  - tagOverrides:
      host: {value: request.host}
      code: {value: "response.code / 100"}
      gone: {operation: REMOVE}
      failing: {value: no.such}
      broken: {value: "1 +"}
  - {match: {metric: RESPONSE_SIZE}, disabled: true}`,
      ),
    );
    const rule = rules.of(downstream).metrics;
    expect([...(rule?.disabled ?? [])]).toEqual(["RESPONSE_SIZE"]);
    const made = record(404);
    const tags = rule?.tags?.(made).get("REQUEST_COUNT");
    expect(Object.fromEntries(tags ?? [])).toEqual({
      host: made.exchange.request.authority,
      code: "4",
      gone: null,
      failing: "unknown",
      broken: "unknown",
    });
    expect(log).toEqual(["a label of a Telemetry cannot be used; it is unknown"]);
  });
});
