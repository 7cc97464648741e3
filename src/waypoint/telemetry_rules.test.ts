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
    expect(rule.disabledMetrics.has("REQUEST_COUNT")).toBe(true);
    const elsewhere = exchangeOf({ downstream: { service: service("web", { 80: 80 }) } });
    expect(rules.of(elsewhere.downstream).isLogged(record(200))).toBe(false);
  });

  test("no spans is no sampling", () => {
    const { rules } = rulesOf(
      telemetry("shop", "tracing: [{disableSpanReporting: true, randomSamplingPercentage: 50}]"),
    );
    expect(rules.of(downstream).samplingPercent).toBe(0);
  });
});
