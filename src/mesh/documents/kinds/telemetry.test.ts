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
      accessLog: { isDisabled: false, filter: { value: "response.code >= 400" } },
      tracing: { samplingPercent: 12.5, isDisabled: false },
    });
    const disabled = document?.kind === "Telemetry" ? [...(document.disabledMetrics ?? [])] : [];
    expect(disabled).toContain("REQUEST_SIZE");
    expect(disabled).not.toContain("REQUEST_COUNT");
  });

  test("what it does not say is null, and entries for clients are not for a waypoint", () => {
    expect(read("accessLogging: [{match: {mode: CLIENT}, disabled: true}]").document).toMatchObject({
      accessLog: null,
      tracing: null,
      disabledMetrics: null,
    });
    expect(
      read("accessLogging: [{match: {mode: CLIENT}, disabled: true}, {disabled: true}]").document,
    ).toMatchObject({
      accessLog: { isDisabled: true },
    });
  });

  test("one with a selector is for workloads", () => {
    const { document } = read("selector: {matchLabels: {app: cart}}\naccessLogging: [{disabled: true}]");
    expect(document).toMatchObject({ hasSelector: true, warnings: [{ reason: "Ignored" }] });
  });

  test("what is not acted on is refused with its place", () => {
    for (const spec of [
      "tracing: [{customTags: {a: {literal: {value: b}}}}]",
      "metrics: [{reportingInterval: 5s}]",
      "metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE}}}]}]",
    ])
      expect(read(spec).errors[0]).toMatch(/^5:\d+ .*is not supported/);
    expect(read("tracing: [{randomSamplingPercentage: 101}]").errors[0]).toContain("from 0 to 100");
    expect(read("accessLoging: []").errors[0]).toContain("accessLoging");
  });
});
