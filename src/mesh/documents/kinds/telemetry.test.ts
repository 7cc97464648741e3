import { describe, expect, test } from "bun:test";
import { parseDocuments } from "../parse.ts";

function read(spec: string) {
  const text = `apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: t, namespace: shop}\nspec:\n${spec.replace(/^/gm, "  ")}\n`;
  const { documents, errors } = parseDocuments([{ path: "f", text }]);
  return {
    document: documents[0],
    errors: errors.map(({ location, message }) => `${location.line}:${location.column} ${message}`),
  };
}

describe("Telemetry", () => {
  test("lines, traces and metrics", () => {
    const { document, errors } = read(`targetRefs: [{kind: Service, name: cart}]
accessLogging: [{providers: [{name: envoy}], filter: {expression: response.code >= 400}}]
tracing: [{randomSamplingPercentage: 12.5}]
metrics: [{overrides: [{match: {metric: ALL_METRICS}, disabled: true}, {match: {metric: REQUEST_COUNT}, disabled: false}]}]`);
    expect(errors).toEqual([]);
    expect(document).toMatchObject({
      targetRefs: [{ value: "Service cart" }],
      accessLog: {
        log: { isDisabled: false, filter: { value: "response.code >= 400" } },
        collector: null,
      },
      tracing: { samplingPercent: 12.5, isDisabled: false, hasIstioTags: true },
    });
    const metrics = document?.kind === "Telemetry" ? document.metrics : null;
    expect(metrics?.get("REQUEST_SIZE")?.isDisabled).toBe(true);
    expect(metrics?.get("REQUEST_COUNT")?.isDisabled).toBe(false);
  });

  test("providers say where lines go; without any they go everywhere", () => {
    const accessLog = (spec: string) => {
      const { document } = read(`accessLogging: ${spec}`);
      return document?.kind === "Telemetry" ? document.accessLog : null;
    };
    expect(accessLog("[{}]")).toMatchObject({ log: {}, collector: {} });
    expect(accessLog("[{providers: [{name: otel}]}]")).toMatchObject({ log: null, collector: {} });
    expect(
      accessLog("[{providers: [{name: envoy}, {name: otel}]}, {providers: [{name: envoy}], disabled: true}]"),
    ).toMatchObject({ log: { isDisabled: true }, collector: { isDisabled: false } });
    for (const part of ["accessLogging", "tracing", "metrics"])
      expect(read(`${part}: [{providers: [{name: my-als}]}]`).errors[0]).toMatch(
        /^5:\d+ .*there is no provider "my-als" here/,
      );
    expect(
      read("tracing: [{providers: [{name: otel}]}]\nmetrics: [{providers: [{name: prometheus}]}]").errors,
    ).toEqual([]);
  });

  test("tags of spans and labels of metrics", () => {
    const { document, errors } = read(`tracing:
- enableIstioTags: false
  customTags:
    tier: {literal: {value: gold}}
    tenant: {header: {name: X-Tenant, defaultValue: none}}
    way: {formatter: {value: "%REQ(:METHOD)%"}}
metrics:
- overrides:
  - tagOverrides: {host: {value: request.host}, source_app: {operation: REMOVE}}
  - {match: {metric: REQUEST_COUNT}, tagOverrides: {host: {operation: UPSERT, value: "'a'"}}}`);
    expect(errors).toEqual([]);
    if (document?.kind !== "Telemetry") throw new Error("no Telemetry");
    expect(document.tracing?.hasIstioTags).toBe(false);
    expect([...(document.tracing?.customTags ?? [])]).toMatchObject([
      ["tier", { kind: "literal", value: "gold" }],
      ["tenant", { kind: "header", name: "x-tenant", otherwise: "none" }],
      ["way", { kind: "format", text: { value: "%REQ(:METHOD)%" } }],
    ]);
    const tags = (metric: string) => Object.fromEntries(document.metrics?.get(metric)?.tags ?? []);
    expect(tags("REQUEST_SIZE")).toMatchObject({ host: { value: "request.host" }, source_app: null });
    expect(tags("REQUEST_COUNT")).toMatchObject({ host: { value: "'a'" }, source_app: null });
  });

  test("what it does not say is null, and entries for clients are not for a waypoint", () => {
    expect(read("accessLogging: [{match: {mode: CLIENT}, disabled: true}]").document).toMatchObject({
      accessLog: null,
      tracing: null,
      metrics: null,
    });
    expect(
      read("accessLogging: [{match: {mode: CLIENT}, disabled: true}, {disabled: true}]").document,
    ).toMatchObject({
      accessLog: { log: { isDisabled: true } },
    });
  });

  test("one with a selector is for workloads", () => {
    const { document } = read("selector: {matchLabels: {app: cart}}\naccessLogging: [{disabled: true}]");
    expect(document).toMatchObject({
      selector: new Map([["app", { value: "cart" }]]),
      warnings: [{ reason: "Ignored" }],
    });
  });

  test("what is not acted on is refused with its place", () => {
    for (const spec of [
      "tracing: [{customTags: {a: {environment: {name: SECRET}}}}]",
      "tracing: [{useRequestIdForTraceSampling: true}]",
      "tracing: [{disableContextPropagation: true}]",
      "metrics: [{reportingInterval: 5s}]",
      "metrics: [{overrides: [{match: {customMetric: mine}}]}]",
    ])
      expect(read(spec).errors[0]).toMatch(/^5:\d+ .*is not supported/);
    expect(
      read("tracing: [{useRequestIdForTraceSampling: false, disableContextPropagation: false}]").errors,
    ).toEqual([]);
    for (const [spec, message] of [
      ["tracing: [{customTags: {a: {}}}]", "must have one of literal, header, formatter"],
      ["tracing: [{customTags: {a: {header: {name: 'a b'}}}}]", "is not the name of a header"],
      ["metrics: [{overrides: [{tagOverrides: {le: {value: a}}}]}]", '"le" is not the name of a label'],
      ["metrics: [{overrides: [{tagOverrides: {a: {operation: UPSERT}}}]}]", "a.value is missing"],
      [
        "metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]",
        "cannot be given with REMOVE",
      ],
    ] as const) {
      const [error = ""] = read(spec).errors;
      expect(error).toMatch(/^5:\d+ /);
      expect(error).toContain(message);
    }
    expect(read("tracing: [{randomSamplingPercentage: 101}]").errors[0]).toContain("from 0 to 100");
    expect(read("accessLoging: []").errors[0]).toContain("accessLoging");
  });
});
