import { describe, expect, test } from "bun:test";
import { readTraceContext, withTraceContext } from "./trace_context.ts";

const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
const span = "00f067aa0ba902b7";

describe("W3C Trace Context", () => {
  test("a good one, and a later version with more behind it", () => {
    expect(readTraceContext(["traceparent", `00-${trace}-${span}-01`])).toEqual({
      traceId: trace,
      spanId: span,
      sampled: true,
      form: "w3c",
    });
    expect(readTraceContext(["traceparent", `cc-${trace}-${span}-00-what`])?.sampled).toBe(false);
  });

  test("§3.2.2: what is malformed is none", () => {
    for (const bad of [
      `ff-${trace}-${span}-01`,
      `00-${trace}-${span}-01-x`,
      `00-${"0".repeat(32)}-${span}-01`,
      `00-${trace}-${"0".repeat(16)}-01`,
      `00-${trace.toUpperCase()}-${span}-01`,
      `00-${trace}-${span}`,
      "",
    ])
      expect(readTraceContext(["traceparent", bad])).toBeNull();
  });
});

describe("B3", () => {
  test("in one header", () => {
    expect(readTraceContext(["b3", `${trace}-${span}-1-05e3ac9a4f6e3b90`])).toMatchObject({
      sampled: true,
      form: "b3",
    });
    expect(readTraceContext(["b3", `${trace}-${span}-d`])?.sampled).toBe(true);
    expect(readTraceContext(["b3", `${trace}-${span}`])?.sampled).toBeNull();
    expect(readTraceContext(["b3", `${trace.slice(16)}-${span}-0`])).toMatchObject({
      traceId: trace.slice(16).padStart(32, "0"),
      sampled: false,
    });
  });

  test("in several", () => {
    const ids = ["x-b3-traceid", trace, "x-b3-spanid", span];
    expect(readTraceContext([...ids, "x-b3-sampled", "1"])).toMatchObject({
      sampled: true,
      form: "b3-multi",
    });
    expect(readTraceContext([...ids, "x-b3-flags", "1"])?.sampled).toBe(true);
    expect(readTraceContext(ids)?.sampled).toBeNull();
    expect(readTraceContext(["x-b3-traceid", trace])).toBeNull();
  });

  test("W3C's comes before it", () => {
    expect(
      readTraceContext(["b3", `${trace}-${span}-0`, "traceparent", `00-${trace}-${span}-01`])?.form,
    ).toBe("w3c");
  });
});

test("what is sent on is ours, once, in W3C's form and in the caller's", () => {
  const fields = [
    "a",
    "1",
    "x-b3-traceid",
    "old",
    "traceparent",
    "old",
    "x-b3-spanid",
    "old",
    "tracestate",
    "k=v",
  ];
  expect(withTraceContext(fields, { traceId: trace, spanId: span, sampled: true, form: "b3-multi" })).toEqual(
    [
      "a",
      "1",
      "tracestate",
      "k=v",
      "traceparent",
      `00-${trace}-${span}-01`,
      "x-b3-traceid",
      trace,
      "x-b3-spanid",
      span,
      "x-b3-sampled",
      "1",
    ],
  );
});
